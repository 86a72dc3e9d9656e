"""Figures of an evaluation from its summary alone: spread of scores and margins, accuracy by response length."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..filters import number
from .drawing import single, titles
from .style import BLUE, MUTED, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


QUANTILES = ("p05", "p25", "p50", "p75", "p95")
Spread = Mapping[str, float | None]
"""Quantiles by name, and `min` and `max` where known."""


def spread_figure(spreads: Mapping[str, Spread], title: str = "Spread of the scores") -> "Figure":
    """Draw a row for each spread: a line from 5 % to 95 %, a box for the middle half, and a mark at the median.

    Thin ends lead to the smallest and the largest value, where known, and end at the edge of the panel: a single far
    value would leave no room for the rest.

    Args:
        spreads: quantiles by name of the row, the first row on top; a spread without values is left out.
        title: title of the figure.
    """
    known = {name: spread for name, spread in spreads.items() if all(spread.get(key) is not None for key in QUANTILES)}
    return single(_draw_spreads, known, title)


def length_accuracy_figure(slices: Mapping[str, Mapping[str, Any]], unit: str = "") -> "Figure":
    """Draw a row for each length bucket: accuracy with the 95 % interval, and the number of judgments beside.

    Args:
        slices: `slices["length"]` of an evaluation, the shortest bucket first.
        unit: unit of the lengths, such as `tokens`; "" if unknown.
    """
    accuracies = {name: one["accuracy"] for name, one in slices.items()}
    return single(_draw_lengths, accuracies, f"mean length in {unit}" if unit else "mean length")


def _draw_spreads(axis: "Axes", spreads: Mapping[str, Any], title: str) -> None:
    colours = (BLUE, ORANGE, MUTED)
    for row, spread in enumerate(spreads.values()):
        colour = colours[row % len(colours)]
        p05, p25, p50, p75, p95 = (spread[key] for key in QUANTILES)
        low, high = (
            spread[end] if spread.get(end) is not None else inner for end, inner in (("min", p05), ("max", p95))
        )
        axis.hlines(row, low, high, color=colour, linewidth=0.8, alpha=0.6)
        axis.hlines(row, p05, p95, color=colour, linewidth=2.4, alpha=0.6)
        axis.barh(row, p75 - p25, left=p25, height=0.3, color=colour, alpha=0.3)
        axis.plot([p50], [row], color=colour, marker="o", markersize=5)
    axis.axvline(0.0, color=MUTED, linestyle="--", linewidth=1)
    low, high = (pick([0.0, *(one[end] for one in spreads.values())]) for pick, end in ((min, "p05"), (max, "p95")))
    # Equal scores have no width of their own.
    room = 0.15 * (high - low) or 1.0
    axis.set_xlim(low - room, high + room)
    axis.set_yticks(range(len(spreads)), list(spreads))
    # Rows go down in the order of their names.
    axis.set_ylim(max(len(spreads), 1) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    titles(axis, title, "score", "")


def _draw_lengths(axis: "Axes", accuracies: Mapping[str, Any], label: str) -> None:
    from matplotlib.ticker import PercentFormatter

    known = {name: one for name, one in accuracies.items() if one["value"] is not None}
    for place, one in enumerate(known.values()):
        axis.hlines(place, one["low"], one["high"], color=BLUE, alpha=0.35, linewidth=6)
        axis.plot([one["value"]], [place], color=BLUE, marker="o", markersize=4)
    axis.axvline(0.5, color=MUTED, linestyle="--", linewidth=1)
    axis.set_xlim(min([0.35, *(one["low"] for one in known.values())]) - 0.03, 1.03)
    titles(axis, "Accuracy by length", "ranked as labelled", label)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    # A row for each bucket: names of up to ten buckets would overlap beside each other.
    labels = [f"{name}, n {number(one['n'])}" for name, one in known.items()]
    axis.set_yticks(range(len(known)), labels, size=8)
    # Buckets go down from the shortest.
    axis.set_ylim(max(len(known), 1) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
