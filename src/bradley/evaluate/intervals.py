"""Means with 95 % confidence intervals clustered by prompt: judgments sharing a prompt are not independent."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNBOUNDED = (-math.inf, math.inf)
"""Bounds of values without a limited range."""
PROPORTION = (0.0, 1.0)
"""Bounds of shares."""


class Interval(NamedTuple):
    """A mean and its confidence interval.

    Attributes:
        value: mean of the `n` values; nan without values.
        low, high: ends of the interval; nan without values.
        n: number of values.
        clusters: number of independent groups among the values.
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
    """Mean of `values` [n] with the cluster-robust (sandwich) interval over `clusters` [n].

    With G clusters and u_g the sum of (value - mean) over cluster g,

        SE^2 = G / (G - 1) * sum_g u_g^2 / n^2,    interval = mean +- t(G - 1) * SE,

    clipped to `bounds` (Liang and Zeger 1986; Cameron and Miller 2015). The order of the values changes no bit of the
    result.

    Cases outside the formula: no values give nan throughout; a single cluster gives all of `bounds`. If all values are
    equal, the width of the formula is 0. Each end then lies as far from the value as a share of 1 - (alpha / 2)^(1 / G)
    of unseen clusters at the bound would move the mean. For values on a bound, this is the exact binomial interval
    (Clopper and Pearson 1934), each cluster counting as a single trial.

    Args:
        values: numbers to average.
        clusters: group of each value, such as a prompt key.
        bounds: smallest and largest possible value.
        confidence: coverage of the interval.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    groups, codes = np.unique(np.asarray(clusters), return_inverse=True)
    mean = math.fsum(sample) / sample.size
    low, high = _ends(sample, mean, codes, bounds, 1.0 - confidence)
    return Interval(mean, low, high, int(sample.size), len(groups))


def naive_mean(values: ArrayLike, bounds: tuple[float, float] = UNBOUNDED, confidence: float = 0.95) -> Interval:
    """Compute `clustered_mean` as if every value were independent, like most published intervals."""
    sample = np.asarray(values, dtype=np.float64)
    return clustered_mean(sample, np.arange(sample.size), bounds, confidence)


def interval_dict(
    values: ArrayLike, clusters: Sequence[Any] | NDArray[Any], bounds: tuple[float, float] = PROPORTION
) -> dict[str, float | int | None]:
    """Clustered and naive interval of `values` [n], ready for JSON: numbers that are not finite become None.

    The keys are the fields of `Interval`, then `naive_low` and `naive_high`.
    """
    robust, naive = clustered_mean(values, clusters, bounds), naive_mean(values, bounds)
    figures = {**robust._asdict(), "naive_low": naive.low, "naive_high": naive.high}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def interval_figures(
    values: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    bounds: tuple[float, float] = PROPORTION,
    empty: str = "no judgments",
) -> dict[str, Any]:
    """Clustered interval of `values` [n], ready for JSON: the fields of `Interval`, then `reason`.

    Numbers that are not finite are None. The `reason` is None, or `empty` without values.
    """
    found = clustered_mean(values, clusters, bounds)
    figures = {name: value if math.isfinite(value) else None for name, value in found._asdict().items()}
    return {**figures, "reason": None if found.n else empty}


def influence_interval(value: float, influence: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, ...]:
    """Standard error and ends of the interval of an estimate from the influence [G] of each cluster, G >= 2.

    The influence of a cluster is the change of the estimate caused by the cluster, to first order: for a mean,
    sum(value - mean) / n over the cluster. Estimates of the same data share clusters, and the influence of a
    difference is the difference of the influences; the covariance of both is thereby counted.

        SE^2 = G / (G - 1) * sum_g influence_g^2,    interval = value +- t(G - 1) * SE

    Returns:
        (SE, low, high).
    """
    from scipy.special import stdtrit

    groups = len(influence)
    se = math.sqrt(groups / (groups - 1) * math.fsum(influence**2))
    reach = float(stdtrit(groups - 1, (1.0 + confidence) / 2.0)) * se
    return se, value - reach, value + reach


def _ends(
    sample: NDArray[np.float64], mean: float, codes: NDArray[np.intp], bounds: tuple[float, float], alpha: float
) -> tuple[float, float]:
    """Ends of the interval; `codes` [n] numbers the clusters from 0, and alpha is 1 - confidence."""
    # scipy loads inside functions throughout: importing it takes long, and `bradley --help` must answer at once.
    from scipy.stats import t as student

    floor, ceiling = bounds
    groups = int(codes.max()) + 1
    if groups == 1:
        return bounds
    # Equal values have residuals of 0. The formula would claim certainty after a handful of prompts.
    if math.isfinite(ceiling - floor) and bool(np.all(sample == sample[0])):
        return equal_ends(float(sample[0]), groups, bounds, alpha)
    reach = float(student.ppf(1 - alpha / 2, groups - 1)) * _standard_error(sample, mean, codes)
    return max(floor, mean - reach), min(ceiling, mean + reach)


def equal_ends(value: float, groups: int, bounds: tuple[float, float], alpha: float = 0.05) -> tuple[float, float]:
    """Ends of the interval of a figure that is the same for each of `groups` clusters, see `clustered_mean`."""
    floor, ceiling = bounds
    unseen = 1.0 - (alpha / 2) ** (1 / groups)
    return value - (value - floor) * unseen, value + (ceiling - value) * unseen


def clustered_error(values: NDArray[np.float64], clusters: NDArray[Any]) -> float:
    """Cluster-robust standard error of the mean of `values` [n], SE in `clustered_mean`; 0 below two clusters."""
    codes = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    if not len(codes) or not codes.max():
        return 0.0
    return _standard_error(values, math.fsum(values) / len(values), codes)


def _standard_error(sample: NDArray[np.float64], mean: float, codes: NDArray[np.intp]) -> float:
    """Cluster-robust standard error of the mean, SE in `clustered_mean`."""
    # Floating-point sums depend on their order. Sorting first gives equal bits for any order of the rows.
    order = np.lexsort((sample, codes))
    residuals = np.bincount(codes[order], weights=sample[order] - mean)
    groups = len(residuals)
    return math.sqrt(groups / (groups - 1) * math.fsum(residuals**2)) / sample.size
