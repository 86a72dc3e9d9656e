"""Inference: comparisons in, scores out, by the same rendering, packing and model code as training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from ..common import signals
from ..data.micro_batches import check_limit, cut_all
from ..data.token_store import TokenStore
from ..errors import CheckpointError
from ..model.cost import limit_for, load_on
from ..model.engine.batch import collate
from ..model.folder.normalization import Normalization
from ..model.folder.save_load import Loaded
from ..model.reward import ScoreModel
from ..records import ScoredComparison

NO_COMPARISONS = np.zeros(0, dtype=np.int64)
"""Comparison numbers of an empty micro-batch."""
MIXER = np.uint64(0x9E3779B97F4A7C15)
"""Odd factor that spreads numbers over 64 bits."""


def normalization_of(loaded: Loaded) -> Normalization:
    """Normalization of a model's scores: mean and standard deviation over the reference set.

    Raises:
        CheckpointError: the model folder has no normalization.
    """
    if loaded.normalization is None:
        raise CheckpointError(
            "normalize = True, but the model has no normalization: it was trained without an evaluation set",
            "leave normalize off, or train with data.valid",
        )
    return loaded.normalization


class Sharing(Protocol):
    """Division of M micro-batches among processes."""

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Numbers of the micro-batches to run in this process; -1 for an empty micro-batch that must run too.

        Args:
            cost: [M] cost of each micro-batch.
        """

    def join(self, scored: Sequence[tuple[int, list[float]]]) -> Mapping[int, list[float]]:
        """Scores of all micro-batches by number, given the scores from this process."""


class Alone:
    """Division for a single process: this process runs every micro-batch."""

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Numbers of all micro-batches; raises `StopRequested` after a stop request."""
        for number in range(len(cost)):
            signals.check()
            yield number

    def join(self, scored: Sequence[tuple[int, list[float]]]) -> Mapping[int, list[float]]:
        """Scores by number, unchanged: no other process holds any."""
        return dict(scored)


def score_store(
    model: ScoreModel, store: TokenStore, token_budget: int, sharing: Sharing | None = None
) -> list[ScoredComparison]:
    """Score every comparison of a store; conversations with equal token ids get one score, equal to the bit.

    Args:
        token_budget: maximum tokens per micro-batch, counted as the model's engine runs them (0: suitable for the
            device).
        sharing: division of the work among processes; every process gets every row, equal to the rows of a single
            process.

    Returns:
        A row for each comparison, in the store's order.

    Raises:
        DataError: a single comparison exceeds the budget.
        StopRequested: the process was asked to stop.
    """
    load, limit = load_on(model, store), limit_for(model, token_budget)._replace(name="token_budget")
    check_limit(store, load, limit)
    # float32 is the dtype of the model's scores, whatever dtype the backbone computes in.
    scores = np.empty(int(store.first_response[-1]), dtype=np.float32)
    first = first_equals(store)
    # A comparison whose conversations all stand in earlier comparisons takes their scores.
    needed = np.logical_or.reduceat(first == np.arange(len(first)), store.first_response[:-1])
    sharing, batches = sharing or Alone(), cut_all(load, limit, np.flatnonzero(needed))
    scored = _scored(model, store, batches, sharing.numbers(np.array([load.cost[batch].sum() for batch in batches])))
    # Micro-batches group comparisons by length: write each score to the place in the store's order.
    for number, found in sharing.join(scored).items():
        starts, stops = store.first_response[batches[number]], store.first_response[batches[number] + 1]
        scores[np.concatenate([np.arange(*span) for span in zip(starts, stops, strict=True)])] = found
    # Kernels round by the shape of a batch and the place in a row: only a copy of the number makes a tie exact.
    return _rows(store, scores[first])


def first_equals(store: TokenStore) -> np.ndarray:
    """Find the first response of a store with the token ids of each response, prompt included: [R] numbers."""
    sizes = np.diff(store.segments)
    sums = np.add.reduceat(store.tokens, store.segments[:-1], dtype=np.uint64)
    sums[sizes == 0] = 0  # for an empty prefix `reduceat` takes a token of the next segment
    owner = np.repeat(np.arange(len(store)), np.diff(store.first_response))
    parts = [store.first_segment[owner] + numbers for numbers in (store.prefix, store.own)]
    # Equal ids have equal lengths and sums. Few others do, and only these are compared token by token.
    keys = sum(sums[part] for part in parts) * MIXER + store.full_lengths().astype(np.uint64)
    _, kind, count = np.unique(keys, return_inverse=True, return_counts=True)
    first, seen = np.arange(len(owner)), dict[bytes, int]()
    for number in np.flatnonzero(count[kind] > 1).tolist():
        comparison = int(owner[number])
        ids = store.response_ids(comparison, number - int(store.first_response[comparison]))
        first[number] = seen.setdefault(ids.tobytes(), number)
    return first


def _scored(
    model: ScoreModel, store: TokenStore, pieces: Sequence[np.ndarray], numbers: Iterator[int]
) -> list[tuple[int, list[float]]]:
    """Run micro-batches in evaluation mode.

    Returns:
        (number, scores of the responses) of each micro-batch; an empty micro-batch, -1, runs without a result.
    """
    weights = store.judgment_weights("pair")
    was_training, found = model.training, []
    model.eval()
    try:
        with torch.no_grad():
            for number in numbers:
                # Processes gather sharded weights together: a process without work joins with an empty batch.
                comparisons = pieces[number] if number >= 0 else NO_COMPARISONS
                scores = model(collate(store, comparisons, weights).to(model.device)).tolist()
                found += [(number, scores)] if number >= 0 else []
    finally:
        model.train(was_training)
    return found


def _rows(store: TokenStore, scores: np.ndarray) -> list[ScoredComparison]:
    """Build a scored comparison for each comparison of a store, given the scores [R] of all responses."""
    lengths = store.full_lengths()
    rows = []
    for number, info in enumerate(store.info):
        span = slice(int(store.first_response[number]), int(store.first_response[number + 1]))
        rows.append(
            ScoredComparison(
                id=info.id,
                prompt_key=info.prompt_key,
                scores=tuple(scores[span].tolist()),
                tokens=tuple(lengths[span].tolist()),
                response_tokens=tuple(store.response_tokens[span].tolist()),
                truncated=tuple(store.truncated[span].tolist()),
                judgments=store.judgments(number),
                source_scores=info.source_scores,
                source=info.source,
                tags=info.tags,
            )
        )
    return rows
