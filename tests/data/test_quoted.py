"""Values of the data in messages: one line, escaped and cut, whatever the value and wherever the fault."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.load import load_splits
from bradley.data.rows import keys_of, quoted
from bradley.errors import BradleyError

LONG = "x\n\x1b[2J" * 50_000
PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
TURNS = [{"role": "user", "content": "a"}, {"role": LONG, "content": "b"}]
FAULTS = {
    "votes": {"prompt": "a", "response_a": "b", "response_b": "c", "votes": [LONG]},
    "counts": {"prompt": "a", "response_a": "b", "response_b": "c", "votes": {"a": -1, "b": 1, "tie": 0}},
    "side": {"prompt": "a", "response_a": "b", "response_b": "c", "votes": {LONG: 1}},
    "role": {**PAIR, "prompt": TURNS},
    "score": {**PAIR, "score_chosen": LONG, "score_rejected": 1},
    "margin": {**PAIR, "margin": [LONG]},
    "keys": {LONG: 1, "other": 2},
    "many keys": {f"key {number}": number for number in range(100_000)},
    "ids": {"prompt_ids": [1], "chosen_ids": [LONG], "rejected_ids": [2]},
    "deep arguments": {**PAIR, "chat_template_kwargs": json.loads("[" * 900 + "]" * 900)},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_long_value_is_cut_and_escaped(tmp_path, name):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(FAULTS[name]) + "\n")
    with pytest.raises(BradleyError) as caught:
        load_splits(Data(train=str(path), valid_share=0.0), 0, valid=[PAIR])
    message = caught.value.message
    assert message.isprintable() and len(message) < 1500, message[:3000]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"prompt": "a", "chosen": "b", "rejected": "c", "tools": ' + "[" * 990 + "]" * 990 + "}",
        '{"prompt": "a", "chosen": "b", "rejected": "c", "margin": ' + "9" * 5000 + "}",
        '{"prompt": "a", "chosen": "b", "rejected": "c", "margin": ' + "9" * 4000 + "}",
        '{"prompt": "a", "chosen": "b", "rejected": "c", "margin": 1e999}',
        '{"' + "k" * 100_000 + '": 1, "' + "k" * 100_000 + '": 2}',
    ],
)
def test_deep_and_huge_rows_are_told_in_one_line(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(BradleyError) as caught:
        load_splits(Data(train=str(path), valid_share=0.0), 0, valid=[PAIR])
    assert caught.value.message.isprintable() and len(caught.value.message) < 1000
    assert "rows.jsonl" in caught.value.message


@given(st.recursive(st.text() | st.integers() | st.floats() | st.none(), st.lists, max_leaves=30))
def test_any_value_is_quoted_on_one_line(value):
    assert quoted(value).isprintable() and len(quoted(value)) < 400


def test_a_value_that_python_cannot_write_is_named_by_its_kind():
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert quoted(deep) == "a list too deep or too long to show"
    assert quoted(10**5000) == "a number too deep or too long to show"
    assert keys_of(dict.fromkeys(range(30))).endswith("19 and 10 more")
