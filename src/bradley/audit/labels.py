"""Labels: ties, strengths, weights, and the side on which the preferred response stands."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.report import quantiles
from ..evaluate.intervals import interval_figures
from .rows import RowSet

MOST_VALUES = 12
"""Most different margins or probabilities that are counted one by one."""


def labels(rows: RowSet, margins: Sequence[float], unmarked: int) -> dict[str, Any]:
    """Describe the labels of a set, ready for JSON.

    Args:
        rows: the rows.
        margins: every margin, in any order.
        unmarked: number of judgments without a margin.

    Returns:
        `judgments`, `ties`; `sizes`, comparisons by number of responses; `tie_share` and `first_preferred`, the share
        of decided judgments of pairs whose better response comes first in the row, with intervals; `probabilities`
        and `margins`, counts by value or quantiles; `weighted`, judgments with another weight than 1.
    """
    columns = rows.columns
    decided = columns.probability != 0.5
    prompt = columns.of_judgments(columns.topic)
    sizes = np.diff(columns.first_response)
    pair = columns.of_judgments(sizes == 2) & decided
    first = columns.better < columns.worse
    count, number = np.unique(sizes, return_counts=True)
    return {
        "judgments": len(decided),
        "ties": int((~decided).sum()),
        "tie_share": interval_figures(~decided, prompt),
        "first_preferred": interval_figures(first[pair], prompt[pair], empty="no decided pair"),
        "sizes": {str(size): int(n) for size, n in zip(count, number, strict=True)},
        "probabilities": spread(columns.probability[decided]),
        "margins": {**spread(np.array(margins)), "without": unmarked},
        "weighted": int((columns.weight != 1.0).sum()),
    }


def spread(values: np.ndarray) -> dict[str, Any]:
    """Count values one by one, or describe many different values by quantiles; empty without values."""
    known, counts = np.unique(values, return_counts=True)
    if not len(known):
        return {}
    if len(known) <= MOST_VALUES:
        return {"counts": {f"{value:g}": int(n) for value, n in zip(known, counts, strict=True)}}
    return {"quantiles": {**quantiles(values), "min": float(values.min())}}
