"""Accuracy by the model that wrote the responses: a reward model can favour the style of a particular model.

Rows name the writers in tags: `chosen_model` and `rejected_model`, or a pair such as `model_a` and `model_b` in the
order of the responses.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..records import Judgment, ScoredComparison
from .intervals import interval_dict
from .judgments import Floats, JudgmentTable, half_ties

SIDED = ("chosen_model", "rejected_model")
ORDERED = (
    ("model_a", "model_b"),
    ("model_1", "model_2"),
    ("response_a_model", "response_b_model"),
    ("response_1_model", "response_2_model"),
    ("completion_a_model", "completion_b_model"),
    ("generator_a", "generator_b"),
)
"""Tags with the writers of the first and the second response."""
WRITER_TAGS = {*SIDED, *(tag for pair in ORDERED for tag in pair)}
MOST_WRITERS = 60
"""Most writers of a table; more names are identifiers."""


def writer_figures(rows: Sequence[ScoredComparison], decided: JudgmentTable, scale: float = 1.0) -> dict[str, Any]:
    """Compare the win rate of each writer by the scores with the win rate by the labels.

    Judgments between two different writers count, once for each. Intervals are clustered by prompt.

    Args:
        rows: scored comparisons of two responses.
        decided: decided judgments of the rows.
        scale: factor of score differences in probabilities.

    Returns:
        {writer: {"observed": win rate by the labels, "chosen": win rate by the scores, "expected": mean probability of
        a win, "excess": chosen minus observed}}, the most judgments first; empty without names.

    Example:
        writer_figures(rows, decided)["gpt-4"]["excess"]["value"]  # 0.06: the model favours gpt-4
    """
    from scipy.special import expit

    names = _names(rows, decided)
    if names is None:
        return {}
    better, worse = names
    apart = np.array([a is not None and b is not None and a != b for a, b in zip(better, worse, strict=True)])
    writers = sorted({name for side in names for name, one in zip(side, apart, strict=True) if one and name})
    if not 2 <= len(writers) <= MOST_WRITERS:
        return {}
    right, p = half_ties(decided.margin), expit(scale * decided.margin)
    found = {name: _figures(better == name, worse == name, apart, right, p, decided) for name in writers}
    return dict(sorted(found.items(), key=lambda entry: -int(entry[1]["observed"]["n"])))


def _figures(better: Any, worse: Any, apart: Any, right: Floats, p: Floats, decided: JudgmentTable) -> dict[str, Any]:
    """Figures of a writer, who wrote the better response in `better` and the worse response in `worse` [J]."""
    mask = apart & (better | worse)
    wins, prompt = better[mask].astype(np.float64), decided.prompt[mask]
    chosen = np.where(better[mask], right[mask], 1 - right[mask])
    expected = np.where(better[mask], p[mask], 1 - p[mask])
    return {
        "observed": interval_dict(wins, prompt),
        "chosen": interval_dict(chosen, prompt),
        "expected": interval_dict(expected, prompt),
        "excess": interval_dict(chosen - wins, prompt, (-1.0, 1.0)),
    }


def _names(rows: Sequence[ScoredComparison], decided: JudgmentTable) -> tuple[Any, Any] | None:
    """Writers of the better and of the worse response of each judgment [J]; None if no row names them."""
    judgments = [judgment for row in rows for judgment in row.judgments if not judgment.tie]
    pairs = [_of(rows[int(row)], judgment) for row, judgment in zip(decided.row, judgments, strict=True)]
    if not any(first for first, _ in pairs):
        return None
    return tuple(np.array([pair[side] for pair in pairs], dtype=object) for side in (0, 1))  # type: ignore[return-value]


def _of(row: ScoredComparison, judgment: Judgment) -> tuple[str | None, str | None]:
    """Writers of the better and of the worse response."""
    if len(row.scores) != 2:
        return None, None
    if all(tag in row.tags for tag in SIDED):
        return row.tags[SIDED[0]], row.tags[SIDED[1]]
    for pair in ORDERED:
        if all(tag in row.tags for tag in pair):
            return row.tags[pair[judgment.better]], row.tags[pair[judgment.worse]]
    return None, None
