"""Describe the scores of an evaluation set: quantiles, and histograms whose edges match between steps."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...evaluate.judgments import Floats, judgment_table
from ...evaluate.moments import QUANTILES
from ...records import ScoredComparison

MOST_BINS = 40
"""Bins of a histogram, at most."""


def distributions(rows: Sequence[ScoredComparison]) -> dict[str, Any]:
    """Describe the scores of the better and of the worse response over decided judgments.

    Each side has `n`, `mean`, `std`, `min`, `max`, `p05` to `p95`, and a histogram: B + 1 `edges` and B `counts`. Both
    sides share their edges. Histograms of other sets and steps share edges, too, in overlapping ranges of equal width:
    see `bin_edges`.

    Args:
        rows: scored comparisons of a set.

    Returns:
        {"chosen": ..., "rejected": ...}, or {} if no judgment is decided.
    """
    table = judgment_table(rows)
    sides = {"chosen": table.chosen[table.decided], "rejected": table.rejected[table.decided]}
    if not table.decided.any():
        return {}
    edges = bin_edges(np.concatenate(list(sides.values())))
    return {name: _distribution(scores, edges) for name, scores in sides.items()}


def bin_edges(values: Floats) -> Floats:
    """Return edges of at most `MOST_BINS` + 1 bins over `values`: multiples of a width that is a power of two.

    Histograms of different steps can therefore be drawn over each other. A bin of the finer histogram never straddles
    an edge of the coarser histogram.

    Args:
        values: scores, in any order.

    Returns:
        [B + 1] edges, ascending.
    """
    low, high = float(values.min()), float(values.max())
    # Equal scores have a span of 0. The least span keeps the two edges of their bin apart as floats.
    span = max(high - low, 2.0**-20 * max(1.0, abs(low), abs(high)))
    # Powers of two and their multiples are exact floats, hence edges of different steps are equal to the last bit.
    width = 2.0 ** math.ceil(math.log2(span / MOST_BINS))
    first, last = math.floor(low / width), math.floor(high / width) + 1
    return np.arange(first, last + 1, dtype=np.float64) * width


def _distribution(scores: Floats, edges: Floats) -> dict[str, Any]:
    # Sums of floats depend on order. Sorted scores give the same bits in whatever order rows arrive.
    ordered = np.sort(scores)
    return {
        "n": len(ordered),
        "mean": float(ordered.mean()),
        "std": float(ordered.std()),
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
        **{name: float(np.quantile(ordered, share)) for name, share in QUANTILES.items()},
        "edges": edges.tolist(),
        "counts": np.histogram(ordered, edges)[0].tolist(),
    }
