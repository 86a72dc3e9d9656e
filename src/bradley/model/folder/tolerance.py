"""One check of scores against a card, and how much of a difference passes as rounding."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .card import BFLOAT16, FLOAT32

UNIT = {FLOAT32: 1e-5, BFLOAT16: 4 * 2**-8}
"""What passes as rounding, as a share of the largest score, before the layers of the model are counted."""


class Check(NamedTuple):
    """How far the scores of one way to run a model are from those in its card.

    Attributes:
        name: the way: library, dtype, rows at a time, side of the padding.
        largest: the largest difference over the conversations of the sample; of token ids, the number of conversations
            that have others.
        allowed: what rounding explains.
    """

    name: str
    largest: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the difference is a number, and small enough."""
        return self.largest <= self.allowed

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "FAILED"
        return f"{verdict:<6}  {self.name:<68}  largest difference {self.largest:.1e}, allowed {self.allowed:.1e}"


def compare(name: str, scores: Sequence[float], wanted: Sequence[float], dtype: str, layers: int) -> Check:
    """One check of scores against those of the card.

    Rounding errors are as large as the terms of a score, which by the draw of the head are of the size of 1, so that
    scores below 1 count as 1. In float32 1e-5 of the largest score is allowed, as of any other pair of exact
    implementations. bfloat16 has 8 significant bits, so that one rounding moves a number by up to 2^-8 of it; every
    layer rounds the sum that it adds to twice and the score is rounded once, and errors of random sign add up as the
    root of their number: 4 * 2^-8 * sqrt(2 * layers + 1), the 4 for the rounding inside the layers.
    """
    rounded = math.sqrt(2 * layers + 1) if dtype == BFLOAT16 else 1.0
    largest = max((abs(a - b) for a, b in zip(scores, wanted, strict=True)), key=_nan_last)
    return Check(name, largest, UNIT[dtype] * rounded * max(1.0, *map(abs, wanted)))


def _nan_last(difference: float) -> float:
    return math.inf if math.isnan(difference) else difference


def compare_ids(name: str, found: Sequence[list[int]], rows: Sequence[dict[str, Any]]) -> Check:
    """Whether token ids are those of the card: the number of conversations that have others."""
    return Check(name, float(sum(ids != row["ids"] for ids, row in zip(found, rows, strict=True))), 0.0)


class Sample:
    """The parity sample of a card: token ids, and the scores to which a dtype is held.

    Arithmetic in bfloat16 rounds otherwise in every library, so float32 is held to what float32 gave at the end of
    training, where the card says it.
    """

    def __init__(self, card: dict[str, Any], layers: int) -> None:
        parity = card["parity"]
        self.rows: list[dict[str, Any]] = parity["rows"]
        self.ids: list[list[int]] = [row["ids"] for row in self.rows]
        self.layers = layers
        self.exact = parity["compute"] == FLOAT32 or all(FLOAT32 in row for row in self.rows)

    def check(self, name: str, scores: Sequence[float], dtype: str, *, same_device: bool = True) -> Check:
        """Hold scores that were computed in `dtype` to the card.

        Args:
            same_device: whether on a device of the kind of that of the card; matrix products of a GPU and of a CPU add
                up otherwise, and may differ by more than 1e-5 in a deep model.
        """
        wanted = [row.get(FLOAT32, row["score"]) if dtype == FLOAT32 else row["score"] for row in self.rows]
        return compare(name, scores, wanted, dtype if self.exact and same_device else BFLOAT16, self.layers)
