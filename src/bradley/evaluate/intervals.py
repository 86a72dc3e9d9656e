"""Means with 95 % confidence intervals, for judgments that are not independent because they share a prompt."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNBOUNDED = (-math.inf, math.inf)
PROPORTION = (0.0, 1.0)


class Interval(NamedTuple):
    """A mean and its confidence interval.

    Attributes:
        value: the mean of the `n` values; nan where there are none.
        low, high: ends of the interval; nan where there are no values.
        n: how many values.
        clusters: how many independent groups they come from.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int


def clustered_mean(
    values: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    bounds: tuple[float, float] = UNBOUNDED,
    confidence: float = 0.95,
) -> Interval:
    """Mean of `values` [n] with the cluster-robust (sandwich) interval over `clusters` [n], the group of each value.

    With G clusters and u_g the sum of (value - mean) over cluster g,

        SE^2 = G / (G - 1) * sum_g u_g^2 / n^2,    interval = mean +- t(G - 1) * SE,

    clipped to `bounds`, the range in which a value can lie (Liang and Zeger 1986; Cameron and Miller 2015). The order
    of the values changes no bit of the result.

    Where the formula says nothing: no values give nan throughout; one cluster gives the whole of `bounds`; values that
    all lie on one bound, where the formula's width is 0, give the exact binomial interval (Clopper and Pearson 1934)
    that counts each cluster as one trial.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    groups, codes = np.unique(np.asarray(clusters), return_inverse=True)
    mean = math.fsum(sample) / sample.size
    low, high = _ends(sample, mean, codes, bounds, 1.0 - confidence)
    return Interval(mean, low, high, int(sample.size), len(groups))


def naive_mean(values: ArrayLike, bounds: tuple[float, float] = UNBOUNDED, confidence: float = 0.95) -> Interval:
    """`clustered_mean` as if every value were independent: what most published intervals are."""
    sample = np.asarray(values, dtype=np.float64)
    return clustered_mean(sample, np.arange(sample.size), bounds, confidence)


def interval_dict(
    values: ArrayLike, clusters: Sequence[Any] | NDArray[Any], bounds: tuple[float, float] = PROPORTION
) -> dict[str, float | int | None]:
    """The clustered interval and the naive one beside it, ready for JSON: what is not finite becomes None."""
    robust, naive = clustered_mean(values, clusters, bounds), naive_mean(values, bounds)
    figures = {**robust._asdict(), "naive_low": naive.low, "naive_high": naive.high}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _ends(
    sample: NDArray[np.float64], mean: float, codes: NDArray[np.intp], bounds: tuple[float, float], alpha: float
) -> tuple[float, float]:
    from scipy.stats import t as student

    floor, ceiling = bounds
    groups = int(codes.max()) + 1
    if groups == 1:
        return bounds
    if bool(np.all(sample == ceiling)):
        return floor + (ceiling - floor) * (alpha / 2) ** (1 / groups), ceiling
    if bool(np.all(sample == floor)):
        return floor, ceiling - (ceiling - floor) * (alpha / 2) ** (1 / groups)
    reach = float(student.ppf(1 - alpha / 2, groups - 1)) * _standard_error(sample, mean, codes)
    return max(floor, mean - reach), min(ceiling, mean + reach)


def _standard_error(sample: NDArray[np.float64], mean: float, codes: NDArray[np.intp]) -> float:
    order = np.lexsort((sample, codes))  # one order of summation, whatever the order of the rows
    residuals = np.bincount(codes[order], weights=sample[order] - mean)
    groups = len(residuals)
    return math.sqrt(groups / (groups - 1) * math.fsum(residuals**2)) / sample.size
