"""What length alone explains: of the labels, and of the scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..records import ScoredComparison
from .intervals import interval_dict
from .judgments import JudgmentTable, half_ties
from .moments import correlation, deviation, mean


def length_figures(rows: Sequence[ScoredComparison], decided: JudgmentTable) -> dict[str, Any]:
    """Length rules and correlations, by the names that `summarize` gives them. Lengths are response tokens."""
    longer = half_ties(decided.extra_tokens)
    rule = longer if (mean(longer) or 0.0) >= 0.5 else 1.0 - longer
    gain = half_ties(decided.margin) - rule
    return {
        "length": interval_dict(longer, decided.prompt),
        "above_length": interval_dict(gain, decided.prompt, bounds=(-1.0, 1.0)),
        "length_correlation": _score_and_length(rows),
        "margin_length_correlation": correlation(decided.margin, decided.extra_tokens),
        "length_difference": {"mean": mean(decided.extra_tokens), "std": deviation(decided.extra_tokens)},
    }


def length_rule(figures: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The better of "longer wins" and "shorter wins" on a set, from its summary, and its accuracy."""
    length = figures.get("length")
    if not length or length["value"] is None or length["value"] >= 0.5:
        return "longer wins", length
    low, high = 1 - length["high"], 1 - length["low"]
    return "shorter wins", {**length, "value": 1 - length["value"], "low": low, "high": high}


def _score_and_length(rows: Sequence[ScoredComparison]) -> float | None:
    """Correlation of score and length over responses that a judgment names, each counted once."""
    judged = [(row, i) for row in rows for i in {i for j in row.judgments for i in (j.better, j.worse)}]
    scores = np.array([row.scores[i] for row, i in judged], dtype=np.float64)
    return correlation(scores, np.array([row.response_tokens[i] for row, i in judged], dtype=np.float64))
