"""Figures of the scores: levels, margins, probabilities, AUROC."""

from typing import Any

import numpy as np

from .judgments import Floats, JudgmentTable
from .moments import deviation, mean


def reward_figures(decided: JudgmentTable, beta: float) -> dict[str, Any]:
    """Margins, mean scores and probabilities of decided judgments, under the names of `summarize`."""
    from scipy.special import expit

    probability = expit(beta * decided.margin)
    return {
        "margin": {**_spread(decided.margin), "negative_share": mean(decided.margin < 0.0)},
        "chosen_reward": mean(decided.chosen),
        "rejected_reward": mean(decided.rejected),
        "chosen_reward_std": deviation(decided.chosen),
        "rejected_reward_std": deviation(decided.rejected),
        "auroc": auroc(decided.chosen, decided.rejected),
        "mean_probability": mean(probability),
        "share_above_99": mean(probability > 0.99),
    }


def auroc(chosen: Floats, rejected: Floats) -> float | None:
    """Probability that a random score of `chosen` [m] exceeds a random score of `rejected` [n], across all prompts.

    With ranks(chosen) the sum of ranks of `chosen` among both sides,

        AUROC = (ranks(chosen) - m (m + 1) / 2) / (m n)    (Mann and Whitney 1947).

    Equal scores get the mean of their ranks, which counts ties as 1/2. None if a side is empty.
    """
    from scipy.stats import rankdata

    m, n = len(chosen), len(rejected)
    if not m or not n:
        return None
    # Ranks take n log n steps; comparing every chosen with every rejected score would take m n.
    ranks = rankdata(np.concatenate([chosen, rejected]))
    return float(ranks[:m].sum() - m * (m + 1) / 2) / (m * n)


def _spread(values: Floats) -> dict[str, float | None]:
    """Mean, standard deviation and three quantiles of `values` [n], None for n = 0."""
    if not len(values):
        return dict.fromkeys(("mean", "std", "p05", "p50", "p95"))
    p05, p50, p95 = np.quantile(np.sort(values), [0.05, 0.5, 0.95]).tolist()
    return {"mean": mean(values), "std": deviation(values), "p05": p05, "p50": p50, "p95": p95}
