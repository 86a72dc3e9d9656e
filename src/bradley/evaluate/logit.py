"""Logistic regression of preferences on differences of features, with standard errors clustered by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .intervals import influence_interval
from .judgments import Floats

ITERATIONS = 60
"""Most Newton steps: a finite maximum takes under 15, and separated labels walk one logit a step without end."""
CONVERGED = 1e-8
"""Largest change of a fitted logit in the last step of a converged fit."""
PARTS = tuple(0.5**k for k in range(40))
"""Parts of a Newton step, tried in this order until the loss falls."""
FLAT = 1e-12
"""Smallest curvature, over the largest at b = 0, of labels that are not separated; a logit of 28 has it."""
COLLINEAR = 1e-8
"""Smallest eigenvalue, over the largest, of the scaled second moments of columns that a fit tells apart."""


@dataclass(frozen=True, slots=True)
class LogitFit:
    """Fitted logistic regression; all numbers are nan if `reason` is set.

    Attributes:
        coefficients: b [k], in logits per unit of the column.
        influence: [G, k]; the row of a cluster is H^-1 times the score of the cluster, in the units of b.
        bread: H^-1 [k, k], the inverse of the curvature at b.
        n: number of pairs.
        reason: cause of a missing fit; None for a fit.
    """

    coefficients: Floats
    influence: Floats
    bread: Floats
    n: int
    reason: str | None = None

    @property
    def clusters(self) -> int:
        """Number of clusters G."""
        return len(self.influence)

    @property
    def covariance(self) -> Floats:
        """Cluster-robust covariance [k, k] of the coefficients: G / (G - 1) * influence' influence."""
        result: Floats = self.clusters / (self.clusters - 1) * self.influence.T @ self.influence
        return result

    def coefficient(self, column: int) -> dict[str, Any]:
        """Coefficient of a column with the interval of `influence_dict`."""
        if self.reason is not None:
            return undefined(self.reason)
        return influence_dict(float(self.coefficients[column]), self.influence[:, column])


def fit_logit(
    features: ArrayLike, labels: ArrayLike, clusters: Sequence[Any] | NDArray[Any], names: Sequence[str] = ()
) -> LogitFit:
    """Regress `labels` [n] on antisymmetric `features` [n, k] without an intercept, clustered by `clusters` [n].

    P(first side wins) = sigmoid(z b), with z the features of the first side minus the features of the second side. No
    intercept: swapping the sides of a pair turns (z, y) into (-z, 1 - y) and changes nothing. A soft label y enters
    the likelihood as y log p + (1 - y) log(1 - p). With H the curvature and s_g the score of cluster g,

        s_g = sum of (y - p) z over the pairs of g,
        covariance = G / (G - 1) * H^-1 (sum_g s_g s_g') H^-1,    interval = b +- t(G - 1) * SE

    (Liang and Zeger 1986; Cameron and Miller 2015). No fit exists, and `reason` says why, for no pairs, a column of
    zeros, collinear columns, no more clusters than columns, and separated labels, whose likelihood grows for ever.

    Example:
        fit = fit_logit([[1.0], [2.0], [-1.0], [0.5]], [1, 1, 1, 0], ["p", "q", "r", "s"], ["length"])
        fit.coefficient(0)["value"]

    Args:
        features: differences of features, first side minus second side.
        labels: probability that the first side wins, from 0 to 1.
        clusters: group of each pair, such as a prompt key.
        names: names of the columns, for `reason`; "column 0" and so on by default.

    Raises:
        ValueError: a feature that is not finite, or a label outside 0..1.
    """
    z, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if not np.isfinite(z).all() or not ((y >= 0.0) & (y <= 1.0)).all():
        raise ValueError("features must be finite, and labels must lie in 0..1")
    groups, codes = np.unique(np.asarray(clusters), return_inverse=True)
    names = names or [f"column {k}" for k in range(z.shape[1])]
    size = root_mean_square(z)
    reason = _undetermined(z, size, len(groups), names)
    if reason is not None:
        return _no_fit(z, len(groups), reason)
    scaled = z / size
    b, direction = _newton(scaled, y)
    if direction is not None:
        culprits = ", ".join(_largest(direction, names))
        return _no_fit(z, len(groups), f"separated: {culprits} would predict some outcomes with certainty")
    bread = np.linalg.inv(_derivatives(scaled, y, scaled @ b)[0])
    influence = cluster_sums((y - probabilities(scaled @ b))[:, None] * scaled, codes, len(groups)) @ bread
    return LogitFit(b / size, influence / size, bread / np.outer(size, size), len(z))


def influence_dict(value: float, influence: Floats) -> dict[str, Any]:
    """Estimate with standard error and 95 % interval from the `influence` [G] of each cluster (`influence_interval`).

    The keys are `value`, `se`, `low`, `high` and `reason`. A single cluster leaves the value, without an interval.
    """
    if len(influence) < 2:
        return {**undefined("one prompt alone shows no error"), "value": value}
    se, low, high = influence_interval(value, influence)
    return {"value": value, "se": se, "low": low, "high": high, "reason": None}


def undefined(reason: str) -> dict[str, Any]:
    """Estimate that does not exist: every number None, with the reason."""
    return {"value": None, "se": None, "low": None, "high": None, "reason": reason}


def root_mean_square(columns: Floats) -> Floats:
    """Root mean square [k] of each column [n, k], without overflow; 0 for no rows.

    For differences of pairs, this is the standard deviation over the pairs in both orders.
    """
    if not len(columns):
        return np.zeros(columns.shape[1])
    largest = np.abs(columns).max(axis=0)
    safe = np.where(largest > 0.0, largest, 1.0)
    result: Floats = safe * np.sqrt(np.mean((columns / safe) ** 2, axis=0))
    return result


def probabilities(logits: Floats) -> Floats:
    """Sigmoid of `logits` of any shape, without overflow."""
    result: Floats = np.exp(-np.logaddexp(0.0, -logits))
    return result


def cluster_sums(rows: Floats, codes: NDArray[np.intp], clusters: int) -> Floats:
    """Sums [clusters, k] of `rows` [n, k] over the clusters numbered by `codes` [n]."""
    sums = [np.bincount(codes, weights=column, minlength=clusters) for column in rows.T]
    return np.stack(sums, axis=1) if sums else np.zeros((clusters, 0))


def _undetermined(z: Floats, size: Floats, clusters: int, names: Sequence[str]) -> str | None:
    """Reason why no fit of these columns can exist, whatever the labels; None if there is none."""
    if not len(z) or not z.shape[1]:
        return "no pairs" if not len(z) else "no features"
    zero = [name for name, scale in zip(names, size, strict=True) if scale == 0.0]
    if zero:
        return f"equal on both sides of every pair: {', '.join(zero)}"
    if clusters <= z.shape[1]:
        return f"{clusters} clusters for {z.shape[1]} features: needs at least {z.shape[1] + 1}"
    scaled = z / size
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(z))
    if values[0] > COLLINEAR * values[-1]:
        return None
    return f"collinear: {', '.join(_largest(vectors[:, 0], names))}"


def _newton(z: Floats, y: Floats) -> tuple[Floats, Floats | None]:
    """Maximise the likelihood from 0; return the coefficients, and None or a direction that separates the labels."""
    b: Floats = np.zeros(z.shape[1])
    eta: Floats = np.zeros(len(z))
    loss, flat = _loss(eta, y), FLAT * float(np.linalg.eigvalsh(z.T @ z)[-1]) / 4.0
    direction = b
    for _ in range(ITERATIONS):
        curvature, gradient = _derivatives(z, y, eta)
        values, vectors = np.linalg.eigh(curvature)
        direction = vectors[:, 0]
        # Along a direction that separates, probabilities reach 0 and 1, and their curvature vanishes.
        if values[0] <= flat:
            break
        step = np.linalg.solve(curvature, gradient)
        move = z @ step
        if float(np.abs(move).max()) < CONVERGED:
            return b + step, None
        # A whole step can overshoot far from the maximum; a small part cannot, as the loss is convex.
        part = next((part for part in PARTS if _loss(eta + part * move, y) <= loss * (1.0 + 1e-12)), 0.0)
        b, eta = b + part * step, eta + part * move
        loss = _loss(eta, y)
    return b, direction


def _derivatives(z: Floats, y: Floats, eta: Floats) -> tuple[Floats, Floats]:
    """Curvature [k, k] of the loss, and minus the gradient [k], precise for probabilities near 0 and 1."""
    # Both tails come from exp(-|eta|): 1 - p would round to 0 beyond a logit of 37.
    small = np.exp(-np.abs(eta))
    near, far = 1.0 / (1.0 + small), small / (1.0 + small)
    p, q = np.where(eta > 0.0, near, far), np.where(eta > 0.0, far, near)
    return (z.T * (p * q)) @ z, z.T @ (y * q - (1.0 - y) * p)


def _loss(eta: Floats, y: Floats) -> float:
    """Sum of the negative log-likelihood over the pairs, in nats."""
    # Terms of one sign only: a difference would round a loss near 0 to noise.
    wrong = np.where(eta > 0.0, (1.0 - y) * eta, -y * eta)
    return float(np.sum(np.log1p(np.exp(-np.abs(eta))) + wrong))


def _largest(direction: Floats, names: Sequence[str]) -> list[str]:
    """Names of the columns that take part in a direction [k]."""
    size = np.abs(direction)
    return [name for name, part in zip(names, size, strict=True) if part > 1e-3 * size.max()]


def _no_fit(z: Floats, clusters: int, reason: str) -> LogitFit:
    k = z.shape[1]
    return LogitFit(np.full(k, np.nan), np.full((clusters, k), np.nan), np.full((k, k), np.nan), len(z), reason)
