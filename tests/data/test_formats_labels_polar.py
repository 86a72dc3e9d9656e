"""Answers named by polar words beside a label, and strengths without a sign: the names alone decide nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Comparison

GOOD, BAD = "Put the box on a shelf and close it well.", "Nobody can say, so leave it as it is."
PAIRS = [
    *(("yes_answer", "no_answer"), ("up_text", "down_text"), ("positive_reply", "negative_reply")),
    *(("pos_response", "neg_response"), ("good_answer", "bad_answer"), ("response_w", "response_l")),
    *(("better_output", "worse_output"), ("win_resp", "lose_resp"), ("preferred_text", "non_preferred_text")),
]
WORDS = {
    "names": lambda names, side: names[side],
    "letters": lambda names, side: "AB"[side],
    "index": lambda names, side: side,
    "index from 1": lambda names, side: side + 1,
    "truth value": lambda names, side: side == 0,
    "polar words": lambda names, side: ["yes", "no"][side],
    "first and second": lambda names, side: ["first", "second"][side],
}
LABELS = ["winner", "label", "preference", "human_choice", "better"]


def read(rows, **settings):
    place = RowPlace("x.jsonl", "x", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


@given(
    st.lists(st.sampled_from([0, 1]), max_size=6).map(lambda sides: [0, 1, *sides]),
    st.sampled_from(PAIRS),
    st.sampled_from(LABELS),
    st.sampled_from(list(WORDS)),
    st.booleans(),
    st.booleans(),
)
def test_a_label_beside_polar_names_is_read_or_refused(sides, names, label, word, by_hand, swapped):
    rows = [
        {"prompt": f"q {n}?", names[side]: GOOD, names[1 - side]: BAD, label: WORDS[word](names, side)}
        for n, side in enumerate(sides)
    ]
    first, second = names[::-1] if swapped else names
    try:
        reading, results = read(rows, columns={"chosen": first, "rejected": second} if by_hand else {})
    except DataError as error:
        assert label in error.message and "--data.format module:function" in error.hint
        return
    assert label in reading.describe()
    for result in results:
        assert result.responses[result.judgments[0].better].text == GOOD


@pytest.mark.parametrize("names", PAIRS)
def test_polar_names_alone_are_read(names):
    rows = [{"prompt": f"q {n}?", names[0]: GOOD, names[1]: BAD, "domain": "ab"[n % 2] * 3} for n in range(6)]
    _, results = read(rows)
    assert [result.responses[result.judgments[0].better].text for result in results] == [GOOD] * 6


@pytest.mark.parametrize("name", ["score", "rating", "flag", "p_first", "yes_score"])
def test_numbers_beside_weak_polar_names_are_suspects(name):
    rows = [{"prompt": f"q {n}?", "yes_answer": GOOD, "no_answer": BAD, name: n % 2} for n in range(6)]
    with pytest.raises(DataError, match=name) as caught:
        read(rows)
    assert f"if none is a label: --data.ignore {name}" in caught.value.hint
    assert len(read(rows, ignore=name)[1]) == 6


STRENGTHS = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=30)


@given(
    STRENGTHS,
    st.lists(st.sampled_from([-3, -2, -1]), max_size=2),
    st.sampled_from(["helpsteer2", "helpsteer3"]),
)
def test_strengths_without_a_negative_number_are_refused_until_the_format_is_named(positive, negative, format):
    turns = [{"role": "user", "content": "q"}]
    key, names, asked = {
        "helpsteer2": ("preference_strength", ("response_1", "response_2"), {"prompt": "q"}),
        "helpsteer3": (
            "overall_preference",
            ("response1", "response2"),
            {"context": turns},
        ),
    }[format]
    strengths = [*positive, *negative]
    rows = [{**asked, names[strength > 0]: GOOD, names[strength <= 0]: BAD, key: strength} for strength in strengths]
    if not negative:
        with pytest.raises(DataError, match=f"{key} has no negative number") as caught:
            read(rows)
        assert f"if every positive number prefers {names[1]}: --data.format {format}" in caught.value.hint
    for more in ({"format": format}, *([{}] if negative else [])):
        reading, results = read(rows, **more)
        assert reading.format == format and all(isinstance(result, Comparison) for result in results)
        assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}


@pytest.mark.parametrize("values", [(1, 2), (1, 2, 3), (0, 1), (-1, 2), (0, 3)])
@pytest.mark.parametrize("name", ["preference_strength", "strength", "likert", "info.preference_strength"])
@pytest.mark.parametrize("columns", [{}, {"chosen": "reply_a", "rejected": "reply_b"}, {"label": ...}])
def test_a_strength_is_no_index_of_an_answer(values, name, columns):
    rows = []
    for n in range(9):
        row = {"prompt": f"q {n}?", "reply_a": GOOD, "reply_b": BAD}
        *outer, last = name.split(".")
        (row.setdefault(outer[0], {}) if outer else row)[last] = values[n % len(values)]
        rows.append(row)
    with pytest.raises(DataError, match=name):
        read(rows, columns=columns if "label" not in columns else {"label": name})
    told = [{**row, "winner": "ab"[n % 2]} for n, row in enumerate(rows)]
    if 0 in values:
        with pytest.raises(DataError, match=rf"{name} says that no answer is better \(0\), and winner names one"):
            read(told)
        return
    _, results = read(told)
    assert [result.judgments[0].better for result in results] == [n % 2 for n in range(9)]
