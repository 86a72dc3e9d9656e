"""Expected calibration error (ECE) with its bias: 15 bins of equal width, 15 of equal mass, and a debiased value.

The confidence of a judgment is c = sigmoid(scale * |d|), with d the score difference, and y its correctness: the
probability that the label gives to the side scoring higher. The ECE is E|c - E[y | c]| (Naeini, Cooper and Hauskrecht
2015; Guo et al. 2017).

A binned estimate is above 0 even for a calibrated model, because the mean of a bin is never exact (Broecker 2012; Kumar
et al. 2019). Two figures say how much: the value of a perfectly calibrated model at this n, and the debiased ECE.

Debiased ECE. With s(c) the sign of c - E[y | c], the ECE is the mean of s(c) (c - y), and only a wrong sign biases that
mean. Signs are taken in bins of equal mass, in as few bins as the set can tell apart: the fewest whose cross-fitted
value (signs from the other folds of prompts, as in Kaengsepp, Valk and Kull 2022) is not significantly below the
largest. In these bins, the expected excess of |N(gap, SE)| over |gap| is taken off (Kumar et al. 2019, section 4.3).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import correctness
from .folds import FOLDS, cluster_folds
from .intervals import UNBOUNDED, clustered_error, clustered_mean
from .judgments import Floats, JudgmentTable

BINS = 15
"""Bins of both binned estimates (Guo et al. 2017)."""
SIMULATIONS = 200
"""Sets of labels drawn from the confidences, for the value under perfect calibration."""
CANDIDATES = (1, 2, 3, 5, 8, 15)
"""Numbers of bins tried for the signs of the debiased ECE."""
PER_SIGN = 100
"""Fewest judgments in a bin of signs: fewer would give signs by chance."""


def ece_figures(table: JudgmentTable, scale: float, seed: int = 0) -> dict[str, Any]:
    """Measure the calibration of sigmoid(scale * d) on J judgments.

    Args:
        table: judgments; labelled ties count with y = 1/2.
        scale: factor of the score differences: beta of the loss, or beta / temperature.
        seed: of the simulated labels and of the folds.

    Returns:
        `equal_width` and `equal_mass`, each a dict of `ece`, `calibrated` (mean ECE of a perfectly calibrated model at
        this n), `calibrated_high` (95 % quantile) and `bins`; `debiased`, a dict of `value`, `low`, `high`, `n`,
        `clusters`; and `overconfidence`, mean confidence minus accuracy, likewise. Values are None without judgments.

    Example:
        ece_figures(judgment_table(rows), scale=1.0)["debiased"]["value"]  # 0.031
    """
    from scipy.special import expit

    confidence: Floats = expit(scale * np.abs(table.margin))
    correct = correctness(table)
    generator = np.random.default_rng(seed)
    edges = {"equal_width": np.linspace(0.5, 1.0, BINS + 1), "equal_mass": equal_mass_edges(confidence)}
    return {
        **{name: _binned(confidence, correct, each, generator) for name, each in edges.items()},
        "debiased": debiased_ece(confidence, correct, table.prompt, seed),
        "overconfidence": _dict(confidence - correct, table.prompt, (-1.0, 1.0)),
    }


def equal_mass_edges(confidence: Floats) -> Floats:
    """Edges of up to `BINS` bins with equal counts of `confidence` [n]; equal values share a bin."""
    inner = np.quantile(confidence, np.linspace(0, 1, BINS + 1)[1:-1]) if len(confidence) else np.empty(0)
    return np.unique(np.concatenate([[0.5], inner, [1.0]]))


def binned_ece(confidence: Floats, correct: Floats, edges: Floats) -> float | None:
    """ECE over bins: sum_b n_b / n |mean correct - mean confidence|; None for n = 0.

    A bin includes its lower edge, the last bin both edges.

    Args:
        confidence, correct: each [n].
        edges: edges of B bins, ascending [B + 1].

    Example:
        binned_ece(np.array([0.9, 0.9]), np.array([1.0, 0.0]), np.array([0.5, 1.0]))  # 0.4
    """
    if not len(confidence):
        return None
    gaps = np.bincount(_bins(confidence, edges), weights=correct - confidence, minlength=len(edges) - 1)
    return math.fsum(np.abs(gaps)) / len(confidence)


def calibrated_ece(confidence: Floats, edges: Floats, generator: np.random.Generator) -> tuple[float, float]:
    """Mean and 95 % quantile of the binned ECE of labels drawn from the confidences [n], as a calibrated model has."""
    # Sorted, so that the order of the rows changes no draw.
    confidence = np.sort(confidence)
    bins, number = _bins(confidence, edges), len(edges) - 1
    drawn = []
    for _ in range(SIMULATIONS):
        label = generator.random(len(confidence)) < confidence
        gaps = np.bincount(bins, weights=label - confidence, minlength=number)
        drawn.append(np.abs(gaps).sum() / len(confidence))
    return float(np.mean(drawn)), float(np.quantile(drawn, 0.95))


def debiased_ece(confidence: Floats, correct: Floats, clusters: NDArray[Any], seed: int = 0) -> dict[str, Any]:
    """Debiased ECE with a 95 % interval clustered by prompt; see the module.

    In a single bin the value is the size of one mean, and the interval inverts the equal-tailed test of |t| with
    clusters - 1 degrees of freedom. In several bins the interval reaches from the debiased value minus t * SE to the
    plug-in value plus t * SE.

    Args:
        confidence, correct: each [n].
        clusters: prompt of each judgment [n].
        seed: of the folds.

    Returns:
        `value`, `low`, `high`, `n`, `clusters`, and `bins`, the number of bins; None where undefined.
    """
    gap, n = confidence - correct, len(confidence)
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0, "clusters": 0, "bins": 0}
    bins = _fewest_bins(confidence, gap, clusters, cluster_folds(clusters, seed=seed))
    edges = _inner_edges(confidence, bins)
    index = np.searchsorted(edges, confidence, side="right")
    sums = np.bincount(index, weights=gap, minlength=bins) / n
    errors = np.array([clustered_error(np.where(index == number, gap, 0.0), clusters) for number in range(bins)])
    plug_in = math.fsum(np.abs(sums))
    value = plug_in - math.fsum(_folded(sums, errors) - np.abs(sums))
    # As a mean of signed gaps, the plug-in value has the interval of a clustered mean.
    found = clustered_mean(np.where(sums >= 0, 1.0, -1.0)[index] * gap, clusters, UNBOUNDED)
    if not math.isfinite(found.low):
        return {"value": max(0.0, value), "low": 0.0, "high": 1.0, "n": n, "clusters": found.clusters, "bins": bins}
    error = clustered_error(np.where(sums >= 0, 1.0, -1.0)[index] * gap, clusters)
    low, high = _size_interval(plug_in, error, found.clusters - 1)
    if bins > 1:
        low = value - (found.high - found.value)
    ends = {"low": max(0.0, low), "high": min(1.0, high)}
    return {"value": max(0.0, value), **ends, "n": n, "clusters": found.clusters, "bins": bins}


def _size_interval(size: float, error: float, freedom: int) -> tuple[float, float]:
    """Interval of |mean| from the absolute value of its estimate: both tails of |t| hold 2.5 %.

    Only one tail of the plain interval can miss a mean close to 0, which would then be covered too often.
    """
    from scipy.optimize import brentq
    from scipy.stats import t as student

    if not error > 0:
        return size, size
    z = size / error

    def below(mean: float) -> float:
        """Probability of a smaller size."""
        return float(student.cdf(z - mean, freedom) - student.cdf(-z - mean, freedom))

    reach = z + float(student.ppf(0.9999, freedom))
    low = brentq(lambda mean: below(mean) - 0.975, 0.0, reach) if below(0.0) > 0.975 else 0.0
    high = brentq(lambda mean: below(mean) - 0.025, 0.0, reach) if below(0.0) > 0.025 else 0.0
    return float(low) * error, float(high) * error


def _fewest_bins(confidence: Floats, gap: Floats, clusters: NDArray[Any], fold: NDArray[np.intp]) -> int:
    """Fewest bins whose cross-fitted signed gap is not significantly below the largest."""
    candidates = [bins for bins in CANDIDATES if bins == 1 or len(gap) >= bins * PER_SIGN]
    signed = []
    for bins in candidates:
        one = np.empty_like(gap)
        for number in range(FOLDS):
            held = fold == number
            one[held] = _signs(confidence[~held], gap[~held], confidence[held], bins) * gap[held]
        signed.append(one)
    best = max(signed, key=lambda one: float(one.sum()))
    for bins, one in zip(candidates, signed, strict=True):
        # The best of six numbers of bins gains by chance alone: hence 3 standard errors instead of 1.96.
        if (best - one).mean() <= 3 * clustered_error(best - one, clusters):
            return bins
    return candidates[-1]


def _folded(mean: Floats, error: Floats) -> Floats:
    """Mean of |N(mean, error)|; |mean| without an error."""
    from scipy.special import ndtr

    z = np.divide(mean, error, out=np.full_like(mean, np.inf), where=error > 0)
    density = np.sqrt(2 / np.pi) * error * np.exp(-(z**2) / 2)
    result: Floats = density + np.abs(mean) * (1 - 2 * ndtr(-np.abs(z)))
    return result


def _signs(confidence: Floats, gap: Floats, wanted: Floats, bins: int) -> Floats:
    """Signs of the mean gap around each confidence in `wanted` [m], from the values of other folds [n]."""
    edges = _inner_edges(confidence, bins)
    sums = np.bincount(np.searchsorted(edges, confidence, side="right"), weights=gap, minlength=len(edges) + 1)
    result: Floats = np.where(sums >= 0, 1.0, -1.0)[np.searchsorted(edges, wanted, side="right")]
    return result


def _inner_edges(confidence: Floats, bins: int) -> Floats:
    """Edges between bins of equal mass [bins - 1]."""
    if not len(confidence):
        return np.full(bins - 1, 0.5)
    edges: Floats = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    return edges


def _binned(confidence: Floats, correct: Floats, edges: Floats, generator: np.random.Generator) -> dict[str, Any]:
    if not len(confidence):
        return {"ece": None, "calibrated": None, "calibrated_high": None, "bins": []}
    mean, high = calibrated_ece(confidence, edges, generator)
    index, number = _bins(confidence, edges), len(edges) - 1
    counts = np.bincount(index, minlength=number)
    sums = [np.bincount(index, weights=values, minlength=number) for values in (confidence, correct)]
    bins = [
        {
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "n": int(counts[b]),
            "confidence": float(sums[0][b] / counts[b]) if counts[b] else None,
            "accuracy": float(sums[1][b] / counts[b]) if counts[b] else None,
        }
        for b in range(number)
    ]
    return {"ece": binned_ece(confidence, correct, edges), "calibrated": mean, "calibrated_high": high, "bins": bins}


def _bins(values: Floats, edges: Floats) -> NDArray[np.intp]:
    """Number of the bin of each value."""
    return np.searchsorted(edges[1:-1], values, side="right")


def _dict(values: Floats, clusters: NDArray[Any], bounds: tuple[float, float]) -> dict[str, Any]:
    found = clustered_mean(values, clusters, bounds)._asdict()
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
