"""Strategies that sum gradients during the backward pass: DDP, and the base of FSDP2 with shards of the weights.

All processes run the same number of micro-batches, because all meet in each. A process with too few micro-batches runs
empty micro-batches. Sums equal the sums of a single process apart from rounding.
"""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ...common import signals
from ...common.signals import StopRequested
from ...data.micro_batches import deal
from ...data.plan import Plan, Step
from ...model.engine.batch import Batch
from ...model.folder.parity import batch_of
from ...model.reward import ScoreModel
from ...scoring.core import NO_COMPARISONS
from .process_group import ProcessGroup
from .strategy import Strategy

SYNC_BUFFERS = ("forward_sync_buffers", "broadcast_buffers")
"""DDP's option for broadcasting buffers before each forward pass; the second name is older."""


class InRounds(Strategy):
    """Processes running their micro-batches side by side, in rounds."""

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """Yield this process's micro-batches: equally many in each process, with similar costs within a round.

        Yields:
            Number in the step, and [G] comparisons; -1 and no comparisons for an empty micro-batch.

        Raises:
            StopRequested: a process was asked to stop; all processes raise in the same round.
        """
        self.sums = []
        for number in self._meeting(plan.rounds(step, self.group.size)):
            yield number, step.micro_batches[number] if number >= 0 else NO_COMPARISONS

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Yield this process's micro-batches of an evaluation, equally many in each process."""
        return self._meeting(deal(cost, self.group.size))

    def _meeting(self, rounds: np.ndarray) -> Iterator[int]:
        for number in rounds[:, self.group.rank].tolist():
            # A signal reaches processes at different moments. A process leaving alone would make the others hang in
            # their next collective.
            if self.group.any(bool(signals.requested())):
                raise StopRequested(next(filter(None, self.group.gather(signals.requested())), "a request"))
            self.watchdog.heartbeat()
            yield number


class DDP(InRounds):
    """Replicas of the model, with gradients summed by DDP in the backward pass of the last round."""

    def __init__(self, group: ProcessGroup, model: ScoreModel) -> None:
        super().__init__(group, model)
        ddp: Any = torch.nn.parallel.DistributedDataParallel
        known = inspect.signature(ddp).parameters
        self.ddp = ddp(
            model,
            # Buffers hold constants such as rotary angles. Broadcasting them before each forward pass would cost time
            # for nothing.
            **{next(name for name in SYNC_BUFFERS if name in known): False},
            # Equal weights are checked by `check_weights`. A broadcast would hide a fault instead of reporting it.
            init_sync=False,
            # DDP waits for the gradient of every weight. Without this option, a weight out of reach would stop the next
            # step.
            find_unused_parameters=leaves_out(model),
            # Otherwise gradients exist twice: in `weight.grad`, and in DDP's buckets.
            gradient_as_bucket_view=True,
        )
        self.ddp.register_comm_hook(None, _sum)

    def describe(self) -> str:
        """Return the strategy in words, for the screen and the run record."""
        return f"{self.group.size} processes with a copy of the model each (DDP), equal to one but for rounding"

    @property
    def order(self) -> str:
        """Order of the sum: DDP's, over this number of processes."""
        return f"replicate over {self.group.size}"

    def forward(self, batch: Batch) -> Tensor:
        """Return scores [R] of a micro-batch, through DDP."""
        scores: Tensor = self.ddp(batch)
        return scores

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """Yield as `InRounds.share` does; gradients are exchanged only in the last round."""
        last = len(plan.rounds(step, self.group.size)) - 1
        for place, micro_batch in enumerate(super().share(plan, step)):
            # `no_sync` accumulates gradients locally. An exchange in every round would multiply the traffic by the
            # number of rounds.
            with contextlib.nullcontext() if place == last else self.ddp.no_sync():
                yield micro_batch


def leaves_out(model: ScoreModel) -> bool:
    """Return True if some trained weight gets no gradient from a short text; DDP then has to search in every step."""
    model(batch_of([[0, 1, 2], [0, 2]]).to(model.device)).sum().backward()
    found = any(weight.requires_grad and weight.grad is None for weight in model.parameters())
    model.zero_grad(set_to_none=True)
    return found


def _sum(_state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Return the sum over the processes, in place of DDP's mean."""
    # The loss is divided by the totals of the whole step already. A mean would divide by the number of processes once
    # more.
    work: Any = dist.all_reduce(bucket.buffer(), async_op=True)
    future: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future
