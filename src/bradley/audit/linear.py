"""Linear reward model on hashed words, cross-fitted: the score of every judgment comes from other prompts.

Features of a response: its words, its two words in a row, and its words that the prompt holds too, each hashed into
`BUCKETS` columns and counted once. The features of a pair are those of the better response minus those of the worse
response, divided by the square root of their number plus 1. One more feature is the logarithm of the ratio of words.
With x the features, y the label and w the weights of a fold, the fit minimises

    sum over judgments of other folds of nll(w x, y) + RIDGE / 2 |w|^2,

all folds at once by L-BFGS. The features lie in a temporary file, and a pass reads them in chunks.
"""

import tempfile
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..common.signals import check as check_stopping
from ..errors import DiskError
from ..evaluate.folds import FOLDS, cluster_folds
from ..evaluate.judgments import Floats, negative_log_likelihood
from ..records import Comparison
from .hashing import FACTORS, WordHashes, combined

BITS = 16
BUCKETS = 2**BITS
RIDGE = 1.0
CHUNK = 8192
"""Judgments of a chunk."""
MOST_PASSES = 40
"""Most passes over the features in a fit."""
WORD, TWO_WORDS, PROMPT_WORD = np.uint64(1), np.uint64(2), np.uint64(3)
"""Kinds of features: equal hashes of different kinds are different features."""


class PairFeatures:
    """Features of decided judgments, fed row by row, in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="bradley-")  # noqa: SIM115 open as long as the features live
        self._buffer: list[np.ndarray] = []
        self._ends: list[int] = [0]
        self._marks = np.zeros(BUCKETS, dtype=bool)
        self.plus, self.minus = array("i"), array("i")
        self.length, self.probability = array("d"), array("d")

    def __len__(self) -> int:
        return len(self.plus)

    def add(self, comparison: Comparison, words: WordHashes) -> None:
        """Add the decided judgments of a row.

        Raises:
            DiskError: the disk of temporary files is full.
        """
        judged = [judgment for judgment in comparison.judgments if not judgment.tie]
        if not judged:
            return
        asked = np.unique(np.concatenate([words(message.content) for message in comparison.prompt] or [_NONE]))
        texts = [words(response.text) for response in comparison.responses]
        features = [features_of(text, asked) for text in texts]
        for judgment in judged:
            better, worse = features[judgment.better], features[judgment.worse]
            plus, minus = self._without(better, worse), self._without(worse, better)
            self._buffer += [plus, minus]
            self.plus.append(len(plus))
            self.minus.append(len(minus))
            self.length.append(np.log((1 + len(texts[judgment.better])) / (1 + len(texts[judgment.worse]))))
            self.probability.append(judgment.probability)
            if len(self) % CHUNK == 0:
                self._flush()

    def _without(self, columns: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the columns that are not among the others."""
        self._marks[others] = True
        left: np.ndarray = columns[~self._marks[columns]]
        self._marks[others] = False
        return left

    def finish(self) -> None:
        """Write the last chunk."""
        if self._buffer:
            self._flush()

    def chunks(self) -> Iterator[tuple[slice, Any]]:
        """Yield (judgments, sparse matrix of their words) for each chunk.

        Raises:
            StopRequested: the process was asked to stop.
        """
        from scipy.sparse import csr_matrix

        plus, minus = np.asarray(self.plus), np.asarray(self.minus)
        for number, start in enumerate(range(0, len(self), CHUNK)):
            check_stopping()
            part = slice(start, min(start + CHUNK, len(self)))
            self._file.seek(self._ends[number])
            raw = self._file.read(self._ends[number + 1] - self._ends[number])
            columns = np.frombuffer(raw, dtype=np.uint16).astype(np.int32)
            both = np.stack([plus[part], minus[part]], axis=1)
            counts = both.sum(axis=1)
            signs = np.repeat(np.tile([1.0, -1.0], len(both)), both.reshape(-1))
            values = signs * np.repeat(1.0 / np.sqrt(counts + 1.0), counts)
            ends = np.concatenate([[0], np.cumsum(counts)])
            yield part, csr_matrix((values, columns, ends), shape=(len(both), BUCKETS))

    def _flush(self) -> None:
        raw = np.concatenate(self._buffer).astype(np.uint16).tobytes()
        try:
            self._file.write(raw)
            self._file.flush()
        except OSError as error:
            raise DiskError(
                f"the features do not fit on the disk of temporary files ({tempfile.gettempdir()}): {error.strerror}",
                "free some space there, or set TMPDIR to a larger disk",
            ) from error
        self._ends.append(self._ends[-1] + len(raw))
        self._buffer = []


_NONE = np.zeros(0, dtype=np.uint64)


def features_of(text: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Columns of the features of a response, sorted, each once.

    Args:
        text: hashes of the words of the response, in order.
        asked: hashes of the distinct words of the prompt.
    """
    words = np.unique(text)
    known = np.intersect1d(words, asked, assume_unique=True)
    # One call of the hash for all kinds: a call costs more than its numbers.
    first = np.concatenate([words, text[:-1], known])
    second = np.concatenate([words, text[1:], known])
    kinds = np.repeat([WORD, TWO_WORDS, PROMPT_WORD], [len(words), max(0, len(text) - 1), len(known)])
    # The upper bits of a product depend on all bits of its factor.
    return np.unique((combined(kinds, first, second) * FACTORS[0]) >> np.uint64(64 - BITS))


def cross_fitted(
    features: PairFeatures, clusters: np.ndarray, seed: int, advance: Callable[[], None] = lambda: None
) -> Floats:
    """Score difference of each judgment [J] by a model that has seen no judgment of the same prompt.

    Args:
        features: J judgments.
        clusters: [J] prompt of each judgment.
        seed: seed of the folds.
        advance: called after each pass over the features.
    """
    from scipy.optimize import minimize

    fold = cluster_folds(clusters, seed=seed)
    probability, length = np.asarray(features.probability), np.asarray(features.length)
    training = fold[:, None] != np.arange(FOLDS)

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(BUCKETS + 1, FOLDS)
        value, gradient = 0.5 * RIDGE * float(flat @ flat), RIDGE * weights
        for part, rows in features.chunks():
            label, size = probability[part][:, None], length[part]
            logit = rows @ weights[:-1] + np.outer(size, weights[-1])
            value += float((negative_log_likelihood(logit, label) * training[part]).sum())
            away = (_sigmoid(logit) - label) * training[part]
            gradient[:-1] += rows.T @ away
            gradient[-1] += size @ away
        advance()
        return value, gradient.reshape(-1)

    start = np.zeros((BUCKETS + 1) * FOLDS)
    options = {"maxfun": MOST_PASSES, "maxiter": MOST_PASSES, "ftol": 1e-6}
    weights = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x.reshape(BUCKETS + 1, FOLDS)
    margin = np.zeros(len(features))
    for part, rows in features.chunks():
        logit = rows @ weights[:-1] + np.outer(length[part], weights[-1])
        margin[part] = logit[np.arange(len(logit)), fold[part]]
    return margin


def _sigmoid(logit: Floats) -> Floats:
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * logit))
    return result
