"""Moments independent of the order of the values; None if undefined.

Floating-point sums depend on their order, so sums here are exact (`math.fsum`) or taken over sorted values.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .judgments import Floats

QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
"""Quantiles describing a distribution of scores, by their names in `eval/distributions.jsonl`."""


def mean(values: NDArray[Any]) -> float | None:
    """Mean of `values` [n]; None for n = 0."""
    return math.fsum(values) / len(values) if len(values) else None


def weighted_mean(values: Floats, weights: Floats) -> float | None:
    """Weighted mean sum(weight * value) / sum(weight) over [n]; None for n = 0."""
    return math.fsum(values * weights) / math.fsum(weights) if len(values) else None


def deviation(values: Floats) -> float | None:
    """Standard deviation of `values` [n] with divisor n; None for n = 0."""
    return float(np.sort(values).std()) if len(values) else None


def correlation(x: Floats, y: Floats) -> float | None:
    """Pearson's correlation of `x` [n] and `y` [n]; None if a side is constant or n = 0."""
    if not len(x) or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return None
    a, b = _centred(x), _centred(y)
    r = math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))
    # Rounding can push a perfect correlation slightly past 1.
    return max(-1.0, min(1.0, r))


def _centred(values: Floats) -> Floats:
    """Deviations from the mean, divided by the largest deviation to keep all squares within the range of floats."""
    away = values - math.fsum(values) / len(values)
    result: Floats = away / np.abs(away).max()
    return result
