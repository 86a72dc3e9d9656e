"""Results of benchmarks as text for a terminal, and the notes about training data."""

from collections.abc import Collection, Sequence
from typing import Any

from ...common.text import and_more, message_line
from ...records import ScoredComparison
from .figures import Result

FEW = 30
"""Prompts below which a clustered interval is too narrow to trust."""
MOST_NAMED = 5
"""Most comparisons that a note names."""
HEAD = ("figure", "scheme", "value", "95 % interval", "n", "prompts")


def show(result: Result, title: str) -> str:
    """Format a result as a table: a line per figure, then the scheme and the notes.

    A figure that another scheme repeats, as without equal scores, is shown once.

    Args:
        result: result of a suite.
        title: name of the suite in print.
    """
    figures = _different(result["figures"])
    rows = [HEAD, *map(_cells, figures)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    lines = [_line(row, widths) for row in rows]
    few = any(0 < figure["clusters"] < FEW for figure in result["figures"])
    equal = len(result["figures"]) - len(figures)
    notes = [f"{equal} figures by another scheme are equal to figures above"] if equal else []
    notes += [f"* fewer than {FEW} prompts: the interval is rough"] if few else []
    notes += [f"note: {message_line(note)}" for note in result["notes"]]
    return "\n".join([title, *lines, f"published: {result['scheme']}", *notes])


def overlap(rows: Sequence[ScoredComparison], training: Collection[str], name: str) -> list[str]:
    """Return a note that counts and names the prompts of a benchmark among the training prompts.

    Args:
        rows: scored rows of the benchmark.
        training: keys of the training prompts, see `records.prompt_key`.
        name: origin of the training data, for the note.
    """
    prompts = {row.prompt_key for row in rows}
    seen = prompts.intersection(training)
    if not seen:
        return [f"none of {len(prompts):,} prompts is in the training data of {name}"]
    named = and_more([row.id for row in rows if row.prompt_key in seen], MOST_NAMED)
    return [f"{len(seen):,} of {len(prompts):,} prompts are in the training data of {name}: rows {named}"]


def _different(figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures without those that repeat an earlier figure of the same name by another scheme."""
    shown: dict[tuple[Any, ...], dict[str, Any]] = {}
    for figure in figures:
        shown.setdefault(tuple(value for key, value in figure.items() if key != "scheme"), figure)
    return list(shown.values())


def _cells(figure: dict[str, Any]) -> tuple[str, ...]:
    value, low, high = (_percent(figure[key]) for key in ("value", "low", "high"))
    mark = "*" if 0 < figure["clusters"] < FEW else " "
    interval = "-" if figure["value"] is None else f"[{low}, {high}]{mark}"
    names = message_line(figure["name"]), figure["scheme"]
    return (*names, value, interval, f"{figure['n']:,}", f"{figure['clusters']:,}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Pad cells: names to the left, numbers to the right."""
    names = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join([*names, *numbers])
