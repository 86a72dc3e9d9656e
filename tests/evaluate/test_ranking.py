"""Rankings within a comparison, against scipy and scikit-learn and by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.evaluate.ranking import ranking_figures

from .tables import scored


def ranked(id, scores, ranks, prompt="p"):
    """A comparison with a judgment for each pair of different ranks, 0 the best."""
    pairs = itertools.combinations(range(len(scores)), 2)
    judgments = [(a, b) if ranks[a] < ranks[b] else (b, a) for a, b in pairs if ranks[a] != ranks[b]]
    return scored(id, scores, judgments, prompt)


ROWS = st.integers(3, 6).flatmap(
    lambda k: st.tuples(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), min_size=k, max_size=k),
        st.lists(st.integers(0, 3), min_size=k, max_size=k).filter(lambda ranks: len(set(ranks)) > 1),
    )
)


@given(ROWS)
def test_tau_and_ndcg_agree_with_scipy_and_scikit_learn(row):
    from scipy.stats import kendalltau

    scores, ranks = row
    found = ranking_figures([ranked("a", scores, ranks)])
    wins = [sum(r > mine for r in ranks) - sum(r < mine for r in ranks) for mine in ranks]
    tau = kendalltau(scores, wins).statistic
    assert found["kendall_tau_b"]["value"] == (None if np.isnan(tau) else pytest.approx(tau))
    below = [sum(r > mine for r in ranks) for mine in ranks]
    metrics = pytest.importorskip("sklearn.metrics")
    assert found["ndcg"]["value"] == pytest.approx(metrics.ndcg_score([below], [scores]))


@given(ROWS)
def test_pair_accuracy_is_the_share_of_ordered_pairs(row):
    scores, ranks = row
    right = [
        1.0 if scores[a] > scores[b] else 0.5 if scores[a] == scores[b] else 0.0
        for a in range(len(scores))
        for b in range(len(scores))
        if ranks[a] < ranks[b]
    ]
    found = ranking_figures([ranked("a", scores, ranks)])
    assert found["pair_accuracy"]["value"] == pytest.approx(np.mean(right))
    assert (found["auc"]["n"] == 1) == (len(set(ranks)) == 2)


@pytest.mark.parametrize(
    "scores, ranks, top1, mrr",
    [
        ((3, 2, 1), (0, 1, 2), 1.0, 1.0),
        ((1, 2, 3), (0, 1, 2), 0.0, 1 / 3),
        ((3, 3, 1), (0, 1, 2), 0.5, 1 / 1.5),
        ((3, 3, 1), (0, 0, 2), 1.0, 1.0),
        ((2, 3, 1), (0, 1, 0), 0.0, 1 / 2),
        ((1, 1, 1), (0, 1, 1), 1 / 3, 1 / 2),
    ],
)
def test_top1_and_reciprocal_rank_by_hand(scores, ranks, top1, mrr):
    found = ranking_figures([ranked("a", scores, ranks)])
    assert found["top1"]["value"] == pytest.approx(top1)
    assert found["mrr"]["value"] == pytest.approx(mrr)


def test_what_is_not_ranked_is_counted():
    rows = [scored("two", (1, 0)), scored("ties", (1, 0, 2), [(0, 1, 0.5)]), ranked("three", (3, 2, 1), (0, 1, 2))]
    found = ranking_figures(rows)
    assert found["comparisons"] == 1
    assert found["left_out"] == {"two_responses": 1, "no_decided_judgment": 1}
    assert ranking_figures(rows[:1]) == {}
