"""Figures of comparisons with three or more responses: the order of all scores against the order of all labels.

The labelled order of the responses of a comparison is the number of decided judgments that a response wins minus the
number that the response loses (Copeland 1951). A full ranking gives exactly its own order; an incomplete set of
judgments the order of wins.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import ScoredComparison
from .intervals import interval_dict
from .judgments import Floats, half_ties

LEAST = 3
"""Fewest responses of a comparison that is ranked: with two, every figure repeats the accuracy."""


def ranking_figures(rows: Sequence[ScoredComparison]) -> dict[str, Any]:
    """Measure the order of the scores within each comparison of three or more responses.

    Every figure is a mean over comparisons, with a 95 % interval clustered by prompt:

    - `pair_accuracy`: share of response pairs with different labels that the scores order alike, equal scores 1/2.
      Comparisons count alike, whatever their number of pairs.
    - `top1`: 1 if the highest score belongs to a best response; with equal highest scores, the share of best responses
      among them.
    - `auc`: for comparisons with exactly two levels of labels, such as right and wrong answers, the probability that a
      good response outscores a bad response.
    - `kendall_tau_b`: Kendall's tau-b (Kendall 1945), ties on both sides corrected; undefined if all scores are equal.
    - `ndcg`: normalised discounted cumulative gain (Jaervelin and Kekaelaeinen 2002), gain = number of responses placed
      below in the labels, discount 1 / log2(place + 1), equal scores sharing their places.
    - `mrr`: mean reciprocal rank of the best response with the highest score; equal scores take the middle place.
    - `spread`: standard deviation of the scores within the comparison, in score units.

    Returns:
        The figures, `comparisons` measured, and `left_out`: comparisons of two responses, and comparisons without a
        decided judgment. Empty if no comparison has three responses.

    Example:
        ranking_figures(rows)["top1"]["value"]  # 0.62
    """
    groups: dict[int, list[ScoredComparison]] = defaultdict(list)
    for row in rows:
        groups[len(row.scores)].append(row)
    small = sum(len(group) for size, group in groups.items() if size < LEAST)
    if small == len(rows):
        return {}
    parts: dict[str, list[Floats]] = defaultdict(list)
    prompts: list[str] = []
    undecided = 0
    for size in sorted(size for size in groups if size >= LEAST):
        order = np.array([_wins(row) for row in groups[size]])
        kept = np.ptp(order, axis=1) > 0
        undecided += int((~kept).sum())
        scores = np.array([row.scores for row in groups[size]], dtype=np.float64)
        for name, values in _figures(scores[kept], order[kept]).items():
            parts[name].append(values)
        prompts += [row.prompt_key for row, keep in zip(groups[size], kept, strict=True) if keep]
    clusters = np.array(prompts, dtype=np.str_)
    return {
        "comparisons": len(prompts),
        "left_out": {"two_responses": small, "no_decided_judgment": undecided},
        **{name: _interval(name, np.concatenate(values), clusters) for name, values in parts.items()},
    }


def _wins(row: ScoredComparison) -> list[int]:
    """Wins minus losses of each response."""
    found = [0] * len(row.scores)
    for judgment in row.judgments:
        if not judgment.tie:
            found[judgment.better] += 1
            found[judgment.worse] -= 1
    return found


def _figures(scores: Floats, order: Floats) -> dict[str, Floats]:
    """Figures of N comparisons of K responses; `scores` and `order` [N, K], undefined values nan."""
    # Pairs of responses [N, K, K]: the sign of the first minus the second.
    label = np.sign(order[:, :, None] - order[:, None, :])
    score = np.sign(scores[:, :, None] - scores[:, None, :])
    above = label > 0
    best = order == order.max(axis=1, keepdims=True)
    top = scores == scores.max(axis=1, keepdims=True)
    two_levels = np.array([len(np.unique(one)) == 2 for one in order], dtype=bool)
    pairs = (half_ties(score) * above).sum((1, 2)) / above.sum((1, 2))
    return {
        "pair_accuracy": pairs,
        "top1": (top & best).sum(1) / top.sum(1),
        "auc": np.where(two_levels, pairs, np.nan),
        "kendall_tau_b": _tau(label, score),
        "ndcg": _ndcg(score, above.sum(2).astype(np.float64)),
        "mrr": _reciprocal_rank(score, best, scores),
        "spread": scores.std(axis=1),
    }


def _tau(label: Floats, score: Floats) -> Floats:
    """Kendall's tau-b from signs [N, K, K]."""
    both = np.sqrt((label != 0).sum((1, 2)) * (score != 0).sum((1, 2)).astype(np.float64))
    result: Floats = np.divide((label * score).sum((1, 2)), both, out=np.full(len(both), np.nan), where=both > 0)
    return result


def _ndcg(score: Floats, gain: Floats) -> Floats:
    """NDCG from score signs [N, K, K] and gains [N, K]."""
    number = gain.shape[1]
    discount = 1 / np.log2(np.arange(number) + 2)
    total = np.concatenate([[0.0], np.cumsum(discount)])
    first, equal = (score < 0).sum(2), (score == 0).sum(2)
    # Responses with equal scores fill several places, and each gets the mean discount of these places.
    shared = (total[first + equal] - total[first]) / equal
    ideal = -np.sort(-gain, axis=1) @ discount
    result: Floats = (gain * shared).sum(1) / ideal
    return result


def _reciprocal_rank(score: Floats, best: NDArray[np.bool_], scores: Floats) -> Floats:
    """Reciprocal rank of the best response with the highest score."""
    place = np.where(best, scores, -np.inf).argmax(1)
    signs = score[np.arange(len(place)), place]
    # The response itself is equal to itself, and another best response of the same score is no rival.
    others = ((signs == 0) & ~best).sum(1)
    result: Floats = 1 / (1 + (signs < 0).sum(1) + others / 2)
    return result


def _interval(name: str, values: Floats, clusters: Any) -> dict[str, Any]:
    known = np.isfinite(values)
    bounds = {"kendall_tau_b": (-1.0, 1.0), "spread": (0.0, math.inf)}.get(name, (0.0, 1.0))
    return interval_dict(values[known], clusters[known], bounds)
