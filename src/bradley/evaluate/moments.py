"""Moments that do not depend on the order of summation, None where they are undefined."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .judgments import Floats

QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
"""The quantiles that describe a distribution of scores, by the names that they are written and read under."""


def mean(values: NDArray[Any]) -> float | None:
    """The mean of `values` [n]; None of nothing."""
    return math.fsum(values) / len(values) if len(values) else None


def weighted_mean(values: Floats, weights: Floats) -> float | None:
    """sum(weight * value) / sum(weight) over [n]; None of nothing."""
    return math.fsum(values * weights) / math.fsum(weights) if len(values) else None


def deviation(values: Floats) -> float | None:
    """The standard deviation of `values` [n], divided by n; None of nothing."""
    return float(np.sort(values).std()) if len(values) else None


def correlation(x: Floats, y: Floats) -> float | None:
    """Pearson's correlation of `x` [n] and `y` [n]; None where one of them is constant or there is nothing."""
    if not len(x) or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return None
    a, b = _centred(x), _centred(y)
    r = math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))
    return max(-1.0, min(1.0, r))


def _centred(values: Floats) -> Floats:
    """Deviations from the mean over the largest of them, so that no square leaves the range of floats."""
    away = values - math.fsum(values) / len(values)
    result: Floats = away / np.abs(away).max()
    return result
