"""Columns beside the judgment of a row: other labels, ties and signed margins agree with the judgment, or stop."""

import pytest

from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, check, read, sided

TIES = [
    *("no_preference", "indifferent", "no_winner", "no_difference", "both_are_bad", "bothgood", "tie_flag", "is_even"),
    *("even", "undecidable", "cannot_decide", "both_wrong"),
]


def winner(row, side, names):
    row["winner"] = "AB"[side or 0]


def pairs(count=24, **more):
    """Rows of a chosen and a rejected answer; each value of `more` is a function of the row's number."""
    rows = [{"prompt": f"How do I keep box {n} dry?", "chosen": GOOD, "rejected": BAD} for n in range(count)]
    return [{**row, **{key: value(n) for key, value in more.items()}} for n, row in enumerate(rows)]


@pytest.mark.parametrize("name", TIES)
@pytest.mark.parametrize("truth", [(True, False), (1, 0)])
def test_names_of_ties(name, truth):
    values = [0, 1, None, 1, 0, None, 1] * 3
    rows = sided(values, winner, ["response_a", "response_b"])
    for row, side in zip(rows, values, strict=True):
        row[name] = truth[side is not None]
    assert name in check(rows, values).describe()
    with pytest.raises(DataError, match=name) as caught:
        read(pairs(**{name: lambda n: truth[n < 20]}))
    assert f"--data.ignore {name}" in caught.value.hint


@pytest.mark.parametrize("name", ["both_correct", "both_answered", "even_rows", "same_model", "no_system_prompt"])
def test_names_that_say_nothing_of_the_better_answer(name):
    values = [0, 1, 1, 0, 1] * 3
    rows = sided(values, winner, ["response_a", "response_b"])
    check([{**row, name: bool(n % 2)} for n, row in enumerate(rows)], values)
    assert len(read(pairs(**{name: lambda n: bool(n % 2)}))[1]) == 24
