import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta as beta_distribution
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from bradley.evaluate.intervals import PROPORTION, clustered_mean, interval_dict, naive_mean

SAMPLE = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from(["a", "b", "c", "d"])), min_size=2, max_size=30
)


def test_two_clusters_by_hand():
    """Mean 5/8; cluster sums of residuals +-0.75; SE^2 = 2/1 * 2 * 0.75^2 / 4^2."""
    result = clustered_mean([1.0, 1.0, 0.0, 0.5], ["p", "p", "q", "q"])
    reach = student.ppf(0.975, 1) * math.sqrt(2 * 2 * 0.75**2 / 16)
    assert result.value == 0.625
    assert (result.n, result.clusters) == (4, 2)
    assert result.low == pytest.approx(0.625 - reach)
    assert result.high == pytest.approx(0.625 + reach)


def test_one_value_per_cluster_is_the_t_interval_of_scipy():
    values = np.random.default_rng(0).normal(size=40)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    result = clustered_mean(values, [f"prompt {i}" for i in range(40)])
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert naive_mean(values) == result


def test_equals_the_sandwich_of_a_regression_on_a_constant():
    """(X'X)^-1 (sum_g X_g' e_g e_g' X_g) (X'X)^-1 with X a column of ones, in matrices."""
    draw = np.random.default_rng(1)
    clusters = draw.integers(0, 12, 100)
    values = draw.normal(size=100) + draw.normal(size=12)[clusters]
    design = np.ones((100, 1))
    error = values - values.mean()
    meat = sum(
        design[clusters == g].T @ np.outer(e, e) @ design[clusters == g]
        for g in range(12)
        for e in [error[clusters == g]]
    )
    bread = np.linalg.inv(design.T @ design)
    se = math.sqrt(12 / 11 * (bread @ meat @ bread)[0, 0])
    result = clustered_mean(values, clusters)
    assert result.high - result.value == pytest.approx(student.ppf(0.975, 11) * se)


def test_agrees_with_a_bootstrap_over_prompts():
    draw = np.random.default_rng(2)
    clusters = np.repeat(np.arange(150), draw.integers(1, 9, 150))
    ability = draw.beta(2, 1, 150)
    values = (draw.random(len(clusters)) < ability[clusters]).astype(float)
    sums, counts = np.bincount(clusters, weights=values), np.bincount(clusters)
    picks = draw.integers(0, 150, (4000, 150))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    result, naive = clustered_mean(values, clusters, PROPORTION), naive_mean(values, PROPORTION)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.006)
    assert naive.high - naive.low < 0.8 * (result.high - result.low)


def test_covers_the_truth_in_95_percent_of_samples():
    draw = np.random.default_rng(3)
    clusters = np.repeat(np.arange(30), 5)
    hits = 0
    for _ in range(400):
        values = draw.normal(size=30)[clusters] + draw.normal(size=150)
        result = clustered_mean(values, clusters)
        hits += result.low <= 0.0 <= result.high
    assert 0.92 <= hits / 400 <= 0.98


def test_nothing_one_cluster_and_the_bounds():
    assert all(math.isnan(x) for x in clustered_mean([], [])[:3])
    assert clustered_mean([], [])[3:] == (0, 0)
    assert clustered_mean([1.0, 0.0], ["p", "p"], PROPORTION) == (0.5, 0.0, 1.0, 2, 1)
    assert clustered_mean([3.0], ["p"])[1:3] == (-math.inf, math.inf)
    all_right = clustered_mean([1.0] * 20, np.arange(20) // 2, PROPORTION)
    assert (all_right.low, all_right.high) == pytest.approx((beta_distribution.ppf(0.025, 10, 1), 1.0))
    all_wrong = clustered_mean([0.0] * 20, np.arange(20) // 2, PROPORTION)
    assert (all_wrong.low, all_wrong.high) == pytest.approx((0.0, beta_distribution.ppf(0.975, 1, 10)))


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 1.0], [1.0, 1.0]])
def test_the_dict_is_strict_json(values):
    figures = interval_dict(values, ["p"] * len(values))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert (figures["value"] is None) == (not values)


@given(SAMPLE, st.randoms(use_true_random=False))
def test_order_changes_no_bit_and_the_mean_lies_inside(sample, random):
    shuffled = random.sample(sample, len(sample))
    result = clustered_mean(*zip(*sample, strict=True), bounds=PROPORTION)
    assert clustered_mean(*zip(*shuffled, strict=True), bounds=PROPORTION) == result
    assert 0.0 <= result.low <= result.value <= result.high <= 1.0


@given(SAMPLE)
def test_one_minus_the_values_mirrors_the_interval(sample):
    values, clusters = zip(*sample, strict=True)
    result = clustered_mean(values, clusters, PROPORTION)
    mirror = clustered_mean([1.0 - value for value in values], clusters, PROPORTION)
    assert (mirror.low, mirror.high) == pytest.approx((1 - result.high, 1 - result.low))
