"""Gradients and figures added up in one fixed order: the same bits for any number of processes.

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
"""Numbers of a gradient that are exchanged at a time, 32 MiB of them."""

Gradients = list[Tensor]
"""One tensor for each weight that is trained, in the order of the model's."""


class Reproducible(Strategy):
    """Processes with a copy of the model each, that add up gradients in an order of which nobody can tell how many
    there are: sums of floats depend on their order, and the same additions give the same bits.

        gradient of a part  = ((micro-batch 1 + micro-batch 2) + micro-batch 3) + ...     in its own sum, from zero
        gradient of a step  = ((part 1 + part 2) + part 3) + ...

    What the micro-batches and the parts of a step are does not depend on the processes either. Each runs neighbouring
    parts. The first adds them up as they come, and so does one that is alone, which holds two gradients, however many
    micro-batches a step has. The others keep one for each of their parts. At the end each process adds up a slice of
    all numbers, and gives the sums to the others.

    Gradients stay in the same memory from step to step. Those that autograd makes lie scattered among activations, and
    the holes that they leave between them are of no use to a larger micro-batch.

    Args:
        parts: of a step, at most.

    Attributes:
        held: the gradients of the parts that this process has done in this step, or their sum if it has the first.
        room: memory for gradients that is not in use.
        part: that of the gradient of a part which has begun, if it has several micro-batches.
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
        """In words, for the screen and the record."""
        if self.group.size == 1:
            return "one process, the same bits as several"
        return f"{self.group.size} processes with a copy of the model each, the same bits as one"

    @property
    def gradients(self) -> int:
        """As `gradients_held` has it."""
        return gradients_held(self.parts, self.group.size)

    @property
    def order(self) -> str:
        """That of the parts."""
        return f"canonical, up to {self.parts} parts"

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """The micro-batches of this process, neighbours in their order."""
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
                if self.part is None and number + 1 < stop:
                    self._move()
            self._close()

    def _stops(self) -> bool:
        """Whether this process leaves off here, between two micro-batches; alone it raises at once, with others all
        agree in the next exchange.
        """
        self.watchdog.heartbeat()
        if self.group.size == 1:
            signals.check()
        return bool(signals.requested())

    def _move(self) -> None:
        """Have the rest of a part added to the gradient of its first micro-batch in memory of our own."""
        self.part = self._room()
        for weight, own in zip(self.weights, self.part, strict=True):
            if weight.grad is not None:
                weight.grad = own.copy_(weight.grad)

    def _room(self) -> Gradients:
        return self.spare.pop() if self.spare else [torch.empty_like(weight) for weight in self.weights]

    def _close(self) -> None:
        """Take the gradient of a part from the weights."""
        self.touched = [was or weight.grad is not None for was, weight in zip(self.touched, self.weights, strict=True)]
        if self.part_gradients and self.ranges[self.group.rank][0] == 0:
            self._add_to(self.part_gradients[0])
            self.spare += [self.part] if self.part else []
        else:
            self.part_gradients.append(self._kept_in(self.part or self._room()))
        for weight in self.weights:
            weight.grad = None
        self.part = None

    def _add_to(self, total: Gradients) -> None:
        for weight, value in zip(self.weights, total, strict=True):
            value += 0.0 if weight.grad is None else weight.grad  # 0 as others add it, which makes a 0 of -0

    def _kept_in(self, own: Gradients) -> Gradients:
        for weight, value in zip(self.weights, own, strict=True):
            if weight.grad is None:
                value.zero_()
            elif weight.grad is not value:
                value.copy_(weight.grad)
        return own

    def reduce(self) -> list[StepSums]:
        """Add up what is left over the processes; a weight that no part has reached stays without gradient."""
        found = super().reduce()
        touched = [any(each) for each in zip(*self.group.gather(self.touched), strict=True)]
        whole = self.part_gradients[0] if self.group.size == 1 else self._merged()
        for weight, gradient, reached in zip(self.weights, whole, touched, strict=True):
            weight.grad = gradient if reached else None
        self.spare += self.part_gradients  # the gradient of this step is done with before the next one begins
        self.part_gradients = []
        return found

    def _merged(self) -> Gradients:
        rank = self.group.rank
        counts = [stop - first if first else min(stop, 1) for first, stop in self.ranges]
        self.part_gradients = self.part_gradients or [self._room()]
        whole = self.part_gradients[0]  # a bucket of it is read before it is written
        for first, stop in buckets([weight.numel() for weight in self.weights]):
            rows = [
                torch.cat([part.reshape(-1) for part in value[first:stop]])
                for value in self.part_gradients[: counts[rank]]
            ]
            sizes = [part.numel() for part in whole[first:stop]]
            flat = whole[first].new_empty(-(-sum(sizes) // self.group.size) * self.group.size)
            merge(self.group, rows, counts, flat)
            for part, values in zip(whole[first:stop], torch.split(flat[: sum(sizes)], sizes), strict=True):
                part.copy_(values.view(part.shape))
        return whole

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """The micro-batches of an evaluation, dealt out by cost."""
        for number in deal(cost, self.group.size)[:, self.group.rank].tolist():
            if self._stops():
                return
            if number >= 0:
                yield number


def gradients_held(parts: int, processes: int) -> int:
    """Gradients that a process holds at most: the sum so far and that of a part, or one for each of its parts."""
    return min(parts, 2) if processes == 1 else math.ceil(parts / processes)


def buckets(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring weights, each of about `BUCKET` numbers, or of one weight that is larger."""
    first = part_gradients = 0
    for place, size in enumerate(sizes):
        if part_gradients and part_gradients + size > BUCKET:
            yield first, place
            first, part_gradients = place, 0
        part_gradients += size
    if first < len(sizes):
        yield first, len(sizes)


def merge(group: ProcessGroup, rows: Sequence[Tensor], counts: Sequence[int], whole: Tensor) -> None:
    """Add up one bucket over the processes, which all get the sum.

        process p gets slice p of every row, adds these up in the order of processes and rows, and gives all the sum

    Args:
        rows: [N] each of this process.
        counts: of rows of every process.
        whole: [N rounded up to a multiple of P] where the sum is written.
    """
    size, length = group.size, len(whole) // group.size
    sent = whole.new_zeros((size, len(rows), length))
    for number, row in enumerate(rows):
        sent[:, number] = torch.nn.functional.pad(row, (0, len(whole) - len(row))).view(size, length)
    received = whole.new_empty((sum(counts), length))
    dist.all_to_all_single(
        received.view(-1), sent.view(-1), [count * length for count in counts], [len(rows) * length] * size
    )
    total = received[0]
    for row in received[1:]:
        total += row
    dist.all_gather(list(whole.view(size, length)), total)
