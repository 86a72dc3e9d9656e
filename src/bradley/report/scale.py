"""Horizontal axes of charts of intervals, in percentages of the width: text keeps its size at any width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..runs.reader import Json


@dataclass(frozen=True, slots=True)
class Scale:
    """A horizontal axis of accuracies, for charts with the same text size at any width.

    Attributes:
        low, high: accuracies at the ends of the axis.
    """

    low: float
    high: float

    @property
    def reference(self) -> float:
        """Value of the dashed line: chance."""
        return 0.5

    def x(self, value: float) -> str:
        """Position of `value` on the axis, as a percentage of the width."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def width(self, low: float, high: float) -> str:
        """Share of the axis from `low` to `high`, as a percentage."""
        return f"{100 * (high - low) / (self.high - self.low):.2f}%"

    @property
    def ticks(self) -> list[float]:
        """Round accuracies inside the axis."""
        step = 0.1 if self.high - self.low > 0.3 else 0.05
        return [i * step for i in range(21) if self.low + 0.02 < i * step < self.high - 0.02]

    def label(self, tick: float) -> str:
        """Text below a tick, in percent."""
        return f"{100 * tick:.0f}"


class DifferenceScale(Scale):
    """A horizontal axis of differences of accuracies, with the dashed line at 0."""

    __slots__ = ()

    @property
    def reference(self) -> float:
        """Value of the dashed line: no difference."""
        return 0.0

    @property
    def ticks(self) -> list[float]:
        """Round differences inside the axis, at most nine."""
        width = self.high - self.low
        step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if width / step <= 8)
        first, last = math.ceil((self.low + 0.04 * width) / step), math.floor((self.high - 0.04 * width) / step)
        return [i * step for i in range(first, last + 1)]

    def label(self, tick: float) -> str:
        """Text below a tick, in percentage points with a sign."""
        return f"{round(100 * tick, 1):+g}".replace("-", "\u2212") if tick else "0"


def accuracy_scale(intervals: Sequence[Json]) -> Scale:
    """Axis with room for chance and every interval, from 40 % to 80 % at least."""
    ends = _ends(intervals)
    # A fixed minimal range keeps small differences small to the eye.
    low, high = min([0.4, *ends]), max([0.8, *ends])
    return Scale(max(0.0, low - 0.02), min(1.0, high + 0.02))


def difference_scale(intervals: Sequence[Json]) -> DifferenceScale:
    """Axis with room for 0 and every interval, from -2 to 2 points at least."""
    ends = _ends(intervals)
    low, high = min([-0.02, *ends]), max([0.02, *ends])
    room = 0.05 * (high - low)
    return DifferenceScale(low - room, high + room)


def _ends(intervals: Sequence[Json]) -> list[float]:
    return [interval[end] for interval in intervals if interval["value"] is not None for end in ("low", "high")]
