"""Normalization: scores in units of a reference set.

Mean and standard deviation of the set are measured once and kept with the model. `evaluate/calibration.py` measures the
calibration of probabilities.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from ...data.token_store import TokenStore
from ...errors import CheckpointError
from ...records import ScoredComparison


class Normalization(NamedTuple):
    """Distribution of a model's scores over a reference set.

    Attributes:
        set: name of the reference set.
        n: responses in the set, each counted once, however often judged.
        sha256: hash of the ids and token ids of the comparisons, see `store_hash`.
        mean, std: of the n scores; the standard deviation of the set itself (divided by n).
    """

    set: str
    n: int
    sha256: str
    mean: float
    std: float

    @classmethod
    def from_card(cls, value: Any) -> Self:
        """Read a normalization from a card: the inverse of `_asdict`.

        Raises:
            CheckpointError: the value was not written by `add_normalization`.
        """
        try:
            known = cls(**value)
            return known._replace(mean=float(known.mean), std=float(known.std))
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"the normalization of the model is broken: {error}", "copy the whole model folder again"
            ) from error

    def apply(self, rows: Sequence[ScoredComparison]) -> list[ScoredComparison]:
        """Return the rows with (score - mean) / std for each score.

        Raises:
            CheckpointError: all scores of the reference set were equal, and there is no unit.
        """
        # Written as a negation, so a standard deviation of NaN fails too.
        if not self.std > 0:
            raise CheckpointError(
                f"the scores of the reference set {self.set} have the standard deviation {self.std}",
                "leave normalize off: this model scores every response alike",
            )
        return [replace(row, scores=tuple((s - self.mean) / self.std for s in row.scores)) for row in rows]


def measure(name: str, store: TokenStore, rows: Sequence[ScoredComparison]) -> Normalization:
    """Measure the normalization of a reference set, from the scored rows of its store."""
    # float64: the unit is fixed for ever, and must not depend on rounding in a long float32 sum.
    scores = np.array([score for row in rows for score in row.scores], dtype=np.float64)
    return Normalization(name, len(scores), store_hash(store), float(scores.mean()), float(scores.std()))


def store_hash(store: TokenStore) -> str:
    """Compute SHA-256 of ids and token ids of every comparison, in order, however prefixes are shared."""
    digest = hashlib.sha256()
    for number, info in enumerate(store.info):
        # The separator and the lengths below keep fields apart: no two sets give the same bytes.
        digest.update(f"{info.id}\x1f".encode("utf-8", "surrogatepass"))
        for response in range(int(store.first_response[number + 1] - store.first_response[number])):
            # Little-endian on every machine, so the hash of a set is the same everywhere.
            ids = store.response_ids(number, response).astype("<u4")
            digest.update(len(ids).to_bytes(8, "little") + ids.tobytes())
    return digest.hexdigest()
