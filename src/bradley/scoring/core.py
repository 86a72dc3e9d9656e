"""The one door to inference: comparisons or conversations in, scores out, by the path that training takes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..common import signals
from ..data.micro_batches import check_limit, cut_all
from ..data.token_store import TokenStore, build_store
from ..errors import CheckpointError
from ..model.cost import limit_for, load_on
from ..model.engine.batch import collate
from ..model.folder.normalization import Normalization
from ..model.folder.save_load import Loaded, load_model
from ..model.reward import ScoreModel
from ..records import Comparison, ScoredComparison

NOTHING = np.zeros(0, dtype=np.int64)
"""The comparisons of an empty micro-batch."""


class Sharing(Protocol):
    """How processes share the micro-batches of what is scored, M of them."""

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Which of them this process runs, by their costs [M]; -1 for an empty one that it has to run."""

    def join(self, scored: Sequence[tuple[int, list[float]]]) -> Mapping[int, list[float]]:
        """The scores of all of them by number, from those that this process has run."""


class Alone:
    """One process that scores everything."""

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """All of them, until the process is asked to stop."""
        for number in range(len(cost)):
            signals.check()
            yield number

    def join(self, scored: Sequence[tuple[int, list[float]]]) -> Mapping[int, list[float]]:
        """What this process has scored is everything."""
        return dict(scored)


def score_store(
    model: ScoreModel, store: TokenStore, token_budget: int, sharing: Sharing | None = None
) -> list[ScoredComparison]:
    """Score every comparison of a store; one row each, in the store's order.

    Args:
        token_budget: most tokens at once, as the model's engine runs them (0: what suits the device).
        sharing: the processes that score it together, all of which get every row, the same as from one.

    Raises:
        DataError: a comparison that alone exceeds the budget.
        StopRequested: the process was asked to stop.
    """
    load, limit = load_on(model, store), limit_for(model, token_budget)._replace(name="token_budget")
    check_limit(store, load, limit)
    scores = np.empty(int(store.first_response[-1]), dtype=np.float32)
    sharing, pieces = sharing or Alone(), cut_all(load, limit)
    scored = _scored(model, store, pieces, sharing.numbers(np.array([load.cost[piece].sum() for piece in pieces])))
    for number, found in sharing.join(scored).items():
        first, stop = store.first_response[pieces[number]], store.first_response[pieces[number] + 1]
        scores[np.concatenate([np.arange(*span) for span in zip(first, stop, strict=True)])] = found
    return _rows(store, scores)


def _scored(
    model: ScoreModel, store: TokenStore, pieces: Sequence[np.ndarray], numbers: Iterator[int]
) -> list[tuple[int, list[float]]]:
    """Micro-batches by number with the scores of their responses, in evaluation mode; -1 is run and left out."""
    weights = store.judgment_weights("pair")
    was_training, found = model.training, []
    model.eval()
    try:
        with torch.no_grad():
            for number in numbers:
                chosen = pieces[number] if number >= 0 else NOTHING
                scores = model(collate(store, chosen, weights).to(model.device)).tolist()
                found += [(number, scores)] if number >= 0 else []
    finally:
        model.train(was_training)
    return found


def _rows(store: TokenStore, scores: np.ndarray) -> list[ScoredComparison]:
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


def score_comparisons(
    model: Loaded | Path | str,
    comparisons: Sequence[Comparison],
    token_budget: int = 0,
    device: str = "cpu",
    *,
    normalize: bool = False,
) -> list[ScoredComparison]:
    """Score comparisons with a model folder (loaded onto `device`) or a loaded model; nothing is dropped.

    Args:
        token_budget: most tokens at once (0: what suits the device).
        normalize: give (score - mean) / std, with the mean and the standard deviation over the reference set that the
            model folder names, instead of the score itself.

    Raises:
        CheckpointError: a folder that cannot score, see `load_model`, or `normalize` for one without a reference set.
        DataError: a response that alone exceeds the model's limit, or a comparison that exceeds the budget.
    """
    loaded = load_model(Path(model), device) if isinstance(model, (str, Path)) else model
    known = normalization_of(loaded) if normalize else None
    store = build_store(comparisons, loaded.renderer, training=False)
    rows = score_store(loaded.model, store, token_budget)
    return rows if known is None else known.apply(rows)


def normalization_of(loaded: Loaded) -> Normalization:
    """The unit of a model's scores.

    Raises:
        CheckpointError: the model folder gives none.
    """
    if loaded.normalization is None:
        raise CheckpointError(
            "normalize = True, but the model has no normalization: it was trained without an evaluation set",
            "leave normalize off, or train with data.valid",
        )
    return loaded.normalization
