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
from .objective import share_of_step
from .parallel.whole import whole

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
        loss, norm: of the micro-batch.
    """

    piece: int
    comparisons: np.ndarray
    loss: float
    norm: float


def culprits(trial: Trial, pieces: Pieces, narrow: bool = True) -> list[Culprit]:
    """What is not finite among the micro-batches of a step; empty where none of them is so again.

    Args:
        narrow: whether to run the comparisons of such a micro-batch one by one. Processes that share their weights
            cannot: all of them must run equally many.
    """
    found = []
    for piece, chosen in pieces:
        loss, norm = trial(piece, chosen)
        if (math.isfinite(loss) and math.isfinite(norm)) or not len(chosen):
            continue
        alone = [g for g in chosen if not all(map(math.isfinite, trial(piece, np.array([g]))))] if narrow else []
        found.append(Culprit(piece, np.array(alone) if alone else chosen, loss, norm))
    return found


class Again(NamedTuple):
    """What it takes to run comparisons of a job outside of its loop, by the same arithmetic.

    Attributes:
        weights: [J] effective weights of the judgments of the store.
        seed: of the run; dropout draws what it drew in the loop.
    """

    model: ScoreModel
    losses: dict[str, Loss]
    store: TokenStore
    weights: np.ndarray
    plan: Plan
    seed: int

    def backward(self, step: Step, piece: int, chosen: np.ndarray) -> float:
        """Add the gradient of comparisons as micro-batch `piece` to what is there; their share of the step's loss."""
        totals = self.plan.totals(step)
        batch = collate(self.store, chosen, self.weights).to(self.model.device)
        torch.manual_seed(seed_for(self.seed, "dropout", step.number, piece))
        scores = self.model(batch)
        part = share_of_step([loss(scores, batch.targets) for loss in self.losses.values()], totals)
        part.backward()  # type: ignore[no-untyped-call]
        return float(part.detach())

    def trial(self, step: Step) -> Trial:
        """Runs comparisons from gradients of 0, and leaves none behind."""

        def run(piece: int, chosen: np.ndarray) -> tuple[float, float]:
            self.model.zero_grad(set_to_none=True)
            loss = self.backward(step, piece, chosen)
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
            self.model.zero_grad(set_to_none=True)
            return loss, float(whole(norm))

        return run
