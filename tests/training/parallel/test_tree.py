"""The canonical sum against a recursion in float32, for every way to part it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.training.parallel.tree import Node, Tree, partial_nodes


def by_recursion(leaves: np.ndarray, level: int, place: int) -> np.float32:
    """The definition: left + right, left alone where right would begin at or after the end."""
    if level == 0:
        return leaves[place]
    left = by_recursion(leaves, level - 1, 2 * place)
    if (2 * place + 1) << (level - 1) >= len(leaves):
        return left
    return np.float32(left + by_recursion(leaves, level - 1, 2 * place + 1))


def whole(leaves: np.ndarray) -> np.float32:
    return by_recursion(leaves, math.ceil(math.log2(len(leaves))) if len(leaves) > 1 else 0, 0)


def summed(leaves: np.ndarray, cuts: list[int]) -> np.float32:
    """The sum by processes that hold the leaves between cuts."""
    last = Tree(len(leaves), lambda left, right: np.float32(left + right))
    for first, stop in itertools.pairwise([0, *sorted(cuts), len(leaves)]):
        own = Tree(len(leaves), lambda left, right: np.float32(left + right))
        for number in range(first, stop):
            own.push(Node(0, number), leaves[number])
        assert [node for node, _ in own.nodes] == partial_nodes(first, stop, len(leaves))
        for node, value in own.nodes:
            last.push(node, value)
    return last.total


def drawn(count: int, seed: int) -> np.ndarray:
    """Numbers of very different size, whose sum depends on the order."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(count) * 10.0 ** rng.integers(-4, 5, count)).astype(np.float32)


@pytest.mark.parametrize("count", range(1, 40))
def test_every_cut_in_two_gives_the_bits_of_the_recursion(count: int) -> None:
    leaves = drawn(count, count)
    assert {summed(leaves, [cut]).tobytes() for cut in range(count + 1)} == {whole(leaves).tobytes()}


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 70), st.integers(1, 12), st.data())
def test_any_contiguous_parts_of_up_to_12_processes_give_the_same_bits(count, processes, data) -> None:
    cuts = data.draw(st.lists(st.integers(0, count), min_size=processes - 1, max_size=processes - 1))
    leaves = drawn(count, count * 100 + processes)
    assert summed(leaves, cuts).tobytes() == whole(leaves).tobytes()


def test_the_sum_does_depend_on_the_order() -> None:
    leaves = drawn(64, 1)
    one_by_one = np.float32(0)
    for leaf in leaves:
        one_by_one = np.float32(one_by_one + leaf)
    assert one_by_one != whole(leaves)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 31, 32, 33, 100])
def test_a_process_that_holds_all_keeps_log2_plus_1_values(count: int) -> None:
    tree = Tree(count, lambda left, right: left + right)
    most = 0
    for number in range(count):
        most = max(most, len(tree.nodes) + 1)  # the new one beside those that are kept
        tree.push(Node(0, number), 1)
    assert most <= math.ceil(math.log2(count)) + 1
    assert tree.total == count


def test_a_sum_with_a_leaf_missing_is_refused() -> None:
    tree = Tree(5, lambda left, right: left + right)
    for number in range(4):
        tree.push(Node(0, number), 1)
    with pytest.raises(AssertionError):
        _ = tree.total
