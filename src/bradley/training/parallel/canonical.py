"""Gradients and figures added up in one fixed order: the same bits for any number of processes.

Legend: L parts of a step, P processes, N numbers in a bucket.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ... import stopping
from ...config import Parallel
from ...data.cut import deal
from ...data.plan import Plan, Step
from ...model.reward import ScoreModel
from ..metrics import StepSums
from .group import Group
from .team import Team
from .tree import Node, Tree, partial_nodes

BUCKET = 1 << 23
"""Numbers of a gradient that are exchanged at a time, 32 MiB of them."""

Gradients = list[Tensor]
"""One tensor for each weight that is trained, in the order of the model's."""


class Canonical(Team):
    """Processes with a copy of the model each, that add up gradients in the order of a binary tree, see `tree.py`.

    The micro-batches of a step make up a few parts. Within a part gradients are added one after another, as autograd
    does; the parts are the leaves of the tree. So a process holds log2(parts) + 1 gradients at most, however many
    micro-batches a step has. Each runs neighbouring parts and adds up what it can by itself. The rest is added up in
    slices of equal length, one by each process, which then gives the sums to all others.

    Args:
        parts: of a step, at most.
    """

    def __init__(self, group: Group, model: ScoreModel, parts: int = Parallel().parts) -> None:
        super().__init__(group, model)
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.parts = parts
        self.ranges: list[tuple[int, int]] = []
        self.tree: Tree[Gradients] = Tree(1, add)
        self.touched = [False] * len(self.weights)

    def describe(self) -> str:
        """In words, for the screen and the record."""
        if self.group.size == 1:
            return "one process, the same bits as several"
        return f"{self.group.size} processes with a copy of the model each, the same bits as one"

    @property
    def order(self) -> str:
        """That of the tree."""
        return f"canonical, up to {self.parts} parts"

    def share(self, plan: Plan, step: Step) -> Iterator[tuple[int, np.ndarray]]:
        """The micro-batches of this process, neighbours in their order."""
        self.sums = []
        shares = plan.parts(step, self.parts, self.group.size)
        self.ranges = list(pairwise([0, *accumulate(map(len, shares))]))
        self.tree = Tree(self.ranges[-1][1], add)
        self.touched = [False] * len(self.weights)
        for leaf, micro_batches in zip(range(*self.ranges[self.group.rank]), shares[self.group.rank], strict=True):
            for number in range(*micro_batches):
                if self._stops():
                    return
                yield number, step.micro_batches[number]
            self._close(leaf)

    def _stops(self) -> bool:
        """Whether this process leaves off here, between two micro-batches; alone it raises at once, with others all
        agree in the next exchange.
        """
        self.watchdog.beat()
        if self.group.size == 1:
            stopping.check()
        return bool(stopping.requested())

    def _close(self, leaf: int) -> None:
        """Move the gradient of a part into the tree."""
        self.touched = [was or weight.grad is not None for was, weight in zip(self.touched, self.weights, strict=True)]
        taken = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self.weights]
        for weight in self.weights:
            weight.grad = None
        self.tree.push(Node(0, leaf), taken)

    def reduce(self) -> list[StepSums]:
        """Add up what is left over the processes; a weight that no part has reached stays without gradient."""
        found = super().reduce()
        touched = [any(each) for each in zip(*self.group.gather(self.touched), strict=True)]
        whole = self.tree.total if self.group.size == 1 else self._merged()
        for weight, gradient, reached in zip(self.weights, whole, touched, strict=True):
            weight.grad = gradient if reached else None
        self.tree = Tree(1, add)
        return found

    def _merged(self) -> Gradients:
        held = [value for _, value in self.tree.nodes]
        nodes = [partial_nodes(*run, self.tree.leaves) for run in self.ranges]
        whole = [torch.empty_like(weight) for weight in self.weights]
        for first, stop in buckets([weight.numel() for weight in self.weights]):
            rows = [torch.cat([part.reshape(-1) for part in value[first:stop]]) for value in held]
            sizes = [part.numel() for part in whole[first:stop]]
            flat = whole[first].new_empty(-(-sum(sizes) // self.group.size) * self.group.size)
            merge(self.group, rows, nodes, self.tree.leaves, flat)
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


@torch.no_grad()
def add(left: Gradients, right: Gradients) -> Gradients:
    """The sum of two gradients, in the place of the left one."""
    torch._foreach_add_(left, right)
    return left


def buckets(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring weights, each of about `BUCKET` numbers, or of one weight that is larger."""
    first = held = 0
    for place, size in enumerate(sizes):
        if held and held + size > BUCKET:
            yield first, place
            first, held = place, 0
        held += size
    if first < len(sizes):
        yield first, len(sizes)


def merge(group: Group, rows: Sequence[Tensor], nodes: Sequence[list[Node]], leaves: int, whole: Tensor) -> None:
    """Add up one bucket over the processes, which all get the sum.

        process p gets slice p of every node, adds these up in the order of the tree, and gives all others the sum

    Args:
        rows: [N] values of each node of this process.
        nodes: the nodes of every process.
        leaves: L.
        whole: [N rounded up to a multiple of P] where the sum is written.
    """
    size, length = group.size, len(whole) // group.size
    sent = whole.new_zeros((size, len(rows), length))
    for number, row in enumerate(rows):
        sent[:, number] = torch.nn.functional.pad(row, (0, len(whole) - len(row))).view(size, length)
    counts = [len(each) for each in nodes]
    received = whole.new_empty((sum(counts), length))
    dist.all_to_all_single(
        received.view(-1), sent.view(-1), [count * length for count in counts], [len(rows) * length] * size
    )
    tree = Tree[Tensor](leaves, torch.Tensor.add_)
    for node, values in zip([node for each in nodes for node in each], received, strict=True):
        tree.push(node, values)
    dist.all_gather(list(whole.view(size, length)), tree.total)
