"""Numbers of the judged exchange count from 0 or from 1 as the rows of the file show, and are refused otherwise."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from tests.data.rows import as_pairs, replies


def read(rows, **more):
    place = RowPlace("x.jsonl", "x", settings=Data(**more))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


def conversation(row, side, exchanges):
    """Conversation in which each text says row, side and exchange; both sides share the questions."""
    turns = []
    for number in range(exchanges):
        turns.append({"role": "user", "content": f"question {number} of row {row}"})
        turns.append({"role": "assistant", "content": f"{side} answers {number} of row {row}"})
    return turns


def judged(row, number, exchanges=2, name="turn"):
    sides = {f"conversation_{side}": conversation(row, side, exchanges) for side in "ab"}
    return {**sides, name: number, "winner": "model_b" if row % 2 else "model_a"}


def last(result):
    """Texts of the last turns of both answers."""
    return [response.messages[-1].content for response in result.responses]


@pytest.mark.parametrize("name", ["turn", "turn_index", "judged_turn"])
@pytest.mark.parametrize("written", [int, float, str])
@pytest.mark.parametrize("first", [0, 1])
def test_the_numbers_of_the_file_say_where_counting_begins(first, written, name):
    rows = [judged(n, written(n % 2 + first), name=name) for n in range(4)]
    reading, results = read(rows)
    assert [last(result) for result in results] == [
        [f"{side} answers {n % 2} of row {n}" for side in "ab"] for n in range(4)
    ]
    assert f"up to exchange <- {name}, from {first}" in reading.describe()
    assert [result.judgments[0].better for result in results] == [0, 1, 0, 1]
    assert as_pairs(results[0].prompt) == [("user", "question 0 of row 0")]


@pytest.mark.parametrize(
    ("numbers", "exchanges", "words"),
    [
        ([1, 1, 1], 2, "turn holds 1, and may count from 0 or from 1"),
        ([1, 2, 2], 3, "turn holds 1 and 2, and may count from 0 or from 1"),
        ([0, 2, 1], 2, "turn holds 0 and 2 and 1, which numbers no exchange"),
        ([3, 1, 2], 2, "turn holds 3 and 1 and 2, which numbers no exchange"),
        (["first", "second", "first"], 2, "which numbers no exchange"),
        ([0.5, 1, 2], 2, "which numbers no exchange"),
    ],
)
def test_numbers_that_decide_nothing_are_refused(numbers, exchanges, words):
    with pytest.raises(DataError) as caught:
        read([judged(n, number, exchanges) for n, number in enumerate(numbers)])
    assert words in caught.value.message and "--data.format module:function" in caught.value.hint


def test_later_rows_decide_and_a_number_of_no_exchange_is_a_fault():
    rows = [judged(n, 1) for n in range(40)]
    _, results = read([*rows, judged(40, 0)])
    assert last(results[0]) == ["a answers 1 of row 0", "b answers 1 of row 0"]
    _, results = read([*rows, judged(40, 2)])
    assert last(results[0]) == ["a answers 0 of row 0", "b answers 0 of row 0"]
    with pytest.raises(DataError, match="row 42: found 0 as turn, wanted a number from 1 to 2"):
        read([judged(40, 2), *rows, judged(41, 0)])


def test_a_column_left_out_judges_the_whole_conversation():
    _, results = read([judged(n, number) for n, number in enumerate(["both", "both"])], ignore="turn")
    assert last(results[0]) == ["a answers 1 of row 0", "b answers 1 of row 0"]


def test_a_number_beside_a_single_exchange_cuts_nothing():
    _, results = read([judged(n, 3, exchanges=1) for n in range(3)])
    assert replies(results[2]) == ["a answers 0 of row 2", "b answers 0 of row 2"]


@given(st.lists(st.tuples(st.integers(2, 4), st.floats(0, 0.99)), min_size=1, max_size=8), st.sampled_from([0, 1]))
def test_every_exchange_is_the_judged_one_or_the_file_is_refused(drawn, first):
    places = [(count, int(share * count)) for count, share in drawn]
    rows = [judged(n, place + first, count) for n, (count, place) in enumerate(places)]
    decided = any(place == 0 for _, place in places) if first == 0 else any(p + 1 == count for count, p in places)
    try:
        _, results = read(rows)
    except DataError as error:
        assert not decided and "may count from 0 or from 1" in error.message
        return
    assert decided
    for n, (result, (_, place)) in enumerate(zip(results, places, strict=True)):
        assert last(result) == [f"{side} answers {place} of row {n}" for side in "ab"]


TOLD = st.lists(st.sampled_from([None, "", "grey", "It is [blue].", "null"]), min_size=1, max_size=3)


@given(st.data(), st.sampled_from(["winner", "outcomes", "names"]), st.booleans())
def test_lists_written_as_json_text_are_read_alike_with_and_without_nulls(data, label, first):
    told = data.draw(TOLD)
    other = [f"answer {n}" for n in range(len(told))]
    names = ("chosen", "rejected") if label == "names" else ("response_a", "response_b")
    said = {"winner": "model_b"} if label == "winner" else {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}

    def row(number, one, another):
        asked = [f"question {number} {n}" for n in range(len(another))]
        cells = map(json.dumps, (asked, one, another))
        return dict(zip(("prompt", *names), cells, strict=True)) | (said if label != "names" else {})

    rows = [row(n, ["red"], ["green"]) for n in range(3)]
    place = 0 if first else 3
    rows.insert(place, row(9, told, other) if label != "names" else row(9, other, told))
    _, results = read(rows)
    assert len(results[place].prompt) == 1 and results[place].prompt[0].content == "question 9 0"
    better = results[place].judgments[0].better
    sides = [[m.content for m in response.messages if m.role == "assistant"] for response in results[place].responses]
    assert sides[better] == other and sides[1 - better] == [text or "" for text in told]


@pytest.mark.parametrize("reply", ["[]", "grey", "[1]"])
@pytest.mark.parametrize("label", [{"winner": "model_b"}, {}])
def test_a_reply_that_is_no_list_beside_a_list_makes_the_row_irregular(reply, label):
    names = ("response_a", "response_b") if label else ("chosen", "rejected")
    rows = [dict(zip(("prompt", *names), ('["q"]', f'["a {n}"]', '["b"]'), strict=True)) | label for n in range(24)]
    rows[22][names[0]] = reply
    _, results = read(rows)
    assert results[22].reason == "irregular" and replies(results[21]) == ["a 21", "b"]
    # A list as the text of an answer, beside a question that is no list, stays text.
    _, (plain,) = read([{"prompt": "q", names[0]: reply, names[1]: '["b"]', **label}])
    assert replies(plain) == [reply, '["b"]']
