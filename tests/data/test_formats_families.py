"""Families of names: answers are found wherever the mark stands, and what a message prints is read rightly."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from tests.data.rows import replies

NAMES = (
    *("model_{}_answer", "answer_of_model_{}", "llm{}.response", "{}_text", "text_{}", "model{}_reply", "{}.text"),
    *("response_from_model_{}", "assistant_{}_message", "system{}.completion", "{}_content", "model_{}_text"),
    *("output.of.{}", "candidates.{}", "bot{}.reply.text", "resp_{}_full"),
)
MARKS = (("a", "b"), ("A", "B"), ("1", "2"), ("Left", "Right"), ("First", "Second"))


def read(rows, **more):
    place = RowPlace("x.jsonl", "x", settings=Data(**more))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


def nested(name, value):
    """Row with a value under a name with dots."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def merged(one, other):
    """Row with the columns of both."""
    both = dict(one)
    for key, value in other.items():
        both[key] = merged(one[key], value) if key in one and isinstance(value, dict) else value
    return both


def family(name, marks, long=True, label="winner", said=None):
    """Eight rows; the better answer is the first in even rows, and the label says so."""
    rows = []
    for n in range(8):
        sides = [f"The {word} answer of row {n}, in words." if long else f"{n}{word}" for word in ("one", "other")]
        row = {"question": f"What is it {n}?"}
        for mark, text in zip(marks, sides, strict=True):
            row = merged(row, nested(name.format(mark), text))
        rows.append({**row, **({label: (said or marks)[n % 2]} if label else {})})
    return rows


def check(results, long=True):
    sides = [replies(result) for result in results]
    assert sides == [
        [f"The {word} answer of row {n}, in words." if long else f"{n}{word}" for word in ("one", "other")]
        for n in range(8)
    ]
    assert [result.judgments[0].better for result in results] == [0, 1] * 4


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_found_wherever_the_mark_stands(name, long):
    for marks in (("a", "b"), ("1", "2")):
        reading, results = read(family(name, marks, long))
        check(results, long)
        assert reading.describe().startswith(f"prompt <- question, answers <- {name.format(marks[0])}, ")


@given(
    st.sampled_from(NAMES), st.sampled_from(MARKS), st.booleans(), st.sampled_from(["mark", "model", "name", "none"])
)
def test_a_family_is_read_rightly_or_by_the_line_that_the_message_prints(name, marks, long, label):
    names = [name.format(mark) for mark in marks]
    said = {"model": [f"model_{mark}" for mark in marks], "name": names, "mark": None, "none": None}[label]
    rows = family(name, marks, long, "" if label == "none" else "winner", said)
    try:
        check(read(rows)[1], long)
        assert label != "none"
    except DataError as error:
        # Without a label the line is for files in which the first answer is the better one throughout.
        line = dict(re.findall(r"--data\.columns\.(\w+) ([^\s;]+)", error.hint))
        assert label == "none" and line == dict(zip(("chosen", "rejected"), names, strict=True))
        _, results = read(rows, columns=line)
        assert [replies(result) for result in results] == [
            [f"The {word} answer of row {n}, in words." if long else f"{n}{word}" for word in ("one", "other")]
            for n in range(8)
        ]
        assert {result.judgments[0].better for result in results} == {0}


@pytest.mark.parametrize("name", ["model_{}", "{}"])
def test_texts_under_bare_names_are_answers_or_can_be_named(name):
    columns = {"chosen": name.format("a"), "rejected": name.format("b")}
    for long in (True, False):
        rows = family(name, ("a", "b"), long)
        try:
            check(read(rows)[1], long)
        except DataError as error:
            assert "--data.columns.chosen NAME --data.columns.rejected NAME" in error.hint
            check(read(rows, columns=columns)[1], long)


def test_names_of_models_beside_the_answers_are_no_answers():
    rows = family("response_{}", ("a", "b"), long=False)
    rows = [{**row, "response_a_model": f"gpt {n}", "response_b_model": f"llama {n}"} for n, row in enumerate(rows)]
    check(read(rows)[1], long=False)


def test_long_texts_under_names_of_models_are_answers():
    rows = family("model_{}", ("a", "b"))
    for row in rows:
        row |= {key: row[key] + " And on, and on." for key in ("model_a", "model_b")}
    assert [result.judgments[0].better for result in read(rows)[1]] == [0, 1] * 4
