"""The cluster bootstrap: draws are shared, sums and quantiles are those of the repeated rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.evaluate.bootstrap import bootstrap_of_sums, draw_clusters

VALUES = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-5, 5)), min_size=1, max_size=12)


@given(VALUES)
def test_a_draw_is_the_rows_of_the_drawn_clusters_repeated(rows):
    prompts, values = [name for name, _ in rows], np.array([value for _, value in rows], dtype=float)
    draws = draw_clusters(prompts, draws=7)
    sums, quantiles = draws.sums(values), draws.quantiles(values, [0.25, 0.5, 1.0])
    for number, weights in enumerate(draws.weights()):
        repeated = np.repeat(values, weights.astype(int))
        assert sums[number, 0] == repeated.sum()
        assert quantiles[number].tolist() == np.quantile(repeated, [0.25, 0.5, 1.0], method="inverted_cdf").tolist()


@given(VALUES)
def test_every_draw_has_as_many_clusters_as_the_set(rows):
    draws = draw_clusters([name for name, _ in rows], draws=5)
    assert draws.counts.sum(axis=1).tolist() == [draws.clusters] * 5


def test_draws_depend_on_names_and_seed_and_not_on_the_order():
    first, second = draw_clusters(list("abcab")), draw_clusters(list("bacba"))
    assert (first.counts == second.counts).all()
    assert (draw_clusters(list("abcab"), seed=1).counts != first.counts).any()


def test_the_interval_of_a_mean_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).normal(size=400)
    ours = bootstrap_of_sums(
        np.stack([values, np.ones_like(values)], 1), lambda s: s[..., 0] / s[..., 1], draw_clusters(range(400), 4000)
    )
    other = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert ours["low"] == pytest.approx(other.low, abs=0.01)
    assert ours["high"] == pytest.approx(other.high, abs=0.01)


def test_a_single_cluster_has_no_interval():
    found = bootstrap_of_sums(np.ones((3, 1)), lambda s: s[..., 0], draw_clusters(["a"] * 3))
    assert (found["value"], found["low"], found["high"], found["clusters"]) == (3.0, None, None, 1)
