"""Sum gradients and figures in a fixed order: the same bits for any number of processes.

Legend: P processes, N numbers in a bucket.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ...common import signals
from ...config import Parallel
from ...data.micro_batches import deal
from ...data.plan import Plan, Step
from ...model.reward import ScoreModel
from ..metrics import StepSums
from .process_group import ProcessGroup
from .strategy import Strategy

BUCKET = 1 << 23
"""Numbers of a gradient exchanged at a time: 32 MiB in float32."""

Gradients = list[Tensor]
"""A tensor for each trained weight, in the model's order."""


class Reproducible(Strategy):
    """Data-parallel replicas that sum gradients in a fixed order.

    Floating-point addition depends on order; this order does not depend on the number of processes, so 1, 2 and 8 of
    them give identical bits.

        gradient of a part  = ((micro-batch 1 + micro-batch 2) + micro-batch 3) + ...     in a separate sum, from zero
        gradient of a step  = ((part 1 + part 2) + part 3) + ...

    Micro-batches and parts of a step do not depend on the number of processes either. Each process runs neighbouring
    parts. Process 0 accumulates its parts as it goes, so a single process never holds more than two gradients. The
    others keep one gradient per part. At the end of a step each process sums a slice of all numbers, and sends the sums
    to the other processes.

    Gradients keep the same memory from step to step. Gradients allocated by autograd lie scattered among activations,
    and the holes in between are useless for a larger micro-batch.

    Args:
        group: the processes.
        model: in training mode, with the same weights in all processes.
        parts: parts of a step, at most.

    Attributes:
        ranges: for each process, the first part and the end of the parts in this step.
        part_gradients: gradients of the parts finished by this process in this step; on process 0, their sum.
        spare: memory for gradients, free for use.
        part: memory of the running part's gradient, if the part has several micro-batches.
        touched: for each weight, True if a part of this process has reached the weight.
    """

    def __init__(self, group: ProcessGroup, model: ScoreModel, parts: int = Parallel().parts) -> None:
        super().__init__(group, model)
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.parts = parts
        self.ranges: list[tuple[int, int]] = []
        self.part_gradients: list[Gradients] = []
        self.spare: list[Gradients] = []
        self.part: Gradients | None = None
        self.touched = [False] * len(self.weights)

    def describe(self) -> str:
        """Return the strategy in words, for the screen and the run record."""
        if self.group.size == 1:
            return "one process, the same bits as several"
        return f"{self.group.size} processes with a copy of the model each, the same bits as one"

    @property
    def gradients(self) -> int:
        """Gradients held by a process, at most; see `gradients_held`."""
        return gradients_held(self.parts, self.group.size)

    @property
    def order(self) -> str:
        """Order of the sum: part after part."""
        return f"canonical, up to {self.parts} parts"

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """Yield this process's micro-batches, neighbours in the order of the step.

        Yields:
            Number in the step, and [G] comparisons.

        Raises:
            StopRequested: this process is alone, and was asked to stop.
        """
        self.sums = []
        shares = plan.parts(step, self.parts, self.group.size)
        self.ranges = list(pairwise([0, *accumulate(map(len, shares))]))
        self.part_gradients, self.part = [], None
        self.touched = [False] * len(self.weights)
        for first, stop in shares[self.group.rank]:
            for number in range(first, stop):
                if self._stops():
                    return
                yield number, step.micro_batches[number]
                # After the first micro-batch of several, autograd adds the rest in place, into memory outliving the
                # part.
                if self.part is None and number + 1 < stop:
                    self._move()
            self._close()

    def _stops(self) -> bool:
        """Return True if this process stops here, between two micro-batches.

        A single process raises at once. Several processes agree in the next exchange, lest the others wait for a
        missing process.
        """
        self.watchdog.heartbeat()
        if self.group.size == 1:
            signals.check()
        return bool(signals.requested())

    def _move(self) -> None:
        """Let autograd add the rest of a part to the first micro-batch's gradient, in memory of this strategy."""
        self.part = self._room()
        for weight, own in zip(self.weights, self.part, strict=True):
            if weight.grad is not None:
                weight.grad = own.copy_(weight.grad)

    def _room(self) -> Gradients:
        """Return memory for a gradient, from `spare` if possible."""
        return self.spare.pop() if self.spare else [torch.empty_like(weight) for weight in self.weights]

    def _close(self) -> None:
        """Take the gradient of a finished part from the weights."""
        self.touched = [was or weight.grad is not None for was, weight in zip(self.touched, self.weights, strict=True)]
        # Only the first process may add parts at once: its sum is the beginning of the fixed order. Later parts wait
        # for the sum so far.
        if self.part_gradients and self.ranges[self.group.rank][0] == 0:
            self._add_to(self.part_gradients[0])
            self.spare += [self.part] if self.part else []
        else:
            self.part_gradients.append(self._kept_in(self.part or self._room()))
        for weight in self.weights:
            weight.grad = None
        self.part = None

    def _add_to(self, total: Gradients) -> None:
        """Add the weights' gradients to `total`."""
        for weight, value in zip(self.weights, total, strict=True):
            # Other processes hold zeros for a weight without gradient, and add them in `merge`. Adding 0.0 turns -0.0
            # into 0.0; skipping the addition would give other bits.
            value += 0.0 if weight.grad is None else weight.grad

    def _kept_in(self, own: Gradients) -> Gradients:
        """Copy the weights' gradients into `own`, with zeros for missing gradients."""
        for weight, value in zip(self.weights, own, strict=True):
            if weight.grad is None:
                value.zero_()
            # After `_move`, autograd's gradient is `value` already.
            elif weight.grad is not value:
                value.copy_(weight.grad)
        return own

    def reduce(self) -> list[StepSums]:
        """End a step: sum the gradients over the processes, and return the figures of every micro-batch.

        A weight reached by no part stays without gradient.

        Raises:
            StopRequested: a process was asked to stop.
        """
        found = super().reduce()
        # An optimizer skips a weight without gradient, but decays a weight with gradient 0. All processes must
        # therefore agree.
        touched = [any(each) for each in zip(*self.group.gather(self.touched), strict=True)]
        whole = self.part_gradients[0] if self.group.size == 1 else self._merged()
        for weight, gradient, reached in zip(self.weights, whole, touched, strict=True):
            weight.grad = gradient if reached else None
        # The optimizer uses the gradient before the next step begins, hence the memory is free by then.
        self.spare += self.part_gradients
        self.part_gradients = []
        return found

    def _merged(self) -> Gradients:
        """Return the sums over all processes, computed bucket by bucket to bound the memory of the exchange."""
        rank = self.group.rank
        # The process with the first part has summed its parts already, and brings a single row. An idle process brings
        # none.
        counts = [stop - first if first else min(stop, 1) for first, stop in self.ranges]
        self.part_gradients = self.part_gradients or [self._room()]
        # The result overwrites the first gradient, which saves another copy. Each bucket is read before being written.
        whole = self.part_gradients[0]
        for first, stop in buckets([weight.numel() for weight in self.weights]):
            rows = [
                torch.cat([weight.reshape(-1) for weight in gradient[first:stop]])
                for gradient in self.part_gradients[: counts[rank]]
            ]
            sizes = [weight.numel() for weight in whole[first:stop]]
            # Every process sums a slice of equal length, hence a length rounded up to a multiple of P.
            flat = whole[first].new_empty(-(-sum(sizes) // self.group.size) * self.group.size)
            merge(self.group, rows, counts, flat)
            for weight, values in zip(whole[first:stop], torch.split(flat[: sum(sizes)], sizes), strict=True):
                weight.copy_(values.view(weight.shape))
        return whole

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Yield this process's micro-batches of an evaluation, dealt out by cost."""
        for number in deal(cost, self.group.size)[:, self.group.rank].tolist():
            if self._stops():
                return
            if number >= 0:
                yield number


def gradients_held(parts: int, processes: int) -> int:
    """Return the gradients held by a process at most: the sum and a part's if alone, else a gradient per part."""
    return min(parts, 2) if processes == 1 else math.ceil(parts / processes)


def buckets(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of neighbouring weights, each of about `BUCKET` numbers or of a single larger weight.

    Args:
        sizes: numbers in each weight.

    Yields:
        First weight and end.
    """
    first = filled = 0
    for place, size in enumerate(sizes):
        if filled and filled + size > BUCKET:
            yield first, place
            first, filled = place, 0
        filled += size
    if first < len(sizes):
        yield first, len(sizes)


def merge(group: ProcessGroup, rows: Sequence[Tensor], counts: Sequence[int], whole: Tensor) -> None:
    """Sum a bucket over the processes, and give the sum to all.

        process p gets slice p of every row, sums the slices in the order of processes and rows, and sends out the sum

    An all-reduce would be shorter, but the order of addition then depends on the backend and on P.

    Args:
        group: the processes.
        rows: [N] each, of this process.
        counts: number of rows of every process.
        whole: [N rounded up to a multiple of P] receives the sum.
    """
    size, length = group.size, len(whole) // group.size
    sent = whole.new_zeros((size, len(rows), length))
    for number, row in enumerate(rows):
        sent[:, number] = torch.nn.functional.pad(row, (0, len(whole) - len(row))).view(size, length)
    received = whole.new_empty((sum(counts), length))
    dist.all_to_all_single(
        received.view(-1), sent.view(-1), [count * length for count in counts], [len(rows) * length] * size
    )
    # One addition after another, in the order of the parts. `sum` over a dimension may choose another order on each
    # device.
    total = received[0]
    for row in received[1:]:
        total += row
    dist.all_gather(list(whole.view(size, length)), total)
