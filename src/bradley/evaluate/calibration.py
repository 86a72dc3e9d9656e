"""Calibration: agreement of predicted probabilities with observed accuracy, in bins of confidence.

This module measures and changes no score. The unit of a model's scores is set in `model/folder/normalization.py`.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .judgments import Floats, JudgmentTable, half_ties
from .moments import mean

EDGES = tuple(number / 20 for number in range(10, 21))
"""Edges of ten bins of equal width from 0.5 to 1. The preferred side of a judgment never has less than 0.5."""


def calibration(table: JudgmentTable, beta: float) -> dict[str, Any]:
    """Measure the expected calibration error of sigmoid(beta * d) over all judgments; d is the score difference.

    The confidence of a judgment is max(p, 1 - p) = sigmoid(beta * |d|), the probability of the side scoring higher.
    The label plays no part in the choice of the side. Labels that all say "the first is better" are then no special
    case.

    The correctness of a judgment is the probability given by the label to the side scoring higher. Hard labels give
    1 or 0, soft labels a value in between; labelled ties and equal scores give 1/2.

    Over ten bins of equal width on [0.5, 1], with n_b of the n judgments in bin b,

        ECE = sum_b n_b / n * |accuracy_b - confidence_b|    (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017),

    where accuracy_b and confidence_b are the means of the bin. Finite samples alone give an ECE above 0. For a
    calibrated model with accuracies a_b, expect about

        sum_b sqrt(2 / pi * n_b * a_b * (1 - a_b)) / n.

    Args:
        table: J judgments.
        beta: factor of score differences in the loss.

    Returns:
        `ece`, None without judgments, and `bins`: ten dicts of `low`, `high`, `n`, `confidence`, `accuracy`. The last
        two are None in an empty bin. A bin includes its lower end; the last bin includes 1 too.
    """
    from scipy.special import expit

    confidence: Floats = expit(beta * np.abs(table.margin))
    correct = correctness(table)
    # Searching the inner edges alone puts a confidence of exactly 1 into the last bin instead of an eleventh.
    bin_index = np.searchsorted(EDGES[1:-1], confidence, side="right")
    bins = [
        {"low": low, "high": high, **_bin(confidence[bin_index == number], correct[bin_index == number])}
        for number, (low, high) in enumerate(pairwise(EDGES))
    ]
    return {"ece": _expected_error(bins), "bins": bins}


def correctness(table: JudgmentTable) -> Floats:
    """Probability under the label [J] of the side scoring higher; 1/2 for equal scores."""
    right = half_ties(table.margin)
    result: Floats = right * table.probability + (1.0 - right) * (1.0 - table.probability)
    return result


def _bin(confidence: Floats, correct: Floats) -> dict[str, Any]:
    return {"n": len(correct), "confidence": mean(confidence), "accuracy": mean(correct)}


def _expected_error(bins: list[dict[str, Any]]) -> float | None:
    filled = [entry for entry in bins if entry["n"]]
    if not filled:
        return None
    error = math.fsum(entry["n"] * abs(entry["accuracy"] - entry["confidence"]) for entry in filled)
    return error / sum(int(entry["n"]) for entry in filled)
