"""AUROC over all prompts, with an interval clustered by prompt."""

from typing import Any

import numpy as np

from .intervals import PROPORTION, equal_ends, influence_interval
from .judgments import Floats, JudgmentTable
from .rewards import auroc


def auroc_interval(decided: JudgmentTable) -> dict[str, Any]:
    """AUROC of chosen against rejected scores with a clustered 95 % interval.

    With F the distribution functions of the two sides (ties one half), the placements F_rejected(chosen_i) and
    1 - F_chosen(rejected_i) of judgment i both have the mean AUROC. The influence of judgment i is the sum of the two
    minus twice the AUROC. Sums over clusters give the sandwich variance (Obuchowski 1997; DeLong et al. 1988 for one
    judgment a cluster), with t quantiles of clusters - 1 degrees of freedom. Without any influence, as in separated
    scores, the ends are those of equal values in `clustered_mean`.

    Args:
        decided: J judgments.

    Returns:
        `value`, `low`, `high`, `n`, `clusters`; None where undefined.

    Example:
        auroc_interval(table.select(table.decided))["low"]  # 0.58
    """
    n = len(decided.row)
    names, codes = np.unique(decided.prompt, return_inverse=True)
    groups = len(names)
    value = auroc(decided.chosen, decided.rejected)
    if value is None or groups < 2:
        low, high = (None, None) if value is None else PROPORTION
        return {"value": value, "low": low, "high": high, "n": n, "clusters": groups}
    above = _placement(decided.chosen, decided.rejected)
    below = 1.0 - _placement(decided.rejected, decided.chosen)
    influence = above + below - 2 * value
    if np.all(influence == 0):
        # Every chosen score above every rejected score, or all scores equal: the formula would claim certainty.
        low, high = equal_ends(value, groups, PROPORTION)
    else:
        _, low, high = influence_interval(value, np.bincount(codes.reshape(-1), weights=influence) / n)
    return {"value": value, "low": max(0.0, low), "high": min(1.0, high), "n": n, "clusters": groups}


def _placement(values: Floats, others: Floats) -> Floats:
    """Share of `others` [n] below each of `values` [m], equal values counting one half [m]."""
    ordered = np.sort(others)
    below, to = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    result: Floats = (below + to) / (2 * len(ordered))
    return result
