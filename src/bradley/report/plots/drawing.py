"""Building blocks of figures: panels, titles, names at the ends of lines."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, product
from typing import TYPE_CHECKING, Any

from .curves import Series
from .style import PALETTE, PANEL_SIZE, figure_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MINUS = "\u2212"
TICKS = 6
"""Most intervals between the numbers on an x axis. More would overlap in a panel of this width."""
APART = 0.08
"""Smallest distance of two labels, as a share of the height of a panel."""


def panel_grid(panels: int, columns: int = 2) -> tuple["Figure", list["Axes"]]:
    """Make a figure of `panels` panels, at most `columns` wide; unused places stay blank."""
    columns = min(columns, max(panels, 1))
    rows = math.ceil(max(panels, 1) / columns)
    figure = new_figure((columns * PANEL_SIZE[0], rows * PANEL_SIZE[1]))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes[:panels]


def single(draw: Callable[..., None], *arguments: Any) -> "Figure":
    """Make a figure of a single panel, drawn by `draw(axis, *arguments)`."""
    with figure_style():
        figure, (axis,) = panel_grid(1)
        draw(axis, *arguments)
    return figure


def titles(axis: "Axes", title: str, x: str, y: str) -> None:
    """Set title and axis labels of a panel; few and short numbers on x keep neighbours apart."""
    from matplotlib.ticker import MaxNLocator

    axis.set_title(title)
    axis.set_xlabel(x)
    axis.xaxis.set_major_locator(MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(lambda value, _: compact(value))
    axis.set_ylabel(y)
    axis.tick_params(length=0)


def line_looks() -> Iterator[dict[str, Any]]:
    """Yield colour and line style of each next line, without end; the first 24 pairs are all different."""
    return ({"color": colour, "linestyle": style} for style, colour in cycle(product(("-", "--", ":", "-."), PALETTE)))


def label_ends(axis: "Axes", lines: Sequence[tuple[str, Series, str]]) -> None:
    """Write each name right of the end of its line, far enough apart to read.

    Args:
        axis: a panel with its final y limits: positions are shares of the present height.
        lines: (name, series, colour) of each line.
    """
    low, high = axis.get_ylim()
    ends = sorted(((line.y[-1] - low) / (high - low), name, colour) for name, line, colour in lines if line.y)
    places = spread_out([end for end, _, _ in ends])
    for place, (_, name, colour) in zip(places, ends, strict=True):
        axis.text(1.015, place, name, color=colour, va="center", transform=axis.transAxes)


def spread_out(ends: Sequence[float], apart: float = APART) -> list[float]:
    """Positions at least `apart` from each other, close to the ascending `ends`.

    Crowded ends are spaced evenly about their mean; a group touching the next group joins the next group.
    """
    # Joining must look back repeatedly: a grown group may now touch a group before it.
    groups: list[list[float]] = []
    for end in ends:
        groups.append([end])
        while len(groups) > 1 and _top(groups[-2], apart) + apart > _bottom(groups[-1], apart):
            last = groups.pop()
            groups[-1] += last
    return [_bottom(group, apart) + i * apart for group in groups for i in range(len(group))]


def compact(value: float) -> str:
    """Format a round number in few characters: 5000, 12.5k, 2M."""
    scaled = [(1e6, "M", 1e6), (1e4, "k", 1e3), (0.0, "", 1.0)]
    name, unit = next((name, unit) for least, name, unit in scaled if abs(value) >= least)
    return f"{value / unit:g}{name}".replace("-", MINUS)


def short(value: float) -> str:
    """Format a number with three significant digits and a true minus sign."""
    return f"{value:.3g}".replace("-", MINUS)


def _bottom(group: Sequence[float], apart: float) -> float:
    """Position of the lowest label of a group spaced evenly about its mean."""
    return sum(group) / len(group) - apart * (len(group) - 1) / 2


def _top(group: Sequence[float], apart: float) -> float:
    return _bottom(group, apart) + apart * (len(group) - 1)
