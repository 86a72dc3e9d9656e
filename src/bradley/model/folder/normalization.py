"""Scores in units of a reference set: its mean and standard deviation, measured once, kept with the model."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from ...data.token_store import TokenStore
from ...errors import CheckpointError
from ...records import ScoredComparison


class Normalization(NamedTuple):
    """What scores of a model are like over a reference set.

    Attributes:
        set: name of the reference set.
        n: responses in it, each counted once however often it is judged.
        sha256: of the ids and token ids of its comparisons.
        mean, std: of the n scores; the standard deviation is that of the set itself (divided by n).
    """

    set: str
    n: int
    sha256: str
    mean: float
    std: float

    @classmethod
    def from_card(cls, value: Any) -> Self:
        """The inverse of `_asdict`.

        Raises:
            CheckpointError: not what `add_normalization` writes.
        """
        try:
            known = cls(**value)
            return known._replace(mean=float(known.mean), std=float(known.std))
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"the normalization of the model is broken: {error}", "copy the whole model folder again"
            ) from error

    def apply(self, rows: Sequence[ScoredComparison]) -> list[ScoredComparison]:
        """The rows with (score - mean) / std for each score.

        Raises:
            CheckpointError: every score of the reference set was the same, so that there is no unit.
        """
        if not self.std > 0:
            raise CheckpointError(
                f"the scores of the reference set {self.set} have the standard deviation {self.std}",
                "leave normalize off: this model scores every response alike",
            )
        return [replace(row, scores=tuple((s - self.mean) / self.std for s in row.scores)) for row in rows]


def measure(name: str, store: TokenStore, rows: Sequence[ScoredComparison]) -> Normalization:
    """The normalization of a reference set from the scored rows of its store."""
    scores = np.array([score for row in rows for score in row.scores], dtype=np.float64)
    return Normalization(name, len(scores), store_hash(store), float(scores.mean()), float(scores.std()))


def store_hash(store: TokenStore) -> str:
    """SHA-256 of the ids and the token ids of every comparison, in order; how prefixes are shared does not matter."""
    digest = hashlib.sha256()
    for number, info in enumerate(store.info):
        digest.update(f"{info.id}\x1f".encode("utf-8", "surrogatepass"))
        for response in range(int(store.first_response[number + 1] - store.first_response[number])):
            ids = store.response_ids(number, response).astype("<u4")
            digest.update(len(ids).to_bytes(8, "little") + ids.tobytes())
    return digest.hexdigest()
