"""Columns beside two answers that the user named: read as the label, in agreement with the names, or a stop."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.errors import DataError
from tests.data.labelled_rows import AGAINST, BAD, FOR, GOOD, read, sided

ANSWERS = [("response_a", "response_b"), ("left_reply", "right_reply"), ("output_1", "output_2"), ("one", "two")]
NAMES = [
    *(
        "model_prediction",
        "model",
        "longer",
        "longer_answer",
        "shown_first",
        "position",
        "type",
        "arm",
        "x",
        "info.model",
    ),
]
ALPHABETS = {
    "letters": lambda side, names: "AB"[side],
    "names": lambda side, names: names[side],
    "places in words": lambda side, names: ["first", "second"][side],
    "from 0": lambda side, names: side,
    "from 1": lambda side, names: side + 1,
    "truth": lambda side, names: side == 0,
}
NUMBERED = {"model_prediction", "model", "longer", "longer_answer", "position", "arm", "info.model"}


def put(row, name, value):
    *outer, last = name.split(".")
    (row.setdefault(outer[0], {}) if outer else row)[last] = value


@given(
    st.lists(st.sampled_from([0, 1]), max_size=8).map(lambda sides: [0, 1, 0, *sides, 1, 0, 1]),
    st.sampled_from(NAMES),
    st.sampled_from(list(ALPHABETS)),
    st.sampled_from(ANSWERS),
    st.booleans(),
    st.sampled_from([0, 22]),
)
def test_a_column_that_names_both_answers_is_never_passed_over(sides, name, alphabet, names, swapped, start):
    if alphabet in ("from 0", "from 1", "truth") and name not in NUMBERED:
        return
    rows = []
    for n, side in enumerate((sides * 6)[: 22 + 6]):
        row = {"prompt": f"q {n}?", names[side]: GOOD, names[1 - side]: BAD}
        if n >= start:
            put(row, name, ALPHABETS[alphabet](side, names))
        rows.append(row)
    first, second = names[::-1] if swapped else names
    columns = {"chosen": first, "rejected": second}
    with pytest.raises(DataError, match=name) as caught:
        read(rows, columns=columns, faulty="drop")
    assert f"--data.ignore {name}" in caught.value.hint or "module:function" in caught.value.hint
    assert len(read(rows, columns=columns, ignore=name)[1]) == len(rows)
    if f"--data.columns.label {name}" in caught.value.hint and start == 0 and alphabet != "truth":
        _, results = read(rows, columns={**columns, "label": name})
        assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}


def test_a_column_that_agrees_or_divides_the_rows_is_no_reason_to_stop():
    for more in (
        {"model": "A"},
        {"split": "b"},
        {"fold": "A"},
        {"type": "first"},
        {"model_size": 2},
        {"domain": "B2B"},
    ):
        rows = [{"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD, **more} for n in range(24)]
        _, results = read(rows, columns={"chosen": "response_a", "rejected": "response_b"})
        assert [result.responses[0].text for result in results] == [GOOD] * 24


POLAR = [("good_answer", "bad_answer"), ("preferred_text", "worse_text"), ("winner_reply", "loser_reply")]


def sides_as(names, more):
    """The same columns with the words of two names in place of chosen and rejected."""
    words = dict(zip(("chosen", "rejected"), (name.split("_")[0] for name in names), strict=True))
    found = {}
    for key, value in more.items():
        for old, new in words.items():
            key = key.replace(old, new)
        found[key] = value
    return found


@given(st.sampled_from(POLAR), st.sampled_from(AGAINST), st.booleans(), st.booleans(), st.sampled_from([0, 22]))
def test_names_of_the_better_answer_are_checked_as_chosen_is(names, more, by_hand, renamed, start):
    more = sides_as(names, more) if renamed else more
    rows = [{"prompt": f"q {n}?", names[0]: GOOD, names[1]: BAD, **(more if n >= start else {})} for n in range(24)]
    columns = {"chosen": names[0], "rejected": names[1]} if by_hand else {}
    with pytest.raises(DataError) as caught:
        read(rows, columns=columns, faulty="drop")
    assert not by_hand or any(name in caught.value.message for name in more)


@pytest.mark.parametrize(
    "more", [more for more in FOR if not set(more) & {"label", "preference", "rank", "scores"}], ids=str
)
def test_columns_that_agree_with_names_of_the_better_answer(more):
    rows = [{"prompt": f"q {n}?", "good_answer": GOOD, "bad_answer": BAD, **more} for n in range(24)]
    try:
        _, results = read(rows, columns={"chosen": "good_answer", "rejected": "bad_answer"})
    except DataError as error:
        # A label in words of other names is not understood, and named.
        assert any(name in error.message for name in more)
    else:
        assert [result.responses[0].text for result in results] == [GOOD] * 24


MARKED = ["flag", "note", "changed", "fix", "override", "xyz", "star", "answer_ok", "info.mark"]


@given(
    st.sampled_from(MARKED),
    st.sampled_from(["x", "*", "wrong", "\u2713", True, 1, "non"]),
    st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True),
    st.sampled_from([None, "", ...]),
)
@example("flag", "x", [5], ...)
@example("flag", "x", [30], None)
def test_a_mark_of_some_rows_beside_answers_named_by_hand_stops_the_load(name, mark, marked, blank):
    rows = sided([0] * 41, lambda row, side, names: None, ["response_a", "response_b"])
    for number, row in enumerate(rows):
        value = mark if number in marked else blank
        if value is not ...:
            put(row, name, value)
    hand = {"columns": {"chosen": "response_a", "rejected": "response_b"}}
    with pytest.raises(DataError, match=rf"{name} (marks some rows|may say that rows do not count)") as caught:
        read(rows, **hand)
    assert f"--data.ignore {name}" in caught.value.hint and "--data.columns.label" not in caught.value.hint
    assert len(read(rows, ignore=name, **hand)[1]) == 41
    # A column that describes the rows passes, and so does one with the same value in every row.
    for other in ("split", "subset", "annotator"):
        described = [{**row, other: "x"} if number in marked else row for number, row in enumerate(rows)]
        read(described, ignore=name, **hand)
    same = [put_in(row, name, mark) for row in rows]
    read(same, **hand)


def put_in(row, name, value):
    """The row with a value; dots reach into objects."""
    made = {key: dict(inner) if isinstance(inner, dict) else inner for key, inner in row.items()}
    put(made, name, value)
    return made
