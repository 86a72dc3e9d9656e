"""Inference: comparisons in, scores out, by the same rendering, packing and model code as training."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..common import signals
from ..data.micro_batches import check_limit, cut_all
from ..data.token_store import TokenStore, build_store
from ..data.truncate import kind_of
from ..errors import CheckpointError
from ..model.cost import limit_for, load_on
from ..model.engine.batch import collate
from ..model.folder.normalization import Normalization
from ..model.folder.save_load import Loaded, load_model
from ..model.reward import ScoreModel
from ..records import Comparison, ScoredComparison
from .kinds import Kinds

NO_COMPARISONS = np.zeros(0, dtype=np.int64)
"""Comparison numbers of an empty micro-batch."""


def score_comparisons(
    model: Loaded | Path | str,
    comparisons: Sequence[Comparison],
    token_budget: int = 0,
    device: str = "cpu",
    *,
    normalize: bool = False,
) -> list[ScoredComparison]:
    """Score comparisons with a model folder or a loaded model; no comparison is dropped.

    Example:
        rows = [{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}]
        scored = bradley.score_comparisons("runs/x/model", list(bradley.to_comparisons(rows)))
        print(scored[0].scores)

    Args:
        model: model folder, or the result of `load_model`.
        comparisons: comparisons to score.
        token_budget: maximum tokens per micro-batch (0: suitable for the device).
        device: device for loading a model folder, such as `cpu` or `cuda`; unused for a loaded model.
        normalize: return (score - mean) / std instead of the score, with mean and standard deviation over the
            reference set named by the model folder.

    Returns:
        A scored comparison for each comparison, in the given order.

    Raises:
        CheckpointError: an unusable model folder, see `load_model`, or `normalize` for a model without reference set.
        DataError: a response longer than the model's limit, or a comparison above the budget.
    """
    loaded = load_model(Path(model), device) if isinstance(model, (str, Path)) else model
    known = normalization_of(loaded) if normalize else None
    kinds = Kinds(loaded)
    for foreign in filter(kinds.is_foreign, comparisons):
        # A comparison names the role of every turn, so the roles are taken at their word.
        kinds.say(kind_of(foreign), "as given")
    store = build_store(comparisons, loaded.renderer, training=False)
    rows = score_store(loaded.model, store, token_budget)
    return rows if known is None else known.apply(rows)


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
    """Score every comparison of a store.

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
    sharing, batches = sharing or Alone(), cut_all(load, limit)
    scored = _scored(model, store, batches, sharing.numbers(np.array([load.cost[batch].sum() for batch in batches])))
    # Micro-batches group comparisons by length: write each score to the place in the store's order.
    for number, found in sharing.join(scored).items():
        first, stop = store.first_response[batches[number]], store.first_response[batches[number] + 1]
        scores[np.concatenate([np.arange(*span) for span in zip(first, stop, strict=True)])] = found
    return _rows(store, scores)


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
