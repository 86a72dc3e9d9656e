"""A finding of an audit: the rows with a fault, with their share and the first examples."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..evaluate.intervals import interval_figures
from .rows import RowSet

EXAMPLES = 5
"""Most examples of a finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows with a fault.

    Attributes:
        rows: numbers of the comparisons with the fault, in order.
        drop: numbers of the comparisons that a cleaning removes: all, or all but the first of each group.
        groups: numbers of comparisons that belong together, at most `EXAMPLES` groups.
        facts: further counts by name, ready for JSON.
    """

    rows: np.ndarray
    drop: np.ndarray
    groups: list[list[int]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def figures(self, rows: RowSet) -> dict[str, Any]:
        """Return counts, the share of the rows with its interval, and examples by id, ready for JSON."""
        marks = np.zeros(len(rows), dtype=np.float64)
        marks[self.rows] = 1.0
        return {
            "rows": len(self.rows),
            "share": interval_figures(marks, rows.columns.topic, empty="no rows"),
            **self.facts,
            "examples": [[rows.id(number) for number in group] for group in self.groups],
        }


def grouped(first: np.ndarray, drop: np.ndarray) -> list[list[int]]:
    """First examples of rows to drop, each behind the row of its group that stays.

    Args:
        first: [G] number of the row that stays, by row.
        drop: numbers of rows to drop.
    """
    return [[int(first[number]), int(number)] for number in drop[:EXAMPLES]]
