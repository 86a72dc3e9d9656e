"""Folders in programs other than bradley: each way that a card or a guide shows gives the score of bradley."""

import re

import client_folders
import pytest

from clients import PROGRAM, ask, differences, distance, options

pytestmark = [pytest.mark.nightly, pytest.mark.transformers]

EXPORTS = [f"{family} float32" for family in client_folders.FAMILIES]
WITH_TEMPLATE = [f"{family} run" for family in client_folders.FAMILIES if family not in ("gpt2", "bert")]
MOST = 1e-5
"""Largest difference in float32 of a way that is shown, as a share of the largest score; scores below 1 count as 1."""


def family_of(name):
    return name.split()[0] if name.split()[0] in client_folders.FAMILIES else "llama"


def found(scores, folders, python, program, name, ways=(), **more):
    turns, wanted = scores(name)
    kind = PROGRAM.get(program, program)
    found = ask(python, kind, folders[name], turns, ways, **options(family_of(name), kind), **more)
    largest = max(1.0, *map(abs, wanted))
    return {
        way: value if isinstance(value, str) else value / largest
        for way, value in differences(found, turns, wanted).items()
    }


@pytest.mark.parametrize("name", [*EXPORTS, "lora float32", "dora float32"])
@pytest.mark.parametrize("program", ["transformers4", "transformers5"])
def test_transformers_4_and_5(scores, folders, python_for, program, name):
    compared = found(scores, folders, python_for(program), program, name)
    # With the special tokens that the tokenizer adds by itself a text has two first tokens.
    shown = {way: value for way, value in compared.items() if way not in ("bfloat16", "pipeline")}
    assert "pipeline without special tokens" in shown and any(way.endswith("right 8") for way in shown)
    if (program, name) == ("transformers4", "gemma2 float32"):
        shown.pop("pipeline without special tokens")  # the pipeline takes sdpa, which has no softcap there
    assert {way: value for way, value in shown.items() if isinstance(value, str) or value > MOST} == {}


@pytest.mark.parametrize("name", [*EXPORTS, *WITH_TEMPLATE, "lora float32", "dora float32"])
def test_sentence_transformers_by_messages_and_by_pairs(scores, folders, python_for, name):
    compared = found(scores, folders, python_for("sentence-transformers"), "sentence-transformers", name)
    assert set(compared) == {"messages", "pairs"}
    assert {way: value for way, value in compared.items() if isinstance(value, str) or value > MOST} == {}


@pytest.mark.parametrize("name", EXPORTS)
def test_the_function_for_openrlhf_by_texts_as_a_policy_leaves_them(scores, folders, monkeypatch, name):
    turns, wanted = scores(name)
    monkeypatch.chdir(folders[name].parent)
    card = (folders[name] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(next(block for block in blocks if "def reward_func" in block), names)
    whole = names["tokenizer"].apply_chat_template(turns, tokenize=False)
    tail, stop = names["TAIL"], names["STOP"]
    assert (tail != stop) == (family_of(name) in ("qwen2", "gemma2")) and all(text.endswith(tail) for text in whole)
    for cut in (tail, tail.removeprefix(stop), ""):
        queries = [text.removesuffix(cut) for text in whole]
        found = names["reward_func"](queries, queries, [""] * len(queries))["rewards"].tolist()
        assert distance(found, wanted) < MOST * max(1.0, *map(abs, wanted))
