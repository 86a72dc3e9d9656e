"""Score distributions: nothing is lost in a bin, and bins of different steps fit each other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bradley.records import Judgment, ScoredComparison
from bradley.training.tracking.distributions import MOST_BINS, bin_edges, distributions

NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


def row(scores, *judgments):
    k = len(scores)
    return ScoredComparison("c", "k", tuple(scores), (3,) * k, (1,) * k, (False,) * k, judgments)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_every_score_has_a_bin_and_there_are_not_too_many(values):
    edges = bin_edges(np.array(values))
    assert 2 <= len(edges) <= MOST_BINS + 2
    assert (np.diff(edges) > 0).all()
    assert np.histogram(values, edges)[0].sum() == len(values)


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=30), st.floats(0.1, 9))
def test_the_edges_of_the_coarser_histogram_are_edges_of_the_finer_one(values, factor):
    fine, coarse = bin_edges(np.array(values)), bin_edges(np.array([*values, *(factor * 9 * v for v in values)]))
    inside = coarse[(coarse >= fine[0]) & (coarse <= fine[-1])]
    assert set(inside) <= set(fine)


def test_figures_of_known_scores():
    rows = [row((float(i), float(-i)), Judgment(0, 1)) for i in range(1, 11)]
    rows.append(row((100.0, 0.0), Judgment(0, 1, probability=0.5)))  # a tie is not decided
    found = distributions(rows)
    chosen = found["chosen"]
    assert (chosen["n"], chosen["mean"], chosen["min"], chosen["max"]) == (10, 5.5, 1.0, 10.0)
    assert chosen["std"] == np.std(np.arange(1, 11)) and chosen["p50"] == 5.5
    assert found["rejected"]["p05"] == np.quantile(-np.arange(1, 11), 0.05)
    assert chosen["edges"] == found["rejected"]["edges"] and chosen["edges"][1] - chosen["edges"][0] == 0.5
    assert {edge: n for edge, n in zip(chosen["edges"], chosen["counts"], strict=False) if n} == dict.fromkeys(
        range(1, 11), 1
    )


def test_a_ranking_gives_one_score_per_judgment_and_order_changes_nothing():
    rows = [row((3.0, 1.0, 2.0), Judgment(0, 1), Judgment(2, 1)), row((5.0, 4.0), Judgment(1, 0))]
    found = distributions(rows)
    assert (found["chosen"]["n"], found["rejected"]["mean"]) == (3, (1 + 1 + 5) / 3)
    assert distributions(rows[::-1]) == found


def test_nothing_decided_has_no_distribution():
    assert distributions([row((1.0, 0.0), Judgment(0, 1, probability=0.5))]) == {}
