"""Strategies: the processes of a run share the micro-batches of a step, those of an evaluation, and the weights.

Every strategy has the methods of `Strategy`, which is one process alone. All of them divide by the totals of the whole
step, never by a number of processes.
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
from .full_tensors import spread_tensors
from .process_group import ProcessGroup
from .sharded_files import read_into, write_whole
from .watchdog import Watchdog


class Strategy:
    """One process that does everything; gradients add up as autograd does it.

    Args:
        group: the processes.
        model: in training mode, its weights the same in all of them.
    """

    runs_alone = True
    """Whether a process can run the model by itself."""

    def __init__(self, group: ProcessGroup, model: ScoreModel) -> None:
        self.group = group
        self.model = model
        self.sums: list[tuple[int, StepSums]] = []
        self.watchdog = Watchdog(0)

    def describe(self) -> str:
        """In words, for the screen and the record."""
        return "one process"

    @property
    def gradients(self) -> int:
        """How many gradients of the whole model a process holds at most."""
        return 1

    @property
    def order(self) -> str:
        """In which order gradients are added up: runs that have it in common can give the same bits."""
        return "one after another"

    def check_folder(self, folder: Path) -> None:
        """Raise `UserError` in every process where one that has to write into the folder of the run does not see it."""

    def save_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Write an optimizer's tensors into a folder that exists; all processes call this.

        Args:
            tensors: as `optimizer_state` gives them.

        Returns:
            Entries that the state of the run keeps of the tensors, values of JSON.

        Raises:
            BradleyError: as `ProcessGroup.on_main`.
        """
        self.group.on_main(lambda: write_whole(folder, tensors))
        return {}

    def load_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """Fill an optimizer's tensors from the folder in which they were saved, in whatever mode.

        Raises:
            BradleyError: as `ProcessGroup.on_main`.
        """
        self.group.on_main(lambda: read_into(folder, tensors))
        spread_tensors(tensors, tensors, self.group)

    def saved_weights(self) -> dict[str, Tensor] | None:
        """`tensors_to_save` on the main process, where it does not hold them itself; all processes have to ask."""
        return None

    def forward(self, batch: Batch) -> Tensor:
        """Scores [R] of a micro-batch in training; evaluation calls the model itself."""
        scores: Tensor = self.model(batch)
        return scores

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """Begin a step: the micro-batches of this process, each with its number in the whole step.

        One that is there only to keep the processes in step has the number -1 and no comparisons.

        Raises:
            StopRequested: asked to stop; all processes raise it in this step, here or in `reduce`.
        """
        self.sums = []
        for number, chosen in enumerate(step.micro_batches):
            signals.check()
            self.watchdog.heartbeat()
            yield number, chosen

    def collect(self, number: int, sums: StepSums) -> None:
        """Take the gradient and the figures of a micro-batch, after its backward pass."""
        if number >= 0:
            self.sums.append((number, sums))

    def reduce(self) -> list[StepSums]:
        """End a step: every process now has the gradient of the whole, and the figures of each of its micro-batches.

        Raises:
            StopRequested: a process was asked to stop.
        """
        rows = self.exchange([[number, vars(sums)] for number, sums in self.sums])
        return [StepSums.from_json(sums) for _, sums in sorted(rows, key=lambda row: row[0])]

    def exchange(self, rows: list[Any]) -> list[Any]:
        """The rows of all processes, JSON values.

        Raises:
            StopRequested: a process was asked to stop, and its rows may be incomplete.
        """
        found = self.group.gather([signals.requested() if self.group.size > 1 else "", rows])
        for reason, _ in found:
            if reason:
                raise StopRequested(reason)
        return [row for _, each in found for row in each]

    def clip(self, max_norm: float) -> float:
        """Scale the gradient of a step down to `max_norm` (0: leave it), and return its norm before that."""
        return clip(self.model, max_norm)

    def check_weights(self) -> None:
        """Raise `DivergedError` in every process where a weight is not the same wherever it is kept."""
        check_weights(self.group, self.model)

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Which micro-batches of an evaluation this process scores; -1 for an empty one that it has to run.

        Args:
            cost: [M] of each micro-batch.

        Raises:
            StopRequested: asked to stop; all processes raise it, here or in `join`.
        """
        for number in range(len(cost)):
            signals.check()
            self.watchdog.heartbeat()
            yield number

    def join(self, scored: Sequence[tuple[int, list[float]]]) -> dict[int, list[float]]:
        """The scores of every micro-batch of an evaluation by its number, from what each process has scored.

        Raises:
            StopRequested: a process was asked to stop.
        """
        return dict(self.exchange([list(row) for row in scored]))


def clip(model: torch.nn.Module, max_norm: float) -> float:
    """Scale gradients down to `max_norm` (0: leave them) and return their norm before that."""
    limit = max_norm if max_norm > 0 else float("inf")
    norm: Any = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
