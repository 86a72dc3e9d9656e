"""Formats of values on the page; missing values become a dash."""

import math
from typing import Any

DASH = "–"
THIN = "\u202f"
"""Narrow no-break space, between digits and before the percent sign."""
HEAD_CHARACTERS, HEAD_LINES = 480, 9
"""Most characters and lines of a folded text."""


def number(value: Any) -> str:
    """Format a count with separated thousands, other numbers with four significant digits."""
    if not _known(value):
        return DASH
    return f"{value:,}".replace(",", THIN) if isinstance(value, int) else f"{value:.4g}"


def percent(value: Any) -> str:
    """Format a share as a percentage with a single decimal."""
    return f"{100 * value:.1f}{THIN}%" if _known(value) else DASH


def points(value: Any) -> str:
    """Format a difference of shares in percentage points, with a sign."""
    return f"{100 * value:+.1f}".replace("-", "−") if _known(value) else DASH


def score(value: Any) -> str:
    """Format a score with a sign and two decimals."""
    return f"{value:+.2f}".replace("-", "−") if _known(value) else DASH


def signed(value: Any) -> str:
    """Format a score or a coefficient of any size, with a sign and three significant digits."""
    if not _known(value):
        return DASH
    text = f"{value:+,.0f}".replace(",", THIN) if 1000 <= abs(value) < 1e7 else f"{value + 0.0:+#.3g}".rstrip(".")
    return text.replace("-", "−")


def p_value(value: Any) -> str:
    """Format a p-value with three decimals."""
    if not _known(value):
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def three(value: Any) -> str:
    """Format a negative log-likelihood, or a share not shown as a percentage, with three decimals."""
    return f"{value:.3f}" if _known(value) else DASH


def span(interval: Any) -> str:
    """Format the ends of an interval of shares, in percent."""
    if not isinstance(interval, dict) or not (_known(interval.get("low")) and _known(interval.get("high"))):
        return DASH
    return f"{100 * interval['low']:.1f}–{100 * interval['high']:.1f}"


def duration(seconds: Any) -> str:
    """Format a time in seconds, in minutes, or in hours and minutes."""
    if not _known(seconds):
        return DASH
    if seconds < 60:
        return f"{seconds:.1f}{THIN}s"
    minutes = round(seconds / 60)
    return f"{minutes}{THIN}min" if minutes < 60 else f"{minutes // 60}{THIN}h {minutes % 60}{THIN}min"


def head(value: Any) -> str:
    """Shorten a text to its beginning; a text at most a fifth longer stays whole."""
    text = str(value)
    # Folding away a few last words would cost a reader a click for nothing.
    short = "\n".join(text.split("\n")[:HEAD_LINES])[:HEAD_CHARACTERS]
    return text if len(text) <= 1.2 * len(short) else short.rstrip()


def examples(entry: Any) -> list[Any]:
    """List the examples of an entry of the data report, empty examples left out.

    Runs of earlier versions hold a single `example` instead of a list of `examples`.
    """
    known = entry.get("examples", [entry.get("example")]) if isinstance(entry, dict) else []
    return [example for example in known if example]


def _known(value: object) -> bool:
    """Return True for a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


FILTERS = {
    "number": number,
    "percent": percent,
    "points": points,
    "score": score,
    "signed": signed,
    "p_value": p_value,
    "three": three,
    "span": span,
    "duration": duration,
    "head": head,
}
