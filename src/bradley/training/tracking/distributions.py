"""How the scores of an evaluation set are distributed: quantiles, and a histogram whose edges fit between steps."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...evaluate.judgments import Floats, judgment_table
from ...evaluate.moments import QUANTILES
from ...records import ScoredComparison

MOST_BINS = 40


def distributions(rows: Sequence[ScoredComparison]) -> dict[str, Any]:
    """Scores of the better and of the worse response over decided judgments, each with `n`, `mean`, `std`, `min`,
    `max`, `p05` to `p95`, and a histogram: B + 1 `edges` and B `counts`.

    Both have the same edges, as do other sets and steps wherever theirs overlap and are as wide: see `bin_edges`.

    Returns:
        {"chosen": ..., "rejected": ...}, or {} where no judgment is decided.
    """
    table = judgment_table(rows)
    sides = {"chosen": table.chosen[table.decided], "rejected": table.rejected[table.decided]}
    if not table.decided.any():
        return {}
    edges = bin_edges(np.concatenate(list(sides.values())))
    return {name: _distribution(scores, edges) for name, scores in sides.items()}


def bin_edges(values: Floats) -> Floats:
    """Edges of at most `MOST_BINS` + 1 bins over `values`: multiples of a width that is a power of two.

    So a histogram of one step can be drawn over that of another, and bins of the finer one never straddle an edge of
    the coarser one.
    """
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 2.0**-20 * max(1.0, abs(low), abs(high)))  # equal scores have a bin that floats can tell
    width = 2.0 ** math.ceil(math.log2(span / MOST_BINS))
    first, last = math.floor(low / width), math.floor(high / width) + 1
    return np.arange(first, last + 1, dtype=np.float64) * width


def _distribution(scores: Floats, edges: Floats) -> dict[str, Any]:
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
