"""The dataset and collator cases that TRL's reward trainer is tested on, with the ids as transformers gives them."""

import json

import numpy as np
import pytest
import torch

from bradley.config import Data, Render
from bradley.data.load import load_splits
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.data.tokenizer import train_tokenizer
from bradley.errors import DataError
from bradley.model.engine.batch import collate, padded_rows
from tests.helpers import WORDS

pytestmark = pytest.mark.transformers

TOKENIZER = train_tokenizer([" ".join(WORDS)] * 3, 300)
ASK, GOOD, BAD = "how deep is the river", "a tall man cannot stand in it", "very"
USER = {"role": "user", "content": ASK}


def said(text):
    return {"role": "assistant", "content": text}


def store_of(rows, training=True, **render):
    settings = Render(**{"max_tokens": 512, **render})
    train = load_splits(Data(valid_share=0.0, duplicate="keep"), 0, train=rows).train
    return build_store(train, Renderer(TOKENIZER, settings, causal=True), training=training)


def ids_of(store, number=0):
    return [store.response_ids(number, k).tolist() for k in range(2)]


def templated(*turns, **kwargs):
    return TOKENIZER.apply_chat_template(list(turns), tokenize=True, return_dict=False, **kwargs)


CONVERSATIONAL = {
    "implicit": {"chosen": [USER, said(GOOD)], "rejected": [USER, said(BAD)]},
    "explicit": {"prompt": [USER], "chosen": [said(GOOD)], "rejected": [said(BAD)]},
}


@pytest.mark.parametrize("kind", CONVERSATIONAL)
def test_conversations_become_what_the_chat_template_writes(kind):
    assert ids_of(store_of([CONVERSATIONAL[kind]])) == [templated(USER, said(text)) for text in (GOOD, BAD)]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": f"{ASK} {GOOD}", "rejected": f"{ASK} {BAD}"},
        {"prompt": ASK, "chosen": f" {GOOD}", "rejected": f" {BAD}"},
    ],
    ids=["implicit", "explicit"],
)
def test_standard_text_is_read_as_it_stands_with_one_end_token(row):
    wanted = [[*TOKENIZER(f"{ASK} {text}")["input_ids"], TOKENIZER.eos_token_id] for text in (GOOD, BAD)]
    assert ids_of(store_of([row], template="raw")) == wanted


@pytest.mark.parametrize("names", [("chosen_ids", "rejected_ids"), ("chosen_input_ids", "rejected_input_ids")])
def test_pretokenised_rows_are_taken_as_they_are(names):
    rows = dict(zip(names, ([7, 8, 9, 10], [7, 8, 11]), strict=True))
    assert ids_of(store_of([rows])) == [[7, 8, 9, 10], [7, 8, 11]]


def test_template_arguments_of_a_row_reach_the_template(tmp_path):
    template = tmp_path / "thinking.jinja"
    body = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    template.write_text("{% if think %}stone {% else %}river {% endif %}" + body)
    rows = [{**CONVERSATIONAL["explicit"], "chat_template_kwargs": {"think": think}} for think in (True, False)]
    store = store_of(rows, template=str(template))
    for number, word in enumerate(("stone ", "river ")):
        assert TOKENIZER.decode(ids_of(store, number)[0]).startswith(word)


TOOLS = [{"type": "function", "function": {"name": "depth", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "depth", "arguments": {}}}]}
TOOL_TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{{ m['content'] or '' }}<|end|>{% endfor %}"
)


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)], ids=["list", "json"])
def test_tools_and_calls_reach_the_template(tmp_path, tools):
    template = tmp_path / "tools.jinja"
    template.write_text(TOOL_TEMPLATE)
    answer = {"role": "tool", "name": "depth", "content": "two feet"}
    row = {"prompt": [USER, CALL, answer], "chosen": [said(GOOD)], "rejected": [said(BAD)], "tools": tools}
    (ids, _) = ids_of(store_of([row], template=str(template)))
    text = TOKENIZER.apply_chat_template(
        [USER, CALL, answer, said(GOOD)], chat_template=TOOL_TEMPLATE, tools=TOOLS, tokenize=False
    )
    assert TOKENIZER.decode(ids) == text and '"depth"' in text.split("<|user|>")[0] and text.count('"depth"') == 2


def test_a_dataset_and_a_stream_of_it_are_rows_like_others():
    datasets = pytest.importorskip("datasets")
    rows = [{**CONVERSATIONAL["explicit"], "prompt": [{**USER, "content": f"{n}"}]} for n in range(6)]
    plain = store_of(rows)
    data = datasets.Dataset.from_list(rows)
    for given in (data, data.to_iterable_dataset(), iter(rows)):
        store = store_of(given)
        assert store.tokens.tolist() == plain.tokens.tolist() and len(store) == 6


def test_a_dict_of_splits_is_no_set_of_rows():
    datasets = pytest.importorskip("datasets")
    given = datasets.DatasetDict({"train": datasets.Dataset.from_list([CONVERSATIONAL["explicit"]])})
    with pytest.raises(DataError, match=r"train rows: found an object with the keys train, wanted a list of rows"):
        store_of(given)


def test_several_evaluation_sets_keep_their_names():
    held = {name: [{**CONVERSATIONAL["explicit"], "prompt": [said(name) | {"role": "user"}]}] for name in ("a", "b")}
    splits = load_splits(Data(valid_share=0.0), 0, train=[CONVERSATIONAL["implicit"]], eval_sets=held)
    assert list(splits.evals) == ["a", "b"]


def batch_of(rows):
    store = store_of(rows, template="raw", eos="never")
    return collate(store, np.arange(len(store)), store.judgment_weights("pair"))


LENGTHS = [{"chosen_ids": [5, 6, 7], "rejected_ids": [5, 8]}, {"chosen_ids": [9, 10], "rejected_ids": [9, 11, 12, 13]}]


@pytest.mark.parametrize("pad", [0, 99])
def test_rows_are_padded_on_the_right_and_masked_whatever_the_pad_id(pad):
    rows = padded_rows(batch_of(LENGTHS), pad)
    wanted = [[5, 6, 7, pad], [5, 8, pad, pad], [9, 10, pad, pad], [9, 11, 12, 13]]
    assert rows.input_ids.tolist() == wanted
    assert rows.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert rows.last.tolist() == [2, 1, 1, 3]


def test_a_single_pair_is_a_batch():
    rows = padded_rows(batch_of(LENGTHS[:1]), 0)
    assert rows.input_ids.tolist() == [[5, 6, 7], [5, 8, 0]]


def test_margins_go_with_their_pairs():
    rows = [{**LENGTHS[0], "margin": 0.5}, {**LENGTHS[1], "margin": 2.0}]
    torch.testing.assert_close(batch_of(rows).targets.margin, torch.tensor([0.5, 2.0]))
