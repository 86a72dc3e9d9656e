"""Parallel strategies: how processes share micro-batches, gradients and weights. Here: a single process.

Subclasses replace methods of `Strategy`: `ddp.DDP`, `fsdp.FSDP` and `reproducible.Reproducible`. Every strategy divides
by the totals of the whole step, never by the number of processes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...common import signals
from ...common.signals import StopRequested
from ...data.plan import Plan, Step
from ...model.engine.batch import Batch
from ...model.reward import ScoreModel
from ..metrics import StepSums
from .consistency import check_weights
from .full_tensors import full_tensor, spread_tensors
from .process_group import ProcessGroup
from .sharded_files import read_into, write_whole
from .watchdog import Watchdog


class Strategy:
    """A single process; autograd adds up the gradients of the micro-batches.

    Calls in a step: `share`, then `forward` and `collect` for each micro-batch, `reduce`, `clip`. All processes make
    these calls together.

    Args:
        group: the processes.
        model: in training mode, with the same weights in all processes.

    Attributes:
        sums: figures of this process's micro-batches in this step, with the number of each micro-batch.
        watchdog: ends a process without progress; off until `rank_watch.watched` sets another.
    """

    runs_alone = True
    """True if a process holds all weights, and runs the model without other processes."""

    def __init__(self, group: ProcessGroup, model: ScoreModel) -> None:
        self.group = group
        self.model = model
        self.sums: list[tuple[int, StepSums]] = []
        self.watchdog = Watchdog(0)

    def describe(self) -> str:
        """Return the strategy in words, for the screen and the run record."""
        return "one process"

    @property
    def gradients(self) -> int:
        """Gradients of the whole model held by a process, at most."""
        return 1

    @property
    def order(self) -> str:
        """Order of the gradient sum, in words: runs with the same order can give the same bits."""
        return "one after another"

    def check_folder(self, folder: Path) -> None:
        """Check that every process writing into the run folder sees the folder; here the main process alone writes.

        Raises:
            UserError: in every process, if a writing process does not see the folder.
        """

    def save_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Write an optimizer's tensors into an existing folder; all processes must call.

        Args:
            folder: folder of the run's state inside a checkpoint.
            tensors: as returned by `optimizer_state`.

        Returns:
            Entries about the tensors for the state of the run, as JSON values.

        Raises:
            BradleyError: as for `ProcessGroup.on_main`.
        """
        # Replicas hold equal tensors, so a single copy is enough.
        self.group.on_main(lambda: write_whole(folder, tensors))
        return {}

    def load_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """Fill an optimizer's tensors from a folder written under any strategy; all processes must call.

        Raises:
            BradleyError: as for `ProcessGroup.on_main`.
        """
        # Only the main process reads: other machines may not see the run folder.
        self.group.on_main(lambda: read_into(folder, tensors))
        spread_tensors(tensors, tensors, self.group)

    def saved_weights(self) -> dict[str, Tensor] | None:
        """Return the full tensors of `tensors_to_save`; None if the model of the main process holds full tensors.

        All processes must call.
        """
        return None

    def forward(self, batch: Batch) -> Tensor:
        """Return scores [R] of a micro-batch in training; evaluation calls the model directly."""
        scores: Tensor = self.model(batch)
        return scores

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """Begin a step, and yield the micro-batches of this process.

        Yields:
            Number in the step, and [G] comparisons; -1 and no comparisons for an empty micro-batch. Empty micro-batches
            only keep processes in pace.

        Raises:
            StopRequested: a stop was requested; all processes raise in this step, here or in `reduce`.
        """
        self.sums = []
        for number, chosen in enumerate(step.micro_batches):
            # Stop between micro-batches: the wait is short, and the half-done step has moved no weight.
            signals.check()
            self.watchdog.heartbeat()
            yield number, chosen

    def collect(self, number: int, sums: StepSums) -> None:
        """Take the figures of a micro-batch after the backward pass; an empty micro-batch has no figures."""
        if number >= 0:
            self.sums.append((number, sums))

    def reduce(self) -> list[StepSums]:
        """End a step: every process then has the gradient of the whole step.

        Returns:
            Figures of every micro-batch of the step, in the order of the step.

        Raises:
            StopRequested: a process was asked to stop.
        """
        StepSums.settle([sums for _, sums in self.sums])
        # Sorted by number: figures then add up in the same order for any number of processes.
        rows = self.exchange([[number, vars(sums)] for number, sums in self.sums])
        return [StepSums.from_json(sums) for _, sums in sorted(rows, key=lambda row: row[0])]

    def exchange(self, rows: list[Any]) -> list[Any]:
        """Return the rows of all processes, as JSON values; all processes must call.

        Raises:
            StopRequested: a process was asked to stop, hence the rows may be incomplete.
        """
        # The stop request travels with the rows. All processes learn of the request in the same exchange, and stop at
        # the same step without an exchange of its own. A single process has checked already, in `share`.
        found = self.group.gather([signals.requested() if self.group.size > 1 else "", rows])
        for reason, _ in found:
            if reason:
                raise StopRequested(reason)
        return [row for _, each in found for row in each]

    def clip(self, max_norm: float) -> float:
        """Scale the gradient of a step down to norm `max_norm` (0: no clipping); return the norm before clipping."""
        return clip(self.model, max_norm)

    def check_weights(self) -> None:
        """Compare the copies of every weight between processes.

        Raises:
            DivergedError: in every process, if copies of a weight differ.
        """
        check_weights(self.group, self.model)

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Yield the numbers of this process's micro-batches in an evaluation; -1 for an empty micro-batch to run.

        Args:
            cost: [M] cost of each micro-batch.

        Raises:
            StopRequested: a stop was requested; all processes raise, here or in `join`.
        """
        for number in range(len(cost)):
            signals.check()
            self.watchdog.heartbeat()
            yield number

    def join(self, scored: Sequence[tuple[int, list[float]]]) -> dict[int, list[float]]:
        """Return the scores of every micro-batch of an evaluation, by number; all processes must call.

        Args:
            scored: number and scores of each micro-batch scored by this process.

        Raises:
            StopRequested: a process was asked to stop.
        """
        return dict(self.exchange([list(row) for row in scored]))


def clip(model: torch.nn.Module, max_norm: float) -> float:
    """Scale gradients down to norm `max_norm` (0: no clipping), and return the norm before clipping.

    The norm is the Euclidean norm over all gradients together, as in `torch.nn.utils.clip_grad_norm_`.
    """
    # An infinite limit scales nothing, but still computes the norm: logs and the guard need the norm in every step.
    limit = max_norm if max_norm > 0 else float("inf")
    norm: Any = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
    # Over shards the norm is a sharded tensor too; `full_tensor` combines the processes' parts.
    return float(full_tensor(norm))
