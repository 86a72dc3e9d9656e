"""The canonical sum: the gradient of a step as a fixed binary tree over its parts.

Sums of floats depend on their order. Here the order is a function of the number of parts alone: whoever holds which of
them, and however many processes there are, the same additions are made, and the same bits come out.

Legend: M leaves, the parts of a step.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

Value = TypeVar("Value")


class Node(NamedTuple):
    """A node of the tree: it covers the leaves from `place * 2**level` to before `(place + 1) * 2**level`, or M."""

    level: int
    place: int


class Tree(Generic[Value]):
    """Sums up leaves, or nodes that others have summed up, which come in the order of the leaves.

        value of (level, k) = left + right, its two children; left alone where right would begin at or after M

    Like the digits of a binary counter, at most two nodes of each level are kept, and one where the first leaf is a
    multiple of a large power of two: log2(M) + 1 values for a process that holds them all.

    Args:
        leaves: M.
        add: left + right; it may write the sum into left.

    Attributes:
        nodes: the sums so far, none of which can be added to another yet.
    """

    def __init__(self, leaves: int, add: Callable[[Value, Value], Value]) -> None:
        self.leaves = leaves
        self.add = add
        self.nodes: list[tuple[Node, Value]] = []

    def push(self, node: Node, value: Value) -> None:
        """Take the next node; a leaf is `Node(0, its number)`."""
        level, place = node
        while not self._whole(level, place):
            if place % 2 == 0 and (place + 1) << level < self.leaves:
                break  # its right sibling is still to come
            if place % 2:
                if not self.nodes or self.nodes[-1][0] != (level, place - 1):
                    break  # its left sibling is with another process
                value = self.add(self.nodes.pop()[1], value)
            level, place = level + 1, place // 2
        self.nodes.append((Node(level, place), value))

    def _whole(self, level: int, place: int) -> bool:
        return place == 0 and 1 << level >= self.leaves

    @property
    def total(self) -> Value:
        """The sum of all leaves, each of which must have come."""
        ((node, value),) = self.nodes
        assert self._whole(*node)
        return value


def partial_nodes(first: int, stop: int, leaves: int) -> list[Node]:
    """The nodes that are left to whoever sums up the leaves from `first` to before `stop`."""
    tree = Tree[None](leaves, lambda left, right: None)
    for leaf in range(first, stop):
        tree.push(Node(0, leaf), None)
    return [node for node, _ in tree.nodes]
