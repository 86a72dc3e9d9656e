"""Whether stated probabilities come true: the reliability of the preferred side, in bins."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .judgments import Floats, JudgmentTable, half_ties
from .moments import mean

EDGES = tuple(number / 20 for number in range(10, 21))
"""Ten bins of equal width from 0.5, below which no side is preferred, to 1."""


def calibration(table: JudgmentTable, beta: float) -> dict[str, Any]:
    """Expected calibration error of sigmoid(beta * d), d the score difference, over all judgments of `table`.

    The confidence of a judgment is max(p, 1 - p) = sigmoid(beta * |d|), that of the side which scores higher, whichever
    the label names: then a set whose labels are all "the first is better" is no special case. Its correctness is the
    probability that the label gives that side: 1 or 0 for a hard label, in between for a soft one, 1/2 for a labelled
    tie and for equal scores. Over ten bins of equal width on [0.5, 1], with n_b of the n judgments in bin b,

        ECE = sum_b n_b / n * |accuracy_b - confidence_b|    (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017),

    where accuracy_b and confidence_b are the means of the bin. Finite samples alone give an ECE above 0: about
    sum_b sqrt(2 / pi * n_b * a_b * (1 - a_b)) / n for a calibrated model with accuracies a_b.

    Returns:
        `ece`, None where there is no judgment, and `bins`: ten dicts of `low`, `high`, `n`, `confidence`, `accuracy`,
        the last two None in an empty bin. A bin holds its lower end; the last one holds 1 too.
    """
    from scipy.special import expit

    confidence: Floats = expit(beta * np.abs(table.margin))
    correct = _correctness(table)
    place = np.searchsorted(EDGES[1:-1], confidence, side="right")
    bins = [
        {"low": low, "high": high, **_bin(confidence[place == number], correct[place == number])}
        for number, (low, high) in enumerate(pairwise(EDGES))
    ]
    return {"ece": _expected_error(bins), "bins": bins}


def _correctness(table: JudgmentTable) -> Floats:
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
