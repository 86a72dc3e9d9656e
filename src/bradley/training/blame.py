"""Which comparisons a loss or gradient that is not finite comes from: the micro-batches of a step again, and each
alone.

Only a step that failed is run again, so that a step that does not costs nothing for it.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch

from ..data.plan import Plan, Step
from ..data.store import TokenStore
from ..losses import Loss
from ..model.batch import collate
from ..model.reward import ScoreModel
from ..seeds import seed_for

Pieces = Iterable[tuple[int, np.ndarray]]
"""Micro-batches of a step: their number in it, and their comparisons."""
Trial = Callable[[int, np.ndarray], tuple[float, float]]
"""Runs comparisons as one micro-batch of this number: its share of the loss of the step, and the norm of its
gradient."""


class Culprit(NamedTuple):
    """Comparisons whose loss or gradient is not finite.

    Attributes:
        piece: number of their micro-batch in the step.
        comparisons: those that are not finite alone; all of the micro-batch where none is.
        loss, norm: of these together.
    """

    piece: int
    comparisons: np.ndarray
    loss: float
    norm: float


def culprits(trial: Trial, pieces: Pieces) -> list[Culprit]:
    """What is not finite among the micro-batches of a step; empty where none of them is so again."""
    found = []
    for piece, chosen in pieces:
        loss, norm = trial(piece, chosen)
        if math.isfinite(loss) and math.isfinite(norm):
            continue
        alone = [number for number in chosen if not all(map(math.isfinite, trial(piece, np.array([number]))))]
        guilty = np.array(alone) if alone else chosen
        found.append(Culprit(piece, guilty, *(trial(piece, guilty) if alone else (loss, norm))))
    return found


def trial_of(
    model: ScoreModel,
    losses: dict[str, Loss],
    store: TokenStore,
    weights: np.ndarray,
    plan: Plan,
    step: Step,
    seed: int,
) -> Trial:
    """Runs comparisons as the loop does, from gradients of 0, and leaves none behind.

    Args:
        weights: [J] effective weights of the judgments of the store.
        seed: of the run; dropout draws what it drew in the loop.
    """
    totals = plan.totals(step)

    def run(piece: int, chosen: np.ndarray) -> tuple[float, float]:
        model.zero_grad(set_to_none=True)
        batch = collate(store, chosen, weights).to(model.device)
        torch.manual_seed(seed_for(seed, "dropout", step.number, piece))
        scores = model(batch)
        terms = [loss(scores, batch.targets) for loss in losses.values()]
        part = torch.stack([term.sum / getattr(totals, term.unit) for term in terms]).sum()
        part.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        model.zero_grad(set_to_none=True)
        return float(part.detach()), float(norm)

    return run
