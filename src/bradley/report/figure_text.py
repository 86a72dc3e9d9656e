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
    text = signed if sign else plain
    known = figure["low"] is not None and figure["high"] is not None
    ends = f" [{text(figure['low'], 3)}, {text(figure['high'], 3)}]" if known else " [unknown]"
    return f"{text(figure['value'], 4)}{ends}"


def signed(value: float, digits: int = 2) -> str:
    """Format a number with its sign, with two significant digits at least; 0 has the sign of nothing lost.

    Example:
        signed(1.5), signed(-0.000123), signed(-0.0)  # ("+1.50", "-0.00012", "+0.00")
    """
    return _digits(value, digits, "+")


def plain(value: float, digits: int = 2) -> str:
    """Format a number, with two significant digits at least.

    Example:
        plain(0.0000123, 4)  # "1.2e-05"
    """
    return _digits(value, digits, "")


def _digits(value: float, digits: int, sign: str) -> str:
    """Format with `digits` decimals, or with two significant digits where the decimals would show fewer."""
    # Adding 0 makes 0 of -0.
    value += 0.0
    if value == 0 or abs(value) >= 10.0 ** (1 - digits):
        return f"{value:{sign}.{digits}f}"
    return f"{value:{sign}.2g}"


def sureness(overconfidence: Figure) -> str:
    """Say whether a model is too sure; an interval that holds 0 is no evidence.

    Example:
        sureness({"value": 0.031, "low": 0.01, "high": 0.05})  # "too sure by 3.1 points"
    """
    value, low, high = (overconfidence[key] for key in ("value", "low", "high"))
    points = f"{100 * abs(value):.1f}"
    if low is None or high is None or low <= 0 <= high or points == "0.0":
        return "no evidence of being too sure or not sure enough"
    return f"{'too sure' if value > 0 else 'not sure enough'} by {points} points"


def point_span(figure: Figure) -> str:
    """Format a difference of shares in percentage points, with the interval."""
    if figure["value"] is None:
        return DASH
    # Rounding first: a tiny negative difference has no sign either.
    value, low, high = (
        None if figure[key] is None else f"{round(100 * figure[key], 1) + 0.0:+.1f}" for key in ("value", "low", "high")
    )
    return f"{value} points" + ("" if low is None else f" [{low}, {high}]")


def table(rows: Sequence[Cells]) -> list[str]:
    """Format a table: the first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip())
    return lines
