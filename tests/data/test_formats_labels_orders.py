"""Permutations beside answers: ranks, or the places of the answers with the best first; never guessed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from tests.data.labelled_rows import read


def ranks_of(order):
    """The rank of each answer, from 0, of a list of places with the best first."""
    return [order.index(place) for place in range(len(order))]


def listed(name, orders, values):
    """Rows of answers whose texts hold their true rank; `values` makes the list of the label from the order."""
    rows = []
    for n, order in enumerate(orders):
        ranks = ranks_of(order)
        answers = [f"This is answer {rank} of the lot, in so many words." for rank in ranks]
        row = {"prompt": f"q {n}?", "answers": answers}
        *outer, last = name.split(".")
        (row.setdefault(outer[0], {}) if outer else row)[last] = values(order)
        rows.append(row)
    return rows


def is_right(results):
    """Every judgment prefers the answer of the lower true rank."""
    found = [(result.responses, judgment) for result in results for judgment in result.judgments]
    return bool(found) and all(texts[j.better].text < texts[j.worse].text for texts, j in found)


ORDERS = st.integers(2, 5).flatmap(lambda k: st.lists(st.permutations(range(k)), min_size=1, max_size=6))
VALUES = {
    "ranks": ranks_of,
    "ranks from 1": lambda order: [rank + 1 for rank in ranks_of(order)],
    "best first": list,
    "best first from 1": lambda order: [place + 1 for place in order],
}


@given(
    ORDERS,
    st.sampled_from(["ranking", "order", "human_ranking", "preference_order", "sorted", "info.ranking"]),
    st.sampled_from(list(VALUES)),
    st.booleans(),
)
def test_a_permutation_under_a_name_that_may_mean_either_is_never_misread(orders, name, kind, by_hand):
    rows = listed(name, orders, VALUES[kind])
    clear = all(list(order) == ranks_of(order) for order in orders)
    try:
        _, results = read(rows, columns={"label": name} if by_hand else {})
    except DataError as error:
        if by_hand or name.endswith("ranking"):
            assert "the rank of each answer, or the places of the answers with the best first" in error.message
            assert "--data.columns.label" not in error.hint and "module:function" in error.hint
            assert not clear
        return
    assert is_right(results)


@given(ORDERS, st.sampled_from(["rank", "ranks", "human_rank", "info.ranks", "place"]), st.booleans())
def test_a_name_that_says_rank_is_read_as_ranks(orders, name, from_1):
    rows = listed(name, orders, VALUES["ranks from 1" if from_1 else "ranks"])
    reading, results = read(rows)
    assert is_right(results) and "the lowest is best" in reading.describe()


@given(ORDERS, st.sampled_from(["worth", "col7", "preference"]), st.sampled_from(list(VALUES)))
def test_a_permutation_under_a_name_of_nobodys_is_not_guessed(orders, name, kind):
    orders = [order if len(order) > 2 else [1, 0, 2] for order in orders]
    for columns in ({}, {"label": name}):
        with pytest.raises(DataError):
            read(listed(name, orders, VALUES[kind]), columns=columns)


def test_ties_tell_ranks_and_a_late_permutation_stops_the_load():
    rows = listed("ranking", [[0, 1, 2], [2, 1, 0], [1, 0, 2]], ranks_of)
    assert is_right(read(rows)[1])
    late = listed("ranking", [[2, 0, 1]], ranks_of)
    with pytest.raises(DataError, match=r"row 31: found \[1, 2, 0\] as ranking, wanted a label as in the first rows"):
        read([*rows * 10, *late])
    from_1 = [{**row, "ranking": [rank + 1 for rank in row["ranking"]]} for row in [*rows * 10, *late]]
    assert is_right(read(from_1[:-1])[1])
    with pytest.raises(DataError, match=r"row 31: found \[2, 3, 1\] as ranking, wanted a label as in the first rows"):
        read(from_1)
    tied = {**late[0], "ranking": [0, 0, 1], "answers": ["Answer 0 here.", "Answer 0 there.", "Answer 1 now, or so."]}
    for some in ([tied, *late], [*late * 30, tied]):
        assert is_right(read(some)[1])


def test_the_score_of_a_rank_has_no_direction():
    rows = [
        {"prompt": f"q {n}?", "answers": [f"One {n} and more.", f"Two {n} and more."], "rank_score": [n % 3, 1]}
        for n in range(5)
    ]
    with pytest.raises(DataError, match="rank_score"):
        read(rows)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_two_readings_agree_only_for_a_permutation_that_is_its_own_inverse(order):
    from bradley.data.formats.orders import is_own_inverse, is_permutation, unclear_order

    assert is_own_inverse(order) is (list(order) == ranks_of(list(order))) and is_permutation(order)
    assert bool(unclear_order(("ranking",), [order], {"ranking"}, False)) is not is_own_inverse(order)
