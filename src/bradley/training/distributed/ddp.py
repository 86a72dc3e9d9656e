"""Teams whose gradients are added up while they are computed: by DDP, or by FSDP2 with shards of the weights.

Their processes run equally many micro-batches, empty ones where there are too few, because all of them meet in each.
Sums come out as they may: equal to those of one process but for rounding.
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
from ...scoring.core import NOTHING
from .process_group import ProcessGroup
from .strategy import Strategy

SYNC_BUFFERS = ("forward_sync_buffers", "broadcast_buffers")
"""What DDP calls sending buffers round before each forward pass; the second is the older name."""


class InRounds(Strategy):
    """Processes that run their micro-batches side by side."""

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """As many micro-batches for each process, those of one round about equal in cost."""
        self.sums = []
        for number in self._meeting(plan.rounds(step, self.group.size)):
            yield number, step.micro_batches[number] if number >= 0 else NOTHING

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """The micro-batches of an evaluation, as many for each process."""
        return self._meeting(deal(cost, self.group.size))

    def _meeting(self, rounds: np.ndarray) -> Iterator[int]:
        for number in rounds[:, self.group.rank].tolist():
            if self.group.any(bool(signals.requested())):
                raise StopRequested(next(filter(None, self.group.gather(signals.requested())), "a request"))
            self.watchdog.heartbeat()
            yield number


class DDP(InRounds):
    """A copy of the model in each process, gradients added up by DDP in the backward pass of the last round."""

    def __init__(self, group: ProcessGroup, model: ScoreModel) -> None:
        super().__init__(group, model)
        ddp: Any = torch.nn.parallel.DistributedDataParallel
        known = inspect.signature(ddp).parameters
        self.ddp = ddp(
            model,
            **{next(name for name in SYNC_BUFFERS if name in known): False},
            init_sync=False,  # that all start alike is checked, not mended
            find_unused_parameters=leaves_out(model),
            gradient_as_bucket_view=True,
        )
        self.ddp.register_comm_hook(None, _sum)

    def describe(self) -> str:
        """In words, for the screen and the record."""
        return f"{self.group.size} processes with a copy of the model each (DDP), equal to one but for rounding"

    @property
    def order(self) -> str:
        """That of DDP over so many processes."""
        return f"replicate over {self.group.size}"

    def forward(self, batch: Batch) -> Tensor:
        """Scores [R], through DDP."""
        scores: Tensor = self.ddp(batch)
        return scores

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """As `InRounds.share`; gradients stay in their process but for the last round."""
        last = len(plan.rounds(step, self.group.size)) - 1
        for place, piece in enumerate(super().share(plan, step)):
            with contextlib.nullcontext() if place == last else self.ddp.no_sync():
                yield piece


def leaves_out(model: ScoreModel) -> bool:
    """Whether some trained weight has no gradient after a short text, which DDP has to look out for in every step."""
    model(batch_of([[0, 1, 2], [0, 2]]).to(model.device)).sum().backward()
    found = any(weight.requires_grad and weight.grad is None for weight in model.parameters())
    model.zero_grad(set_to_none=True)
    return found


def _sum(_state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """The sum over the processes, where DDP would take the mean."""
    work: Any = dist.all_reduce(bucket.buffer(), async_op=True)
    future: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future
