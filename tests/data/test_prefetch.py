"""Comparisons encoded while rows are read: the token store is the same, whoever has encoded a comparison."""

import os
import signal
import time

import numpy as np
import pytest

from bradley.config import Data, Render
from bradley.data import prefetch as module
from bradley.data.load import load_splits
from bradley.data.prefetch import Prefetch
from bradley.data.render import Renderer
from bradley.data.table import encode
from bradley.data.token_store import ARRAYS, build_store
from tests.helpers import tokenizer_for

ROWS = [
    {"prompt": f"Question {n} of {n % 7}?", "chosen": f"Yes, {n}.", "rejected": "No." if n % 3 else "<|im_end|> no"}
    for n in range(150)
]


CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"


def chat_tokenizer():
    tokenizer = plain_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


def plain_tokenizer():
    return tokenizer_for(list(load_splits(Data(valid_share=0.0), 0, train=ROWS, cache=None).train))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    for name, value in {"CHUNK": 8, "FIRST": 8, "LOOK": 1}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "cores", lambda: 2)


def renderers(template, tokenizer):
    """(Prefetch, renderer that asks it, renderer that does not)."""
    settings = Render(template=template, max_tokens=64)
    prefetch = Prefetch(Renderer(tokenizer, settings, causal=False))
    return prefetch, *(Renderer(tokenizer, settings, causal=True, prefetch=each) for each in (prefetch, None))


def waited(rows):
    """Rows, slowly enough for another process to keep up."""
    for row in rows:
        time.sleep(0.004)
        yield row


def same(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n in ("margin", "rank")) for n in NAMES)


SIZES = ("segment_sizes", "segment_counts", "responses", "judged", "info_sizes")
NAMES = [name for name in ARRAYS if name not in SIZES]
NAMES += ["segments", "first_segment", "first_response", "first_judgment"]


@pytest.mark.parametrize("template", ["tokenizer", "raw"])
def test_the_store_is_the_same(template):
    tokenizer = chat_tokenizer() if template == "tokenizer" else plain_tokenizer()
    prefetch, asking, alone = renderers(template, tokenizer)
    splits = load_splits(Data(valid_share=0.2), 0, train=waited(ROWS), cache=None, prefetch=prefetch)
    assert len(prefetch._kept) > 20
    for rows, training in ((splits.train, True), (splits.evals["valid"], False)):
        assert same(build_store(rows, asking, training=training), build_store(rows, alone, training=training))
    assert not prefetch._kept


def test_a_copy_that_is_killed_costs_nothing_but_time():
    prefetch, asking, alone = renderers("tokenizer", chat_tokenizer())
    splits = load_splits(Data(valid_share=0.0), 0, train=ROWS, cache=None)
    for place, comparison in enumerate(splits.train):
        prefetch.add(encode(comparison))
        if prefetch._copy is not None and place == 100:
            os.kill(prefetch._copy.pid, signal.SIGKILL)
        time.sleep(0.004)
    prefetch.finish()
    assert same(build_store(splits.train, asking, training=True), build_store(splits.train, alone, training=True))


def test_a_full_disk_costs_nothing_but_time(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    prefetch, asking, alone = renderers("tokenizer", chat_tokenizer())
    splits = load_splits(Data(valid_share=0.0), 0, train=waited(ROWS), cache=None, prefetch=prefetch)
    assert not prefetch._kept
    assert same(build_store(splits.train, asking, training=True), build_store(splits.train, alone, training=True))


def test_no_process_is_left():
    prefetch, *_ = renderers("tokenizer", chat_tokenizer())

    def broken():
        yield from waited(ROWS[:60])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        load_splits(Data(valid_share=0.0), 0, train=broken(), cache=None, prefetch=prefetch)
    assert prefetch._seen == 60 and prefetch._copy is None
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_rows_left_out_by_a_limit_are_not_encoded():
    prefetch, *_ = renderers("tokenizer", chat_tokenizer())
    load_splits(Data(valid_share=0.0, limit=20), 0, train=ROWS, cache=None, prefetch=prefetch)
    assert prefetch._seen == 0
