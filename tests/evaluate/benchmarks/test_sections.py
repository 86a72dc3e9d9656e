"""Means over sections: against formulas in the open, and coverage on simulated sets."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from bradley.evaluate.benchmarks.sections import mean_of_sections, stratified_mean
from bradley.evaluate.intervals import PROPORTION, Interval, clustered_mean


def test_equal_sections_give_the_interval_of_their_added_variances():
    """Two sections with the same variance and clusters: half-width t * sqrt(1/4 SE^2 + 1/4 SE^2)."""
    draw = np.random.default_rng(0)
    values = draw.choice([0.4, 0.6], 40)
    part = clustered_mean(values, np.arange(40))
    found = mean_of_sections([part, part])
    assert found.value == pytest.approx(part.value)
    assert found.high - found.value == pytest.approx((part.high - part.value) / math.sqrt(2))
    assert (found.n, found.clusters) == (80, 80)


def test_weights_and_bounds_by_hand():
    parts = [Interval(1.0, 0.6, 1.0, 3, 3), Interval(0.5, 0.2, 0.8, 9, 4)]
    found = mean_of_sections(parts, (1, 3))
    assert found.value == pytest.approx(0.625)
    assert found.low == pytest.approx(0.625 - math.hypot(0.25 * 0.4, 0.75 * 0.3))
    assert found.high == pytest.approx(0.625 + 0.75 * 0.3)


def test_a_section_without_rows_leaves_no_mean():
    found = mean_of_sections([Interval(1.0, 0.6, 1.0, 3, 3), Interval(math.nan, math.nan, math.nan, 0, 0)])
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert found.n == 3


def test_one_stratum_is_the_clustered_mean():
    draw = np.random.default_rng(1)
    for values in (draw.choice([0.0, 0.5, 1.0], 60), np.ones(60), np.full(60, 0.5)):
        clusters = draw.integers(0, 20, 60)
        found = stratified_mean(values, ["a"] * 60, clusters, {"a": 3.0})
        assert found == pytest.approx(clustered_mean(values, clusters, PROPORTION))


def test_strata_add_up_as_in_a_weighted_regression_on_their_indicators():
    """Sandwich of the weighted contrast of group means, with CR1 for each stratum, in the open."""
    draw = np.random.default_rng(2)
    strata = np.array(["a"] * 30 + ["b"] * 50)
    clusters = np.concatenate([np.arange(30) % 10, 100 + np.arange(50) % 25])
    values = draw.random(80)
    weights = {"a": 984.0, "b": 164.0}
    share = {name: weight / 1148 for name, weight in weights.items()}
    variance = {}
    for name in "ab":
        keep = strata == name
        part = clustered_mean(values[keep], clusters[keep])
        groups = part.clusters
        variance[name] = (share[name] * (part.high - part.value) / student.ppf(0.975, groups - 1)) ** 2
    freedom = sum(variance.values()) ** 2 / (variance["a"] ** 2 / 9 + variance["b"] ** 2 / 24)
    found = stratified_mean(values, strata, clusters, weights)
    assert found.value == pytest.approx(share["a"] * values[:30].mean() + share["b"] * values[30:].mean())
    assert found.high - found.value == pytest.approx(student.ppf(0.975, freedom) * math.sqrt(sum(variance.values())))


def test_a_prompt_in_two_strata_adds_its_covariance():
    """The same values in both strata: the mean is as uncertain as one stratum, and no less."""
    values, clusters = np.random.default_rng(3).random(25), np.arange(25)
    twice = stratified_mean(np.tile(values, 2), ["a"] * 25 + ["b"] * 25, np.tile(clusters, 2), {"a": 1, "b": 1})
    apart = stratified_mean(
        np.tile(values, 2), ["a"] * 25 + ["b"] * 25, np.concatenate([clusters, 100 + clusters]), {"a": 1, "b": 1}
    )
    once = clustered_mean(values, clusters, PROPORTION)
    assert twice.clusters == 25
    assert (twice.high - twice.value) / (apart.high - apart.value) == pytest.approx(math.sqrt(2))
    assert twice.high - twice.value == pytest.approx((once.high - once.value), rel=0.03)


def test_a_stratum_on_a_bound_keeps_the_width_of_its_exact_interval():
    values = np.array([1.0] * 10 + [0.0, 1.0] * 10)
    strata = np.array(["sure"] * 10 + ["open"] * 20)
    found = stratified_mean(values, strata, np.arange(30), {"sure": 1, "open": 1})
    half = clustered_mean(values[10:], np.arange(20), PROPORTION)
    exact = clustered_mean(values[:10], np.arange(10), PROPORTION)
    assert found.low == pytest.approx(0.75 - math.hypot((half.value - half.low) / 2, (1 - exact.low) / 2))
    assert found.high == pytest.approx(0.75 + (half.high - half.value) / 2)


def test_intervals_of_a_mean_of_sections_cover():
    """Nominal 95 % over simulated benchmarks of four sections of 25 prompts with two rows each, within 3 errors."""
    draw = np.random.default_rng(4)
    inside = 0
    for _ in range(400):
        parts = []
        for ability in (0.9, 0.7, 0.55, 0.8):
            chance = np.repeat(draw.beta(4 * ability, 4 * (1 - ability), 25), 2)
            parts.append(clustered_mean((draw.random(50) < chance).astype(float), np.arange(50) // 2, PROPORTION))
        found = mean_of_sections(parts)
        inside += found.low <= 0.7375 <= found.high
    assert inside / 400 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)
