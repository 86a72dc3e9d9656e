"""Figure of any table of numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .csv_columns import Columns, Line
from .drawing import line_looks, panel_grid, titles
from .style import figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FEW_POINTS = 30
"""A line with fewer points gets a marker at each point."""


def table_figure(columns: Columns) -> "Figure":
    """Draw every column in a panel, two panels wide; several lines in a panel are named in a legend."""
    with figure_style():
        figure, axes = panel_grid(len(columns.lines))
        for axis, (name, lines) in zip(axes, columns.lines.items(), strict=True):
            _draw(axis, lines)
            titles(axis, name, columns.x, "")
    return figure


def _draw(axis: "Axes", lines: Sequence[Line]) -> None:
    # Not strict: `line_looks` never ends.
    for line, look in zip(lines, line_looks(), strict=False):
        axis.plot(line.x, line.y, marker="o" if len(line.x) < FEW_POINTS else "", markersize=3, **look)
    if len(lines) > 1:
        names = [line.name or "(no set)" for line in lines]
        axis.legend(axis.get_lines(), names, frameon=False, labelcolor="linecolor")
