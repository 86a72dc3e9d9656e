import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from bradley.evaluate.length import length_rule
from bradley.evaluate.moments import correlation
from bradley.evaluate.summary import summarize

from .tables import flip, scored, tables


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 9)), min_size=3, max_size=20))
def test_correlation_is_that_of_scipy_at_any_scale(pairs):
    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert correlation(x, y) is None
        return
    expected = pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
    assert correlation(x, y) == expected
    assert correlation(x * 1e200, y * 1e-200) == expected
    assert -1.0 <= correlation(x, x) <= 1.0 == pytest.approx(correlation(x, x))


def test_each_judged_response_counts_once_and_an_unjudged_one_not_at_all():
    rows = [
        scored("k", (0.5, 1.0, 2.5, 99.0), [(0, 1), (0, 2), (1, 2, 0.5)], lengths=(4, 9, 2, 1)),
        scored("pair", (3.0, -1.0), lengths=(8, 6)),
    ]
    expected = pearsonr([0.5, 1.0, 2.5, 3.0, -1.0], [4, 9, 2, 8, 6]).statistic
    assert summarize(rows)["length_correlation"] == pytest.approx(expected)


def test_margins_against_length_differences_over_decided_judgments():
    rows = [
        scored("a", (2.0, 0.0), lengths=(5, 3)),
        scored("b", (1.0, 0.0), lengths=(2, 9)),
        scored("c", (0.0, 3.0), [(1, 0)], lengths=(4, 4)),
        scored("tie", (50.0, 0.0), [(0, 1, 0.5)], lengths=(1, 40)),
    ]
    result = summarize(rows)
    assert result["margin_length_correlation"] == pytest.approx(pearsonr([2, 1, 3], [2, -7, 0]).statistic)
    assert result["length_difference"] == {
        "mean": pytest.approx(-5 / 3),
        "std": pytest.approx(np.std([2, -7, 0])),
    }


def test_a_score_that_is_the_length_correlates_fully():
    rows = [scored(f"{i}", (i * 1.0, i + 2.0), [(1, 0)], lengths=(i, i + 2)) for i in range(1, 9)]
    result = summarize(rows)
    assert result["length_correlation"] == pytest.approx(1.0)
    assert result["margin_length_correlation"] is None  # every difference is 2


@pytest.mark.parametrize(("longer", "name", "value"), [(0.6, "longer wins", 0.6), (0.3, "shorter wins", 0.7)])
def test_the_better_length_rule_and_its_interval(longer, name, value):
    figures = {"length": {"value": longer, "low": longer - 0.1, "high": longer + 0.05, "n": 9, "clusters": 9}}
    rule, accuracy = length_rule(figures)
    assert rule == name and accuracy["value"] == pytest.approx(value) and accuracy["n"] == 9
    below, above = (0.1, 0.05) if name == "longer wins" else (0.05, 0.1)
    assert (accuracy["low"], accuracy["high"]) == (pytest.approx(value - below), pytest.approx(value + above))
    assert length_rule({}) == ("longer wins", None)


def test_nothing_has_no_correlation():
    result = summarize([])
    assert result["length_correlation"] is result["margin_length_correlation"] is None
    assert result["length_difference"] == {"mean": None, "std": None}


@given(tables())
def test_flipped_labels_keep_the_correlations_and_turn_the_difference(rows):
    result, flipped = summarize(rows), summarize([flip(row) for row in rows])
    assert flipped["length_correlation"] == result["length_correlation"]
    for name, sign in (("mean", -1), ("std", 1)):
        value = result["length_difference"][name]
        assert flipped["length_difference"][name] == (value if value is None else pytest.approx(sign * value))
