"""Figures with intervals as text, and tables of text, for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

DASH = "-"
"""Text of an undefined figure."""
Figure = Mapping[str, Any]
Cells = Sequence[str]


def percent(figure: Figure) -> str:
    """Format the value of an interval of shares."""
    return DASH if figure["value"] is None else f"{100 * figure['value']:.1f} %"


def span(figure: Figure) -> str:
    """Format the ends of an interval of shares, in percent."""
    return DASH if figure["low"] is None else f"[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def number_span(figure: Figure, sign: bool = False) -> str:
    """Format a figure that is no share, with the interval."""
    if figure["value"] is None:
        return DASH
    plus = "+" if sign else ""
    known = figure["low"] is not None and figure["high"] is not None
    ends = f" [{figure['low']:{plus}.3f}, {figure['high']:{plus}.3f}]" if known else " [unknown]"
    return f"{figure['value']:{plus}.4f}{ends}"


def point_span(figure: Figure) -> str:
    """Format a difference of shares in percentage points, with the interval."""
    if figure["value"] is None:
        return DASH
    ends = "" if figure["low"] is None else f" [{100 * figure['low']:+.1f}, {100 * figure['high']:+.1f}]"
    return f"{100 * figure['value']:+.1f} points{ends}"


def table(rows: Sequence[Cells]) -> list[str]:
    """Format a table: the first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip())
    return lines
