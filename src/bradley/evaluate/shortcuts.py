"""Shortcuts: rules on the surface of two responses, and how far labels and scores follow them.

A shortcut names one response of a pair by a feature of the texts alone, such as the longer response. `SHORTCUTS` lists
the features. Below, s is the feature of the better response minus the feature of the worse response, and d the score of
the better response minus the score of the worse response, over decided judgments. The keys of `shortcuts`:

- `judgments`, `prompts`, `unscored`: decided judgments, their prompts, and comparisons without scores.
- `unit`: unit of lengths, `tokens` or `words`.
- `rules`: {shortcut: figures}, with
    - `alone`: accuracy of "more of the feature wins": mean of 1 for s > 0, 0 for s < 0, 1/2 for s = 0.
    - `equal_share`: share of s = 0.
    - `agrees`, `disagrees`: the model's accuracy where s > 0 and where s < 0, that is, where the shortcut names the
      better and the worse response.
    - `gap`: `agrees` minus `disagrees`; about 0 for a model blind to the feature, 1 for a model that is the feature.
- `slope`: change of the score for 100 more tokens, between responses to one prompt; `score_deviation` is the standard
  deviation of scores around the mean of their prompt.
- `length_matched`: the model's accuracy on pairs whose lengths differ by at most `MATCHED` of the longer response, with
  the `share` of such pairs.

Each accuracy has `value`, `low`, `high` (95 %, clustered by prompt), `n`, `clusters` and `reason`. A figure without
data is None, and `reason` says why.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Comparison, ScoredComparison
from .intervals import PROPORTION, clustered_mean, interval_figures
from .judgments import Floats, half_ties
from .logit import cluster_sums, influence_dict, undefined
from .matching import FeatureTable, Responses, distinct, table_of
from .moments import mean

SHORTCUTS = {
    "longer": "length",
    "more_list_items": "list_items",
    "more_headers": "headers",
    "more_bold": "bold",
    "more_code_blocks": "code_blocks",
    "refuses": "refusal",
    "more_overlap": "overlap",
}
"""Name of each shortcut, and the feature of which the named response has more."""
MATCHED = 0.10
"""Largest difference of two lengths that count as matched, as a share of the longer."""
SLOPE_UNIT = 100.0
"""Tokens, or words, in the unit of the slope."""


def shortcuts(
    rows: Sequence[ScoredComparison] | FeatureTable, comparisons: Sequence[Comparison] | None = None
) -> dict[str, Any]:
    """Compute what each shortcut predicts, and the model's accuracy where the shortcut is right and where it is wrong.

    Rows and comparisons are matched by (source, id). `help("bradley.evaluate.shortcuts")` explains every key. The
    order of the rows, and of the responses within a row, changes nothing.

    Example:
        figures = shortcuts(rows, comparisons)
        figures["rules"]["longer"]["gap"]["value"]

    Args:
        rows: scored comparisons, or a table from `match` with texts and scores.
        comparisons: the comparisons that were scored; None with a table.

    Returns:
        A dict of plain values, ready for JSON.

    Raises:
        DataError: rows that do not match the comparisons; see `match`.
    """
    table = table_of(rows, comparisons)
    decided = table.judgments.decided
    cluster = table.cluster[decided]
    correct = half_ties(table.judgments.margin[decided])
    return {
        "judgments": len(cluster),
        "prompts": distinct(cluster),
        "unscored": table.unscored,
        "unit": table.unit,
        "rules": {
            name: _rule(table.difference(feature)[decided], correct, cluster) for name, feature in SHORTCUTS.items()
        },
        "slope": _slope(table.responses),
        "length_matched": _length_matched(table, decided, correct, cluster),
    }


def _rule(shortcut: Floats, correct: Floats, cluster: NDArray[np.intp]) -> dict[str, Any]:
    """Figures of one shortcut from the feature differences [J]."""
    agrees, disagrees = shortcut > 0.0, shortcut < 0.0
    return {
        "alone": interval_figures(half_ties(shortcut), cluster),
        "equal_share": mean(shortcut == 0.0),
        "agrees": interval_figures(correct[agrees], cluster[agrees], empty="the shortcut is right nowhere"),
        "disagrees": interval_figures(correct[disagrees], cluster[disagrees], empty="the shortcut is wrong nowhere"),
        "gap": clustered_gap(correct, agrees, disagrees, cluster),
    }


def clustered_gap(
    values: Floats, first: NDArray[np.bool_], second: NDArray[np.bool_], cluster: NDArray[np.intp]
) -> dict[str, Any]:
    """Mean of `values` [n] in 0..1 over the mask `first` minus the mean over `second`, with a clustered interval.

    Clusters reach into both groups, and the influence of a cluster on the gap counts both:

        influence_g = sum over first of (value - mean_1) / n_1 - sum over second of (value - mean_2) / n_2

    over the clusters of either group (`influence_interval`). Values all on one bound have no spread to estimate from:
    the interval then joins the intervals of both means (Newcombe 1998, method 10, as if the groups were independent).
    """
    if not first.any() or not second.any():
        return undefined("no pairs in one of the two groups")
    means = [float(values[group].mean()) for group in (first, second)]
    gap = means[0] - means[1]
    if any(np.ptp(values[group]) == 0.0 and means[i] in PROPORTION for i, group in enumerate((first, second))):
        return _joined(gap, *(clustered_mean(values[group], cluster[group], PROPORTION) for group in (first, second)))
    either = first | second
    away = np.where(first, (values - means[0]) / first.sum(), -(values - means[1]) / second.sum())[either]
    _, codes = np.unique(cluster[either], return_inverse=True)
    figures = influence_dict(gap, cluster_sums(away[:, None], codes, int(codes.max()) + 1)[:, 0])
    if figures["se"] is None:
        return figures
    return {**figures, "low": max(-1.0, figures["low"]), "high": min(1.0, figures["high"])}


def _joined(gap: float, first: Any, second: Any) -> dict[str, Any]:
    """Newcombe's interval of a difference from the intervals of two means."""
    low = gap - math.hypot(first.value - first.low, second.high - second.value)
    high = gap + math.hypot(first.high - first.value, second.value - second.low)
    return {"value": gap, "se": None, "low": max(-1.0, low), "high": min(1.0, high), "reason": None}


def _slope(responses: Responses) -> dict[str, Any]:
    """Least-squares slope of score on length with a level for each prompt, and the interval clustered by prompt.

    With x and y the length (in `SLOPE_UNIT`) and the score minus the means of the prompt, slope = sum xy / sum x^2 and
    influence_g = sum over g of x (y - slope x) / sum x^2.
    """
    prompts, codes = np.unique(responses.prompt, return_inverse=True)
    both = np.stack([responses.length, responses.score], axis=1)
    count = np.bincount(codes, minlength=len(prompts))[:, None]
    x, y = (both - (cluster_sums(both, codes, len(prompts)) / np.maximum(count, 1))[codes]).T
    deviation = float(np.sqrt(np.mean(y**2))) if len(y) else None
    # Prompts whose responses are all of one length say nothing of the slope, and are no clusters of its error.
    tells = np.bincount(codes, weights=x**2, minlength=len(prompts)) > 0.0
    known = {"n": int(tells[codes].sum()), "clusters": int(tells.sum()), "score_deviation": deviation}
    if not tells.any():
        return {**undefined("no prompt with responses of two lengths"), **known}
    x = x / SLOPE_UNIT
    value = float(x @ y) / float(x @ x)
    influence = np.bincount(codes, weights=x * (y - value * x), minlength=len(prompts))[tells] / float(x @ x)
    return {**influence_dict(value, influence), **known}


def _length_matched(
    table: FeatureTable, decided: NDArray[np.bool_], correct: Floats, cluster: NDArray[np.intp]
) -> dict[str, Any]:
    """Accuracy on the pairs of nearly equal length."""
    better, worse = table.better["length"][decided], table.worse["length"][decided]
    near = np.abs(better - worse) <= MATCHED * np.maximum(better, worse)
    return {
        **interval_figures(correct[near], cluster[near], empty="no pair of nearly equal length"),
        "share": mean(near),
    }
