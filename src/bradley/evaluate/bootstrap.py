"""Cluster bootstrap: whole prompts drawn with replacement, the same draws for every figure and every model.

The clustered t interval of `intervals` covers better for a mean. The bootstrap is for figures that are no mean, such as
quantiles, the ECE, or the difference of two such figures on the same rows.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .judgments import Floats

DRAWS = 1000
"""Bootstrap draws by default: the ends of a 95 % interval then move by about 3 % of the width from seed to seed."""
CHUNK = 64
"""Draws multiplied at a time: bounds the memory of the products."""
MOST_COPIES = 255
"""Most copies of a cluster in a draw that a byte can hold; the chance of more is below 1e-300."""


class Draws(NamedTuple):
    """Draws of clusters with replacement.

    Example:
        draws = draw_clusters(prompts)
        low, high = draws.interval(draws.sums(values)[:, 0] / draws.sums(ones)[:, 0])

    Attributes:
        codes: cluster of each value [n], from 0.
        counts: copies of each cluster in each draw [draws, clusters].
    """

    codes: NDArray[np.intp]
    counts: NDArray[np.uint8]

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return int(self.counts.shape[1])

    def sums(self, values: Floats) -> Floats:
        """Sum `values` [n] or [n, k] over each draw.

        Returns:
            Sums [draws, k].
        """
        table = values.reshape(len(values), -1)
        # Summed by cluster first: a draw then costs the number of clusters, and not the number of values.
        columns = [np.bincount(self.codes, weights=column, minlength=self.clusters) for column in table.T]
        by_cluster = np.stack(columns, axis=1)
        return np.concatenate([chunk @ by_cluster for chunk in self._chunks()])

    def quantiles(self, values: Floats, shares: ArrayLike) -> Floats:
        """Quantiles of `values` [n] in each draw: the smallest value with at least a share [q] of the values below.

        Returns:
            Quantiles [draws, q].
        """
        order = np.argsort(values, kind="stable")
        ordered, codes, wanted = values[order], self.codes[order], np.asarray(shares, dtype=np.float64)
        found = []
        for counts in self.counts:
            total = np.cumsum(counts[codes], dtype=np.int64)
            # A share times a count can lie above a whole number by rounding alone.
            place = np.searchsorted(total, np.ceil(wanted * total[-1] - 1e-9), side="left")
            found.append(ordered[np.minimum(place, len(ordered) - 1)])
        return np.array(found)

    def weights(self) -> Iterator[Floats]:
        """Yield the copies of each value [n], draw by draw, for figures that are no function of sums."""
        for counts in self.counts:
            yield counts[self.codes].astype(np.float64)

    def interval(self, estimates: Floats, confidence: float = 0.95) -> tuple[float, float]:
        """Percentile interval of `estimates` [draws]; nan for a single cluster, or where a draw has no estimate."""
        if self.clusters < 2 or not np.all(np.isfinite(estimates)):
            return math.nan, math.nan
        low, high = np.quantile(estimates, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
        return low, high

    def _chunks(self) -> Iterator[Floats]:
        for start in range(0, len(self.counts), CHUNK):
            yield self.counts[start : start + CHUNK].astype(np.float64)


def draw_clusters(clusters: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Draws:
    """Draw the clusters of n values with replacement; equal clusters and seed give equal draws.

    Draws depend on the sorted names of the clusters alone: two models scored on the same prompts share the draws, and
    the difference of their figures has a paired interval.

    Args:
        clusters: group of each value [n], such as a prompt key.
        draws: number of draws.
        seed: of the generator.

    Example:
        draws = draw_clusters(["a", "a", "b"], draws=200)
    """
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    generator, number = np.random.default_rng(seed), len(names)
    counts = np.empty((draws, number), dtype=np.uint8)
    for row in counts:
        drawn = np.bincount(generator.integers(number, size=number), minlength=number) if number else 0
        row[:] = np.minimum(drawn, MOST_COPIES)
    return Draws(codes.reshape(-1).astype(np.intp), counts)


def bootstrap_dict(value: float | None, estimates: Floats, draws: Draws) -> dict[str, Any]:
    """A figure and its percentile interval over `estimates` [draws], ready for JSON; undefined numbers are None."""
    low, high = draws.interval(estimates) if value is not None else (math.nan, math.nan)
    found = {"value": value, "low": low, "high": high}
    shown = {name: number if number is not None and math.isfinite(number) else None for name, number in found.items()}
    return {**shown, "n": len(draws.codes), "clusters": draws.clusters}


Statistic = Callable[[Floats], Floats]
"""Function of sums [..., k] that gives an estimate for each row of sums [...]."""


def bootstrap_of_sums(values: Floats, statistic: Statistic, draws: Draws) -> dict[str, Any]:
    """A figure that is a function of sums, with its percentile interval.

    Args:
        values: columns whose sums determine the figure [n, k].
        statistic: function from sums [..., k] to estimates [...]; nan where undefined.
        draws: draws of the n values.

    Example:
        ratio = bootstrap_of_sums(np.stack([wins, games], 1), lambda s: s[..., 0] / s[..., 1], draws)
    """
    if not len(values):
        return bootstrap_dict(None, np.empty(0), draws)
    value = float(statistic(values.sum(axis=0)))
    return bootstrap_dict(value if math.isfinite(value) else None, statistic(draws.sums(values)), draws)
