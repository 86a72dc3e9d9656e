"""Find the comparisons behind a non-finite loss or gradient: run the micro-batches of the failed step again, then each
comparison alone.

Only a failed step is run again; healthy steps cost nothing extra.
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
from ...scoring.core import NO_COMPARISONS
from ..distributed.full_tensors import full_tensor
from ..objective import share_of_step

Pieces = Iterable[tuple[int, np.ndarray]]
"""Micro-batches of a step: number in the step, and [G] comparisons."""
Trial = Callable[[int, np.ndarray], tuple[float, float]]
"""Run comparisons as the micro-batch of this number; return their share of the step's loss, and the gradient norm."""
Exchange = Callable[[list[str]], list[str]]
"""Send the lines of this process to all processes, and return the lines of all processes."""


class Culprit(NamedTuple):
    """Comparisons with a non-finite loss or gradient.

    Attributes:
        piece: number of their micro-batch in the step.
        comparisons: comparisons failing alone; all of the micro-batch if each alone is finite.
        loss, norm: figures of the micro-batch.
    """

    piece: int
    comparisons: np.ndarray
    loss: float
    norm: float


def culprits(trial: Trial, pieces: Pieces) -> list[Culprit]:
    """Return the culprits among the micro-batches of a step; empty if the failure does not repeat.

    Args:
        trial: as of `Replay.trial`.
        pieces: micro-batches of this process.
    """
    found = []
    for number, comparisons in pieces:
        # Processes run empty micro-batches to keep pace with each other; an empty micro-batch names nothing.
        if not len(comparisons) or all(map(math.isfinite, (figures := trial(number, comparisons)))):
            continue
        # Comparisons can be finite alone and overflow together. The whole micro-batch is then the smallest known cause.
        failing = [g for g in comparisons if not all(map(math.isfinite, trial(number, np.array([g]))))]
        found.append(Culprit(number, np.array(failing) if failing else comparisons, *figures))
    return found


def culprits_in_turn(trial: Trial, pieces: Pieces, exchange: Exchange, rank: int) -> list[Culprit]:
    """Return this process's culprits, as `culprits` does, if no process holds all weights.

    Such processes can run the model only together. They take turns: during a turn, the other processes run empty
    micro-batches. A non-finite value therefore comes from the process whose turn runs.

    Args:
        trial, pieces: as of `culprits`.
        exchange: called by all processes at the same moments.
        rank: of this process.
    """

    def announced(piece: int, chosen: np.ndarray) -> tuple[float, float]:
        # The other processes wait in `exchange`. A line means a further trial; no line ends the turn.
        exchange(["one more"])
        return trial(piece, chosen)

    found: list[Culprit] = []
    # Each process sends a single line here, hence the number of lines is the number of processes.
    for turn in range(len(exchange([""]))):
        if turn == rank:
            found = culprits(announced, pieces)
            exchange([])
        else:
            while exchange([]):
                # Forward and backward passes gather the shards of all processes. Without this empty run, the active
                # process would wait for ever.
                trial(-1, NO_COMPARISONS)
    return found


class Replay(NamedTuple):
    """Runner of a job's comparisons outside the training loop, with the loop's arithmetic.

    Attributes:
        weights: [J] effective weights of the store's judgments.
        seed: of the run; dropout repeats the loop's draws.
    """

    model: ScoreModel
    losses: dict[str, Loss]
    store: TokenStore
    weights: np.ndarray
    plan: Plan
    seed: int

    def backward(self, step: Step, piece: int, chosen: np.ndarray) -> float:
        """Add the gradient of comparisons, as micro-batch `piece`, to the existing gradients.

        Returns:
            The comparisons' share of the step's loss.
        """
        totals = self.plan.totals(step)
        batch = collate(self.store, chosen, self.weights).to(self.model.device)
        # The seed must equal the loop's. Another dropout mask could hide the overflow, and blame the machine.
        torch.manual_seed(seed_for(self.seed, "dropout", step.number, piece))
        scores = self.model(batch)
        part = share_of_step([loss(scores, batch.targets) for loss in self.losses.values()], totals)
        part.backward()  # type: ignore[no-untyped-call]
        return float(part.detach())

    def trial(self, step: Step, heartbeat: Callable[[], object] = lambda: None) -> Trial:
        """Return a function running comparisons from gradients of 0, and leaving no gradient behind.

        Args:
            heartbeat: called before each run, to keep the watchdog quiet during many runs.
        """

        def run(piece: int, chosen: np.ndarray) -> tuple[float, float]:
            heartbeat()
            self.model.zero_grad(set_to_none=True)
            loss = self.backward(step, piece, chosen)
            # Under FSDP2 the norm is a sharded tensor: all processes must call `full_tensor` together.
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
            self.model.zero_grad(set_to_none=True)
            return loss, float(full_tensor(norm))

        return run
