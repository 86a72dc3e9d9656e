"""Slices of a set: the main figures by tag, source, length, turns and strength of the judgment, each with its n."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..records import Comparison, ScoredComparison
from .groups import MAX_GROUPS, MIN_GROUPS, accuracy
from .intervals import interval_dict
from .judgments import Floats, JudgmentTable
from .writers import WRITER_TAGS

LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Edges of the length buckets, in response tokens."""
Labels = Sequence[str | None]


def slice_figures(
    rows: Sequence[ScoredComparison],
    decided: JudgmentTable,
    nll: Floats,
    comparisons: Sequence[Comparison] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure accuracy, NLL and mean margin in each slice of the decided judgments.

    Slices, each with 2 to 30 values: every tag; `source`; `length` (mean response tokens of the two responses);
    `turns` (messages of the prompt, with `comparisons`); `strength` (the margin of the judgment, in units of the
    source; quartiles of more than 30 values).

    Args:
        rows: scored comparisons.
        decided: J decided judgments of the rows.
        nll: negative log-likelihood of each [J].
        comparisons: the same comparisons with texts, in the same order; None without texts.

    Returns:
        {slice: {value: {"accuracy", "nll", "margin"}}}, each figure as `interval_dict`.

    Example:
        slice_figures(rows, decided, nll)["source"]["hh"]["accuracy"]["value"]  # 0.71
    """
    found = {name: _by(labels, decided, nll) for name, labels in _labels(rows, decided, comparisons).items()}
    return {name: values for name, values in found.items() if values}


def _labels(
    rows: Sequence[ScoredComparison], decided: JudgmentTable, comparisons: Sequence[Comparison] | None
) -> dict[str, Labels]:
    """Labels of each slice, by judgment [J]."""
    tags = sorted({tag for row in rows for tag in row.tags} - WRITER_TAGS)
    by_row: dict[str, Labels] = {tag: [row.tags.get(tag) for row in rows] for tag in tags}
    by_row.setdefault("source", [row.source or None for row in rows])
    if comparisons is not None:
        by_row.setdefault("turns", [_turns(comparison) for comparison in comparisons])
    found: dict[str, Labels] = {name: [labels[row] for row in decided.row] for name, labels in by_row.items()}
    found.setdefault("length", _lengths(decided))
    found.setdefault("strength", _strengths(rows, decided))
    return found


def _by(labels: Labels, decided: JudgmentTable, nll: Floats) -> dict[str, Any]:
    values = sorted({label for label in labels if label is not None}, key=_order)
    if not MIN_GROUPS <= len(values) <= MAX_GROUPS:
        return {}
    of = np.array(labels, dtype=object)
    return {value: _figures(decided.select(of == value), nll[of == value]) for value in values}


def _figures(part: JudgmentTable, nll: Floats) -> dict[str, Any]:
    return {
        "accuracy": accuracy(part),
        "nll": interval_dict(nll, part.prompt, (0.0, np.inf)),
        "margin": interval_dict(part.margin, part.prompt, (-np.inf, np.inf)),
    }


def _order(value: str) -> tuple[float, str]:
    """Sort by the number that a label begins with, then by text."""
    digits = value.split("-")[0].rstrip("+")
    return (float(digits) if digits.isdigit() else np.inf), value


def _turns(comparison: Comparison) -> str:
    return str(len(comparison.prompt)) if len(comparison.prompt) < 10 else "10+"


def _lengths(decided: JudgmentTable) -> Labels:
    """Bucket of the mean length of the two responses."""
    if not decided.mean_tokens.any():
        return [None] * len(decided.row)
    places = np.searchsorted(LENGTHS, decided.mean_tokens, side="right")
    names = [
        f"0-{LENGTHS[0] - 1}",
        *(f"{low}-{high - 1}" for low, high in pairwise(LENGTHS)),
        f"{LENGTHS[-1]}+",
    ]
    return [names[place] for place in places]


def _strengths(rows: Sequence[ScoredComparison], decided: JudgmentTable) -> Labels:
    """Strength of each judgment; quartiles if the values are many."""
    margins: Mapping[int, list[float | None]] = {
        index: [judgment.margin for judgment in rows[index].judgments if not judgment.tie]
        for index in sorted({int(row) for row in decided.row})
    }
    flat = [margin for index in margins for margin in margins[index]]
    known = np.array([margin for margin in flat if margin is not None], dtype=np.float64)
    distinct = np.unique(known)
    if len(distinct) <= MAX_GROUPS:
        return [None if margin is None else f"{margin:g}" for margin in flat]
    edges = np.quantile(known, [0.25, 0.5, 0.75])
    ends = [float(known.min()), *edges.tolist(), float(known.max())]
    # As few digits as keep the ends apart.
    digits = next((d for d in range(3, 17) if len({f"{end:.{d}g}" for end in ends}) == len(set(ends))), 17)
    names = [f"{low:.{digits}g} to {high:.{digits}g}" for low, high in pairwise(ends)]
    return [None if m is None else names[int(np.searchsorted(edges, m, side="right"))] for m in flat]
