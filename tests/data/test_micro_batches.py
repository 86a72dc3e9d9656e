"""Cutting steps into micro-batches and dealing them out: complete, within the limit, balanced, the same for any S."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.data.micro_batches import (
    Limit,
    Load,
    Sizes,
    check_limit,
    cut,
    cut_all,
    deal,
    load_of,
    measure,
    parts,
    pieces,
    ranges,
)
from bradley.errors import DataError
from tests.helpers import comparisons, store_for

STORE = store_for([*comparisons(7), *comparisons(6, responses=5, seed=3)])


def sizes_of(groups):
    """Sizes of groups, each a prefix and the own tokens of its responses."""
    rows = [len(own) for _, own in groups]
    longest = [prefix + max(own) for prefix, own in groups]
    tokens = [prefix + sum(own) for prefix, own in groups]
    pairs = [
        sum(range(1, prefix + 1)) + sum(sum(range(prefix + 1, prefix + n + 1)) for n in own) for prefix, own in groups
    ]
    return Sizes(*map(np.array, (rows, longest, tokens, pairs)))


def load(groups, padded=False, pairs_per_token=200.0) -> Load:
    return load_of(sizes_of(groups), padded=padded, pairs_per_token=pairs_per_token)


GROUPS = st.lists(
    st.tuples(st.integers(0, 60), st.lists(st.integers(1, 40), min_size=2, max_size=6)), min_size=1, max_size=40
)
LIMITS = st.builds(Limit, st.integers(60, 700), st.integers(0, 5), st.just(False))


def tokens_in(load, piece):
    sizes = load.sizes
    if load.padded:
        return int(sizes.rows[piece].sum() * sizes.longest[piece].max())
    return int(sizes.tokens[piece].sum())


def test_sizes_are_counted_from_the_store():
    found = measure(STORE)
    prefix = [int(np.diff(STORE.segments)[STORE.first_segment[g]]) for g in range(len(STORE))]
    own = [[len(STORE.response_ids(g, k)) - p for k in range(found.rows[g])] for g, p in enumerate(prefix)]
    for got, expected in zip(found, sizes_of(list(zip(prefix, own, strict=True))), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert found.tokens.sum() == len(STORE.tokens)


def test_sizes_do_not_depend_on_how_many_are_measured_at_a_time(monkeypatch):
    whole = measure(STORE)
    monkeypatch.setattr("bradley.data.micro_batches.CHUNK", 3)
    for once, several in zip(whole, measure(STORE), strict=True):
        np.testing.assert_array_equal(once, several)


@given(GROUPS, LIMITS, st.booleans(), st.integers(1, 12))
@example([(0, [30, 30]), *[(0, [1, 1])] * 20], Limit(62, 0, False), False, 21)
def test_every_micro_batch_keeps_the_limit_or_is_one_large_comparison(groups, limit, padded, batch_size):
    known = load(groups, padded)
    steps = np.full((-(-len(groups) // batch_size), batch_size), -1)
    steps.flat[: len(groups)] = np.random.default_rng(0).permutation(len(groups))
    labels = cut(known, steps, limit)
    assert ((labels >= 0) == (steps >= 0)).all()
    for row, numbers in zip(steps, labels, strict=True):
        made = pieces(row, numbers)
        assert all(len(piece) for piece in made)
        assert sorted(np.concatenate(made)) == sorted(row[row >= 0])
        for piece in made:
            assert tokens_in(known, piece) <= limit.tokens or len(piece) == 1
            assert len(piece) <= (limit.comparisons or len(groups))
        alone = cut(known, row[None], limit)[0]
        np.testing.assert_array_equal(alone, numbers)  # whatever other steps are cut beside it


def test_micro_batches_without_padding_are_few_and_alike():
    """4,000 tokens into 2,048: two, and no remainder of a few tokens; a large one does not make the others small."""
    known = load([(100, [50, 50])] * 20)
    assert [len(piece) for piece in pieces(np.arange(20), cut(known, np.arange(20)[None], Limit(2048))[0])] == [10, 10]
    uneven = load([(1800, [50, 50]), *[(50, [25, 25])] * 15])
    made = pieces(np.arange(16), cut(uneven, np.arange(16)[None], Limit(2048))[0])
    assert len(made) == 2 and sorted(made[0].tolist()) == [0]
    large = load([(5000, [50, 50]), *[(50, [25, 25])] * 15])
    made = pieces(np.arange(16), cut(large, np.arange(16)[None], Limit(2048, strict=False))[0])
    assert len(made) == 2 and made[0].tolist() == [0]


def test_padded_rows_of_similar_length_go_together():
    known = load([(0, [n, n]) for n in (10, 100, 12, 90, 11, 95)], padded=True)
    made = pieces(np.arange(6), cut(known, np.arange(6)[None], Limit(600))[0])
    assert [sorted(piece.tolist()) for piece in made] == [[1, 3, 5], [0, 2, 4]]


@given(GROUPS, LIMITS, st.booleans())
def test_what_is_in_no_step_is_cut_whole(groups, limit, padded):
    known = load(groups, padded)
    made = cut_all(known, limit, np.arange(len(groups)))
    assert sorted(np.concatenate(made)) == list(range(len(groups)))
    assert all(tokens_in(known, piece) <= limit.tokens or len(piece) == 1 for piece in made)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 9))
def test_all_processes_run_equally_many_of_about_equal_cost(cost, processes):
    cost = np.array(cost)
    rounds = deal(cost, processes)
    assert rounds.shape == (-(-len(cost) // processes), processes)
    assert sorted(rounds[rounds >= 0]) == list(range(len(cost)))
    each = np.where(rounds >= 0, cost[rounds], 0)
    assert (each[:-1].min(axis=1) >= each[1:].max(axis=1)).all()  # rounds go down in cost
    sums = each.sum(axis=0)
    assert sums.max() - sums.min() <= cost.max()


def test_a_comparison_above_a_strict_limit_is_named_with_what_it_needs():
    for padded in (True, False):
        known = load_of(measure(STORE), padded=padded)
        worst, need = int(known.tokens.argmax()), int(known.tokens.max())
        with pytest.raises(DataError, match=f"comparison c{worst - 7} needs {need} tokens") as caught:
            check_limit(STORE, known, Limit(need - 1))
        assert str(need) in caught.value.hint
        check_limit(STORE, known, Limit(need))
        check_limit(STORE, known, Limit(need - 1, strict=False))


def test_cost_is_tokens_and_attention_in_units_of_tokens():
    sizes = sizes_of([(3, [2, 1])])
    assert sizes.pairs.tolist() == [6 + (4 + 5) + 4]
    assert load_of(sizes, padded=False, pairs_per_token=10).cost.tolist() == pytest.approx([6 + 1.9])
    assert load_of(sizes, padded=True, pairs_per_token=10).cost.tolist() == pytest.approx([10 + 5.0])


def least_bound(cost: np.ndarray, processes: int) -> float:
    """The most costly run at its least, by trying every cut."""
    places = itertools.combinations_with_replacement(range(len(cost) + 1), processes - 1)
    return min(
        max(cost[first:stop].sum() for first, stop in itertools.pairwise([0, *cuts, len(cost)])) for cuts in places
    )


@pytest.mark.parametrize("seed", range(20))
def test_ranges_hold_everything_once_and_are_balanced(seed: int) -> None:
    rng = np.random.default_rng(seed)
    processes = int(rng.integers(1, 5))
    cost = rng.lognormal(0, 1, int(rng.integers(1, 14)))
    found = ranges(cost, processes)
    assert found[0][0] == 0 and found[-1][1] == len(cost) and len(found) == processes
    assert all(stop == first for (_, stop), (first, _) in itertools.pairwise(found))
    assert all(first <= stop for first, stop in found)
    assert max(cost[first:stop].sum() for first, stop in found) <= 1.002 * least_bound(cost, processes)


def test_ranges_of_equal_costs_are_equal_and_the_last_empty_where_there_are_too_few() -> None:
    assert ranges(np.ones(64), 4) == [(0, 16), (16, 32), (32, 48), (48, 64)]
    assert ranges(np.ones(8), 3) == [(0, 3), (3, 6), (6, 8)]
    assert ranges(np.ones(3), 4) == [(0, 1), (1, 2), (2, 3), (3, 3)]


@pytest.mark.parametrize("seed", range(20))
def test_parts_hold_everything_once_and_end_as_near_as_can_be_to_equal_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    most = int(rng.integers(1, 12))
    cost = rng.uniform(0.5, 2.0, int(rng.integers(1, 60)))
    found = parts(cost, most)
    assert found[0][0] == 0 and found[-1][1] == len(cost) and 1 <= len(found) <= min(most, len(cost))
    assert all(first < stop for first, stop in found)
    assert all(stop == first for (_, stop), (first, _) in itertools.pairwise(found))
    assert all(cost[a:b].sum() <= cost.sum() / most + cost.max() * 1.001 for a, b in found)


def test_parts_of_equal_costs_are_equal_and_a_large_micro_batch_is_one_by_itself() -> None:
    assert parts(np.ones(40), 8) == [(place, place + 5) for place in range(0, 40, 5)]
    assert parts(np.ones(5), 8) == [(place, place + 1) for place in range(5)]
    assert parts(np.array([1.0, 100.0, 1.0]), 8) == [(0, 1), (1, 2), (2, 3)]
    assert parts(np.array([1.0, 1.0, 100.0]), 2) == [(0, 2), (2, 3)]
