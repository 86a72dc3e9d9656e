"""Summaries of counts, against hand calculation."""

import numpy as np
import pytest

from bradley.data.figures import quantiles


@pytest.mark.parametrize("kind", [list, iter, np.array])
def test_quantiles_are_interpolated(kind):
    found = quantiles(kind([4, 1, 3, 2]))
    assert found == {"mean": 2.5, "p50": 2.5, "p95": pytest.approx(3.85), "max": 4.0}
    assert all(type(value) is float for value in found.values())
