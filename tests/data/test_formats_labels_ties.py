"""Rows that a column of their own calls ties, beside any label: ties, whatever the label says of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.formats.ties import is_tie_name
from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read, scores, sided

NAMES = ["is_tie", "tie", "Tied", "isTie", "draw", "is_equal", "both_bad", "info.is_tie", "is_draw", "winner_tie"]
TRUTH = [(True, False), (1, 0), ("true", "false"), ("yes", "no"), (True, None), (1.0, 0.0)]


def words(row, side, names):
    row["winner"] = "AB"[side]


def index(row, side, names):
    row["label"] = side


def ranks(row, side, names):
    row["ranks"] = [1 + side, 2 - side]


def outcomes(row, side, names):
    row |= {"winner_a": int(side == 0), "winner_b": int(side == 1)}


def votes(row, side, names):
    row["votes_a"], row["votes_b"] = 5 - 4 * side, 1 + 4 * side


def put(row, name, value):
    *outer, last = name.split(".")
    for key in outer:
        row = row.setdefault(key, {})
    row[last] = value


@given(
    st.lists(st.tuples(st.sampled_from([0, 1]), st.booleans()), max_size=6),
    st.sampled_from([words, index, scores, ranks, outcomes, votes]),
    st.sampled_from(NAMES),
    st.sampled_from(TRUTH),
    st.booleans(),
    st.booleans(),
)
def test_rows_that_another_column_calls_ties_are_ties(entries, label, name, truth, by_hand, empty):
    # Beside counts of votes, 0 and 1 are counts as well.
    truth = (True, False) if label is votes else truth
    entries = [(0, False), (1, False), (0, True), *entries]
    rows = sided([side for side, _ in entries], label, ["response_a", "response_b"])
    for row, (_, tie) in zip(rows, entries, strict=True):
        if empty and tie and label in (words, index):
            row["winner" if label is words else "label"] = None
        put(row, name, truth[not tie])
    columns = {"chosen": "response_a", "rejected": "response_b"} if by_hand else {}
    reading, results = read(rows, columns=columns)
    assert name in reading.describe()
    for result, (_, tie) in zip(results, entries, strict=True):
        if tie:
            assert result.reason == "no_judgment"
        else:
            assert result.responses[result.judgments[0].better].text == GOOD
    _, results = read(rows, columns=columns, equal_scores="tie")
    assert [result.judgments[0].probability == 0.5 for result in results] == [tie for _, tie in entries]


@pytest.mark.parametrize("sides", [("chosen", "rejected"), ("good_answer", "bad_answer"), ("yes_answer", "no_answer")])
def test_ties_beside_answers_that_are_read_by_their_names_stop_the_load(sides):
    rows = [{"prompt": f"q {n}?", sides[0]: GOOD, sides[1]: BAD, "is_tie": n > 25} for n in range(30)]
    for some in (rows, rows[20:]):
        with pytest.raises(DataError, match="is_tie") as caught:
            read(some)
        assert "--data.ignore is_tie" in caught.value.hint
        assert len(read(some, ignore="is_tie")[1]) == len(some)
    assert all(isinstance(result, Comparison) for result in read(rows[:20])[1])


def test_a_column_of_ties_that_begins_late_stops_the_load():
    rows = sided([0, 1] * 12, words, ["response_a", "response_b"])
    with pytest.raises(DataError, match="row 25: is_tie says that the row is a tie"):
        read([*rows, {**rows[0], "is_tie": True}])
    assert len(read([*rows, {**rows[0], "is_tie": False}])[1]) == 25
    told = [{**row, "is_tie": None} for row in rows]
    _, results = read([*told, {**rows[0], "is_tie": True}])
    assert results[-1].reason == "no_judgment"
    with pytest.raises(DataError, match="row 25: found 'perhaps' as winner, is_tie"):
        read([*told, {**rows[0], "is_tie": "perhaps"}])


@pytest.mark.parametrize(
    ("name", "means"),
    [
        *(("is_tie", True), ("tie", True), ("equal", True), ("both_bad", True), ("winner_tie", True), ("tied", True)),
        *(("same_model", False), ("equal_length", False), ("both_safe", False), ("tie_breaker_seed", False)),
        *(("similarity", False), ("even", True), ("same_prompt", False)),
    ],
)
def test_names_of_columns_of_ties(name, means):
    assert is_tie_name((name,)) is means
