"""Length bias: how much of the labels and of the scores response length alone explains."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..records import ScoredComparison
from .intervals import interval_dict
from .judgments import JudgmentTable, half_ties
from .moments import correlation, deviation, mean


def length_figures(rows: Sequence[ScoredComparison], decided: JudgmentTable) -> dict[str, Any]:
    """Length rules and correlations under the names of `summarize`. Lengths are counts of response tokens."""
    longer = half_ties(decided.extra_tokens)
    # The better rule is chosen on this very set, which can only favour the rule and never the model.
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
    """Choose the better of "longer wins" and "shorter wins" from the summary of a set; return name and accuracy.

    The accuracy is None if the summary has no length figures.
    """
    length = figures.get("length")
    if not length or length["value"] is None or length["value"] >= 0.5:
        return "longer wins", length
    low, high = 1 - length["high"], 1 - length["low"]
    return "shorter wins", {**length, "value": 1 - length["value"], "low": low, "high": high}


def _score_and_length(rows: Sequence[ScoredComparison]) -> float | None:
    """Correlation of score and length over judged responses, each counted once."""
    # The set comprehension drops repeats: a response in three judgments would otherwise weigh three times.
    judged = [(row, i) for row in rows for i in {i for j in row.judgments for i in (j.better, j.worse)}]
    scores = np.array([row.scores[i] for row, i in judged], dtype=np.float64)
    return correlation(scores, np.array([row.response_tokens[i] for row, i in judged], dtype=np.float64))
