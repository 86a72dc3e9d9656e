import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import ChainableUndefined

from bradley.report.filters import DASH, FILTERS, THIN, duration, examples, head, number, percent, points, score, span


def test_values_as_written():
    assert number(1234567) == f"1{THIN}234{THIN}567"
    assert number(0.123456) == "0.1235"
    assert percent(0.72449) == f"72.4{THIN}%"
    assert points(-0.0312) == "−3.1"
    assert points(0.2) == "+20.0"
    assert score(-1.005e3) == "−1005.00"
    assert span({"low": 0.5, "high": 0.625}) == "50.0–62.5"


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (59.9, "59.9 s"), (61, "1 min"), (3599, "1 h 0 min"), (7380, "2 h 3 min")]
)
def test_durations(seconds, text):
    assert duration(seconds).replace(THIN, " ") == text


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, ChainableUndefined(), "text"])
def test_what_is_missing_is_a_dash(missing):
    assert {FILTERS[name](missing) for name in FILTERS if name != "head"} == {DASH}


@given(st.text(max_size=2000))
def test_head_is_a_beginning_and_short(text):
    start = head(text)
    assert text.startswith(start)
    assert len(start) <= 1.2 * 480
    if len(text) <= 480 and text.count("\n") < 9:
        assert start == text


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"examples": ["a", "b"]}, ["a", "b"]),
        ({"example": "a"}, ["a"]),
        ({"examples": []}, []),
        ({"example": ""}, []),
        ({"count": 3}, []),
        (ChainableUndefined(), []),
    ],
)
def test_examples_are_a_list_whether_one_or_several_were_written(entry, expected):
    assert examples(entry) == expected
