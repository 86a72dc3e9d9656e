"""The tolerance of scores: a check of scores against a card, and the difference accepted as rounding."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .card import BFLOAT16, FLOAT32

UNIT = {FLOAT32: 1e-5, BFLOAT16: 4 * 2**-8}
"""Difference accepted as rounding, as a share of the largest score, before the layers of the model are counted."""


class Check(NamedTuple):
    """Result of a check: the distance between scores of a library or server and the scores in the card.

    Attributes:
        name: library, dtype, rows at a time, and side of the padding.
        largest: largest difference over the conversations of the sample; for token ids, the number of conversations
            with other ids.
        allowed: difference explained by rounding.
    """

    name: str
    largest: float
    allowed: float

    @property
    def passed(self) -> bool:
        """True if the difference is a number, and small enough."""
        return self.largest <= self.allowed

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "FAILED"
        return f"{verdict:<6}  {self.name:<68}  largest difference {self.largest:.1e}, allowed {self.allowed:.1e}"


class Sample:
    """The parity sample of a card: token ids, and reference scores for each dtype.

    Arithmetic in bfloat16 rounds differently in every library. Scores in float32 are therefore held to the float32
    scores at the end of training, if the card has float32 scores.
    """

    def __init__(self, card: dict[str, Any], layers: int) -> None:
        parity = card["parity"]
        self.rows: list[dict[str, Any]] = parity["rows"]
        self.ids: list[list[int]] = [row["ids"] for row in self.rows]
        self.layers = layers
        self.exact = parity["compute"] == FLOAT32 or all(FLOAT32 in row for row in self.rows)

    def check(self, name: str, scores: Sequence[float], dtype: str, *, same_device: bool = True) -> Check:
        """Check scores computed in `dtype` against the card.

        Args:
            same_device: True on a device of the card's kind. Matrix products of a GPU and a CPU add in different
                orders, and may differ by more than 1e-5 in a deep model.
        """
        wanted = [row.get(FLOAT32, row["score"]) if dtype == FLOAT32 else row["score"] for row in self.rows]
        # Without float32 scores, or on another kind of device, only the wider share of bfloat16 is justified.
        return compare(name, scores, wanted, dtype if self.exact and same_device else BFLOAT16, self.layers)


def compare(name: str, scores: Sequence[float], wanted: Sequence[float], dtype: str, layers: int) -> Check:
    """Check scores against the scores of a card.

    Rounding errors are as large as the terms of a score, and by the draw of the head these terms are near 1. Scores
    below 1 therefore count as 1. In float32, 1e-5 of the largest score is allowed, as for any other pair of exact
    implementations.

    A bfloat16 number has 8 significant bits, and a rounding moves the number by up to 2^-8 of its size. Every layer
    rounds the running sum twice, and the score is rounded once. Errors of random sign add up as the root of their
    number: 4 * 2^-8 * sqrt(2 * layers + 1). The 4 is for the rounding inside the layers.

    Args:
        dtype: key of `UNIT`, the arithmetic with the larger rounding.
        layers: layers of the model.
    """
    rounded = math.sqrt(2 * layers + 1) if dtype == BFLOAT16 else 1.0
    # `max` ignores a NaN in some orders; a NaN must win, and fail the check.
    largest = max((abs(a - b) for a, b in zip(scores, wanted, strict=True)), key=_nan_last)
    return Check(name, largest, UNIT[dtype] * rounded * max(1.0, *map(abs, wanted)))


def compare_ids(name: str, found: Sequence[list[int]], rows: Sequence[dict[str, Any]]) -> Check:
    """Check token ids against the ids of the card, and count the conversations with other ids."""
    return Check(name, float(sum(ids != row["ids"] for ids, row in zip(found, rows, strict=True))), 0.0)


def _nan_last(difference: float) -> float:
    return math.inf if math.isnan(difference) else difference
