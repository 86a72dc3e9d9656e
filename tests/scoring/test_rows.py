"""Rows to score: what they look like, what is wrong with them, and what is written of them."""

import datetime
import json

import numpy as np
import pytest

from bradley.config import Data
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Candidates, Message
from bradley.scoring.reading import RowReader
from bradley.scoring.rows import SHAPES, Parsed, scored_row
from bradley.scoring.scorer import Scored

AT = RowPlace("f.jsonl", "", 7)
USER, GOOD, BAD = Message("user", "Q"), Message("assistant", "A"), Message("assistant", "B")
BOTH = [(GOOD,), (BAD,)]
PROMPT = [{"role": "user", "content": "Q"}]
ANSWER = [{"role": "assistant", "content": "A"}]
OTHER = [{"role": "assistant", "content": "B"}]


def parse(row, at):
    """Parse a row of a file that begins with a readable row."""
    return RowReader(Data(), at.name, [(1, {"prompt": "Q", "response": "A"}), (at.row, row)]).parse(row, at)


def texts(parsed):
    assert isinstance(parsed, Parsed), parsed
    assert type(parsed.candidates) is Candidates and parsed.candidates.id == "row 7"
    return parsed.candidates.prompt, [response.messages for response in parsed.candidates.responses]


@pytest.mark.parametrize(
    "row, prompt, responses",
    [
        ({"messages": PROMPT + ANSWER}, (USER,), [(GOOD,)]),
        ({"prompt": PROMPT, "response": ANSWER}, (USER,), [(GOOD,)]),
        ({"prompt": PROMPT, "response": "A"}, (USER,), [(GOOD,)]),
        ({"prompt": "Q", "response": "A"}, (Message("text", "Q"),), [(Message("text", "A"),)]),
        ({"prompt": PROMPT, "responses": None, "response": "A", "messages": None}, (USER,), [(GOOD,)]),
        ({"prompt": "Q", "completion": ANSWER}, (USER,), [(GOOD,)]),
        ({"prompt": "Q", "responses": ["A", OTHER]}, (USER,), [(GOOD,), (BAD,)]),
        ({"prompt": PROMPT, "completions": [{"content": "A", "rank": 1}, {"content": "B"}]}, (USER,), BOTH),
        ({"prompt": PROMPT, "completions": [{"content": "A"}]}, (USER,), [(GOOD,)]),
        ({"chosen": PROMPT + ANSWER, "rejected": PROMPT + OTHER}, (USER,), [(GOOD,), (BAD,)]),
        ({"prompt_ids": [5, 6], "response_ids": [7]}, (Message("ids", "5 6"),), [(Message("ids", "7"),)]),
        ({"prompt_ids": None, "response_ids": [5, 6]}, (), [(Message("ids", "5 6"),)]),
        ({"prompt": PROMPT, "chosen": ANSWER, "rejected": OTHER, "weight": 0}, (USER,), [(GOOD,), (BAD,)]),
        ({"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}, (USER,), BOTH),
    ],
)  # fmt: skip
def test_every_shape_gives_its_prompt_and_responses(row, prompt, responses):
    assert texts(parse(row, AT)) == (prompt, responses)


def test_tools_reach_the_template():
    tool = {"type": "function", "function": {"name": "f"}}
    parsed = parse({"messages": PROMPT + ANSWER, "tools": [tool], "chat_template_kwargs": {"x": 1}}, AT)
    assert parsed.candidates.template_args == {"tools": [tool], "x": 1}


def test_values_of_tables_and_of_numpy_are_read_and_bytes_are_a_reason():
    call = {"function": {"name": "f", "arguments": {"date": datetime.date(2024, 5, 1), "other": None}}}
    row = {"messages": np.array([*PROMPT, {**ANSWER[0], "tool_calls": np.array([call])}]), "tools": None}
    _, ((answer,),) = texts(parse(row, AT))
    assert json.loads(answer.extra)["tool_calls"] == [{"function": {"name": "f", "arguments": {"date": "2024-05-01"}}}]
    assert parse({"prompt": "Q", "response": b"A"}, AT) == (
        'shape: found bytes as response, wanted text, or messages such as [{"role": "user", "content": "..."}]'
    )


@pytest.mark.parametrize(
    "row, reason",
    [
        ({"text": "hello"}, "shape: found the keys text, wanted messages, or a prompt with"),
        ({"messages": PROMPT}, "shape: found the roles user, wanted an assistant turn at the end"),
        ({"messages": []}, "shape: found an empty list, wanted a list of messages"),
        ({"messages": "hello"}, "shape: found text, wanted a list of messages"),
        ({"prompt": PROMPT, "responses": []}, "shape: found an empty list, wanted a list of responses in responses"),
        ({"prompt": PROMPT, "responses": "A"}, "shape: found text, wanted a list of responses in responses"),
        ({"prompt": None, "response": None}, "shape: found the keys prompt, response, wanted messages"),
        ({"response": "A"}, "shape: found the keys response, wanted messages"),
        ({"prompt": PROMPT, "completions": [{"text": "A"}]}, "shape: found the keys text, wanted the key content"),
        ({"prompt": "Q", "response": "A\0"}, "bad_characters: NUL as character 2"),
        ({"prompt": "Q", "response": "A\ud800"}, "bad_characters: half of a surrogate pair"),
        ({"chosen": "\n\nHuman: Q", "rejected": "\n\nHuman: Q\n\nAssistant: B"}, "irregular: "),
    ],
)
def test_what_cannot_be_read_has_a_reason(row, reason):
    found = parse(row, AT)
    assert isinstance(found, str) and found.startswith(reason), found


def test_a_list_of_one_response_still_gives_lists():
    one, several = {"prompt": "Q", "response": "A"}, {"prompt": "Q", "responses": ["A"]}
    result = Scored((0.5,), (3,), (False,))
    assert scored_row(one, parse(one, AT), result, "", False, AT) == {
        **one,
        "score": 0.5,
        "tokens": 3,
        "truncated": False,
    }
    found = scored_row(several, parse(several, AT), result, "", False, AT)
    assert found == {**several, "scores": [0.5], "tokens": [3], "truncated": [False]}


def test_the_best_of_equals_is_the_first_and_stands_in_place_of_all():
    row = {"id": 1, "prompt": "Q", "completions": [{"content": text} for text in "ABC"]}
    result = Scored((0.25, 0.75, 0.75), (3, 4, 5), (False, True, False))
    best = {"best": 1, "response": "B", "score": 0.75, "tokens": 4, "truncated": True}
    assert scored_row(row, parse(row, AT), result, "", True, AT) == {"id": 1, "prompt": "Q", **best}
    pair = {"prompt": "Q", "chosen": "A", "rejected": "B"}
    found = scored_row(pair, parse(pair, AT), Scored((0.1, 0.2), (1, 1), (False, False)), "", True, AT)
    assert found["response"] == "B" and "chosen" not in found and "rejected" not in found


def test_a_row_without_a_score_keeps_every_field():
    row = {"prompt": "Q", "responses": ["A", "B"]}
    parsed = parse(row, AT)
    assert scored_row(row, parsed, "over_long: 9", "", False, AT) == {**row, "scores": None, "error": "over_long: 9"}
    assert scored_row(row, parsed, "over_long: 9", "", True, AT) == {**row, "score": None, "error": "over_long: 9"}
    assert scored_row({"x": 1}, "shape: x", "shape: x", "", False, AT) == {"x": 1, "score": None, "error": "shape: x"}


def test_a_field_of_the_row_is_never_overwritten():
    row = {"prompt": "Q", "response": "A", "score": 3}
    result = Scored((0.5,), (3,), (False,))
    with pytest.raises(DataError, match=r"f.jsonl, row 7: found the field score") as caught:
        scored_row(row, parse(row, AT), result, "", False, AT)
    assert "--prefix" in caught.value.hint
    found = scored_row(row, parse(row, AT), result, "rm_", False, AT)
    assert found == {**row, "rm_score": 0.5, "rm_tokens": 3, "rm_truncated": False}


def test_every_shape_has_a_row_here():
    assert set(SHAPES) == {
        ("prompt", "responses"),
        ("prompt", "completions"),
        ("prompt", "response"),
        ("prompt", "completion"),
        ("messages",),
        ("prompt_ids", "response_ids"),
        ("response_ids",),
    }
