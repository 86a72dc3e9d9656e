"""Summaries of counts, as reports print them."""

from collections.abc import Iterable

import numpy as np


def quantiles(values: Iterable[int]) -> dict[str, float]:
    """Mean, median, 95th percentile and largest of one count or more: {"mean", "p50", "p95", "max"}.

    Percentiles are interpolated linearly between the two nearest counts.
    """
    counts = np.fromiter(values, dtype=np.float64)
    p50, p95 = np.quantile(counts, [0.5, 0.95])
    return {"mean": float(counts.mean()), "p50": float(p50), "p95": float(p95), "max": float(counts.max())}
