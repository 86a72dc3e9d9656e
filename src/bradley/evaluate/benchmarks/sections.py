"""Means over sections of a benchmark, with 95 % intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..intervals import PROPORTION, Interval, clustered_mean

MISSING = Interval(math.nan, math.nan, math.nan, 0, 0)
"""Interval of a section without rows."""


def mean_of_sections(
    parts: Sequence[Interval], weights: Sequence[float] | None = None, bounds: tuple[float, float] = PROPORTION
) -> Interval:
    """Weighted mean of the means of S independent sections.

    With section means m_s, interval ends l_s and h_s, and weights w_s that add up to 1,

        value = sum_s w_s m_s,    low = value - sqrt(sum_s w_s^2 (m_s - l_s)^2),    high likewise with h_s - m_s.

    The sections are independent: no prompt stands in two of them. Section variances therefore add up, with weights
    squared, and so do the squared distances to the ends of the intervals (Zou and Donner 2008). The distances carry
    the variance, the degrees of freedom and the exact interval of a section whose values all lie on a bound.

    Args:
        parts: interval of each section; a section without rows makes the mean nan.
        weights: weight of each section, of any sum; None for equal weights.
        bounds: smallest and largest possible mean.
    """
    share = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share / share.sum()
    n, clusters = sum(part.n for part in parts), sum(part.clusters for part in parts)
    if not parts or any(math.isnan(part.value) for part in parts):
        return Interval(math.nan, math.nan, math.nan, n, clusters)
    value = math.fsum(w * part.value for w, part in zip(share, parts, strict=True))
    below = math.hypot(*(w * (part.value - part.low) for w, part in zip(share, parts, strict=True)))
    above = math.hypot(*(w * (part.high - part.value) for w, part in zip(share, parts, strict=True)))
    return Interval(value, max(bounds[0], value - below), min(bounds[1], value + above), n, clusters)


def stratified_mean(
    values: ArrayLike, strata: Sequence[str] | NDArray[Any], clusters: ArrayLike, weights: Mapping[str, float]
) -> Interval:
    """Weighted mean of the means of strata that may share prompts, such as the subsets of a section.

    With stratum weights w_s that add up to 1 over the strata present, n_s values in G_s clusters of stratum s,

        u_g = sum over values i of cluster g of w_s / n_s * sqrt(G_s / (G_s - 1)) * (x_i - mean_s),
        SE^2 = sum_g u_g^2.

    Without shared prompts this is the sum of w_s^2 times the clustered variance of each stratum; a shared prompt adds
    the covariance. The interval has Satterthwaite's degrees of freedom. A stratum with all values on a bound, or with
    a single cluster, has no variance of its own: the distances to its exact interval join as in `mean_of_sections`.

    Args:
        values: numbers from 0 to 1 [n].
        strata: stratum of each value [n].
        clusters: prompt of each value [n].
        weights: weight of each stratum, of any sum.
    """
    sample, prompts = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if sample.size == 0:
        return MISSING
    names, code = np.unique(np.asarray(strata), return_inverse=True)
    share = np.array([weights[str(name)] for name in names], dtype=np.float64)
    share = share / share.sum()
    parts = [clustered_mean(sample[code == s], prompts[code == s], PROPORTION) for s in range(len(names))]
    value = math.fsum(w * part.value for w, part in zip(share, parts, strict=True))
    reach = _reach(sample, code, prompts, share, parts)
    fixed = [w if _single_valued(sample[code == s], parts[s]) else 0.0 for s, w in enumerate(share)]
    below = math.hypot(reach, *(w * (part.value - part.low) for w, part in zip(fixed, parts, strict=True)))
    above = math.hypot(reach, *(w * (part.high - part.value) for w, part in zip(fixed, parts, strict=True)))
    return Interval(value, max(0.0, value - below), min(1.0, value + above), sample.size, len(np.unique(prompts)))


def _single_valued(sample: NDArray[np.float64], part: Interval) -> bool:
    """Return True for a stratum without a variance: a single cluster, or equal values."""
    return part.clusters == 1 or bool(np.ptp(sample) == 0.0)


def _reach(
    sample: NDArray[np.float64],
    code: NDArray[np.intp],
    prompts: NDArray[Any],
    share: NDArray[np.float64],
    parts: Sequence[Interval],
) -> float:
    """Half the width of the interval from the strata with a variance, t * SE; 0 without such a stratum."""
    from scipy.stats import t as student

    free = [s for s, part in enumerate(parts) if not _single_valued(sample[code == s], part)]
    if not free:
        return 0.0
    factor, mean = np.zeros(len(parts)), np.array([part.value for part in parts])
    for s in free:
        groups = parts[s].clusters
        factor[s] = share[s] / parts[s].n * math.sqrt(groups / (groups - 1))
    residual = factor[code] * (sample - mean[code])
    together = _squared_sums(residual, prompts)
    own = [_squared_sums(residual[code == s], prompts[code == s]) for s in free]
    freedom = math.fsum(own) ** 2 / math.fsum(v**2 / (parts[s].clusters - 1) for v, s in zip(own, free, strict=True))
    return float(student.ppf(0.975, freedom)) * math.sqrt(together)


def _squared_sums(residual: NDArray[np.float64], prompts: NDArray[Any]) -> float:
    """Sum of the squared sums of residuals over each prompt."""
    # Sorted first: the result has equal bits for any order of the rows.
    _, group = np.unique(prompts, return_inverse=True)
    order = np.lexsort((residual, group))
    return math.fsum(np.bincount(group[order], weights=residual[order]) ** 2)
