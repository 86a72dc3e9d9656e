"""Words of agreement and of truth: every word means the same in a column, beside a judgment and in an annotation."""

import pytest

from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, read

TRUE = ["true", "yes", "y", "1", "1.0"]
FALSE = ["false", "no", "n", "0", "0.0"]
AGREES = ["agree", "agrees", "agreed", "agreement", "confirm", "confirms", "confirmed"]
DISAGREES = ["disagree", "disagrees", "disagreed", "disagreement", "disputed", "rejects"]
YES = [*TRUE, *AGREES, "correct", "win", "won", "wins"]
NO = [*FALSE, *DISAGREES, "wrong", "incorrect", "loss", "lose", "lost", "loses"]


def pairs(cell, count=24):
    """Rows of a chosen and a rejected answer beside the columns of `cell(number)`."""
    return [{"prompt": f"q {n}?", "chosen": GOOD, "rejected": BAD, **cell(n)} for n in range(count)]


def stops(rows, **settings):
    try:
        read(rows, **settings)
    except DataError:
        return True
    return False


@pytest.mark.parametrize("word", [*YES, *NO])
def test_words_for_true_and_false_beside_chosen(word):
    for case in (word, word.upper()):
        assert stops(pairs(lambda n: {"verdict": case})) == (word in NO)  # noqa: B023


@pytest.mark.parametrize("word", TRUE + FALSE)
def test_words_for_true_and_false_in_a_column_of_ties(word):
    assert stops(pairs(lambda n: {"is_tie": word})) == (word in TRUE)


@pytest.mark.parametrize("name", AGREES + DISAGREES)
@pytest.mark.parametrize("value", [True, False])
def test_names_of_agreement_beside_chosen_and_in_annotations(name, value):
    assert stops(pairs(lambda n: {name: value})) == (value != (name in AGREES))
    rows = [
        {"prompt": f"q {n}?", "reply_a": (GOOD, BAD)[n % 2], "reply_b": (BAD, GOOD)[n % 2]}
        | {"annotations": [{"choice": "AB"[n % 2], name: value}]}
        for n in range(8)
    ]
    assert stops(rows) == (value != (name in AGREES))
