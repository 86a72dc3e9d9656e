"""Summaries of counts, against hand calculation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.report import BARS, histogram, quantiles, sparkline


@pytest.mark.parametrize("kind", [list, iter, np.array])
def test_quantiles_are_interpolated(kind):
    found = quantiles(kind([4, 1, 3, 2]))
    assert found == {"mean": 2.5, "p50": 2.5, "p95": pytest.approx(3.85), "max": 4.0}
    assert all(type(value) is float for value in found.values())


def test_histogram_by_hand():
    assert histogram([3, 4, 9, 11, 29], 4) == {"edges": [0, 10, 20, 30], "counts": [3, 1, 1]}
    assert histogram([7, 7], 5) == {"edges": [7, 8], "counts": [2]}
    assert histogram([100, 149, 150], 2) == {"edges": [100, 150, 200], "counts": [2, 1]}
    assert histogram([], 5) == {"edges": [], "counts": []}


@given(st.lists(st.integers(0, 50_000), min_size=1), st.integers(1, 30))
def test_histogram_agrees_with_numpy_on_its_own_round_edges(values, bins):
    found = histogram(values, bins)
    edges = np.array(found["edges"])
    (width,) = set(np.diff(edges).tolist())
    assert len(found["counts"]) <= bins and str(width).rstrip("0") in ("1", "2", "5")
    assert (edges % width == 0).all() and edges[0] <= min(values) < edges[1] and edges[-2] <= max(values) < edges[-1]
    assert np.histogram(values, edges)[0].tolist() == found["counts"]


def test_sparkline():
    line = sparkline({"edges": [0, 10, 20, 30, 40], "counts": [1, 0, 800, 400]})
    assert line == f"0 {BARS[0]} {BARS[7]}{BARS[3]} 40"
    assert sparkline({"edges": [], "counts": []}) == ""
