"""Which comparisons a loss or gradient that is not finite comes from: the micro-batches of a step again, and each
alone.

Only a step that failed is run again, so that a step that does not costs nothing for it.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch

from ...common.seeds import seed_for
from ...data.plan import Plan, Step
from ...data.token_store import TokenStore
from ...losses import Loss
from ...model.engine.batch import collate
from ...model.reward import ScoreModel
from ...scoring.core import NOTHING
from ..distributed.full_tensors import full_tensor
from ..objective import share_of_step

Pieces = Iterable[tuple[int, np.ndarray]]
"""Micro-batches of a step: their number in it, and their comparisons."""
Trial = Callable[[int, np.ndarray], tuple[float, float]]
"""Runs comparisons as one micro-batch of this number: its share of the loss of the step, and the norm of its
gradient."""
Exchange = Callable[[list[str]], list[str]]
"""Gives the lines of this process to all others, and returns those of all of them."""


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


def culprits(trial: Trial, pieces: Pieces) -> list[Culprit]:
    """What is not finite among the micro-batches of a step; empty where none of them is so again."""
    found = []
    for piece, chosen in pieces:
        if not len(chosen) or all(map(math.isfinite, (first := trial(piece, chosen)))):
            continue
        alone = [g for g in chosen if not all(map(math.isfinite, trial(piece, np.array([g]))))]
        found.append(Culprit(piece, np.array(alone) if alone else chosen, *first))
    return found


def culprits_in_turn(trial: Trial, pieces: Pieces, exchange: Exchange, rank: int) -> list[Culprit]:
    """The same for processes that can only run the model together, because none of them has all weights: while one of
    them runs its own, the others run nothing beside it. So whatever is not finite is of the process whose turn it is.
    """

    def announced(piece: int, chosen: np.ndarray) -> tuple[float, float]:
        exchange(["one more"])
        return trial(piece, chosen)

    found: list[Culprit] = []
    for turn in range(len(exchange([""]))):
        if turn == rank:
            found = culprits(announced, pieces)
            exchange([])
        else:
            while exchange([]):
                trial(-1, NOTHING)
    return found


class Replay(NamedTuple):
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

    def trial(self, step: Step, heartbeat: Callable[[], object] = lambda: None) -> Trial:
        """Runs comparisons from gradients of 0, and leaves none behind.

        Args:
            beat: called before each run, of which there may be many.
        """

        def run(piece: int, chosen: np.ndarray) -> tuple[float, float]:
            heartbeat()
            self.model.zero_grad(set_to_none=True)
            loss = self.backward(step, piece, chosen)
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
            self.model.zero_grad(set_to_none=True)
            return loss, float(full_tensor(norm))

        return run
