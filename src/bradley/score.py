"""The one door to inference: comparisons or conversations in, scores out, by the path that training takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from . import stopping
from .data.cut import check_limit, cut_all
from .data.store import TokenStore, build_store
from .errors import CheckpointError
from .model.batch import collate
from .model.cost import limit_for, load_on
from .model.normalization import Normalization
from .model.reward import ScoreModel
from .model.store import Loaded, load_model
from .records import Comparison, ScoredComparison


def score_store(model: ScoreModel, store: TokenStore, token_budget: int) -> list[ScoredComparison]:
    """Score every comparison of a store; one row each, in the store's order.

    Args:
        token_budget: most tokens at once, as the model's engine runs them (0: what suits the device).

    Raises:
        DataError: a comparison that alone exceeds the budget.
    """
    load, limit = load_on(model, store), limit_for(model, token_budget)._replace(name="token_budget")
    check_limit(store, load, limit)
    scores = np.empty(int(store.first_response[-1]), dtype=np.float32)
    weights = store.judgment_weights("pair")
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for chosen in cut_all(load, limit):
            stopping.check()
            batch = collate(store, chosen, weights).to(model.device)
            places = np.concatenate([np.arange(store.first_response[g], store.first_response[g + 1]) for g in chosen])
            scores[places] = model(batch).cpu().numpy()
    model.train(was_training)
    return _rows(store, scores)


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
