"""How the comparisons of a step are cut into micro-batches and dealt out to processes, many steps at a time.

Legend: G comparisons, S steps, B places for comparisons in a step, M micro-batches of a step.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from .token_store import TokenStore

CHUNK = 1 << 19
"""Comparisons measured at a time, so that the lengths of a large store never lie in memory all at once."""
WINDOW = 1024
"""Comparisons that are cut together where no step says which belong together."""


class Sizes(NamedTuple):
    """What each comparison brings to a micro-batch.

    Attributes:
        rows: [G] responses.
        longest: [G] tokens of its longest response with prompt.
        tokens: [G] tokens with the prompt once.
        pairs: [G] pairs of query and key that attention computes, for all responses together.
    """

    rows: np.ndarray
    longest: np.ndarray
    tokens: np.ndarray
    pairs: np.ndarray


class Limit(NamedTuple):
    """How much goes through the model at once.

    Attributes:
        tokens: as the engine runs them, padding included.
        comparisons: besides that (0: only tokens count).
        strict: whether a comparison above the limit is an error; otherwise it goes alone.
        name: of the setting that the tokens come from.
    """

    tokens: int
    comparisons: int = 0
    strict: bool = True
    name: str = "train.micro_batch_tokens"


class Load(NamedTuple):
    """Comparisons as an engine runs them.

    Attributes:
        sizes: of each comparison.
        tokens: [G] that it takes of the limit when it goes alone.
        cost: [G] its time, in tokens' worth of matrix products.
        padded: whether every response is a padded row; otherwise the prompt is read once and nothing is padded.
    """

    sizes: Sizes
    tokens: np.ndarray
    cost: np.ndarray
    padded: bool


def measure(store: TokenStore) -> Sizes:
    """The sizes of every comparison of a store."""
    starts = range(0, len(store), CHUNK)
    parts = [_measure(store, start, min(start + CHUNK, len(store))) for start in starts]
    return Sizes(*map(np.concatenate, zip(*parts, strict=True)))


def _measure(store: TokenStore, first: int, stop: int) -> Sizes:
    """With a prefix of p tokens and own tokens o: p (p + 1) / 2 pairs, and o p + o (o + 1) / 2 for each response."""
    responses = store.first_response[first : stop + 1]
    rows = np.diff(responses)
    begin = responses[:-1] + np.arange(first, stop)
    tokens = np.diff(store.segments[np.append(begin, responses[-1] + stop)])
    prefix = store.segments[begin + 1] - store.segments[begin]
    sizes = np.diff(store.segments[responses[0] + first : responses[-1] + stop + 1])
    at = begin - begin[0]
    own = sizes.copy()
    own[at] = 0
    triangles = np.add.reduceat(sizes * (sizes + 1) // 2, at)
    longest = prefix + np.maximum.reduceat(own, at)
    return Sizes(
        rows.astype(np.int32),
        longest.astype(np.int32),
        tokens.astype(np.int32),
        (triangles + prefix * (tokens - prefix)).astype(np.float32),
    )


def load_of(sizes: Sizes, *, padded: bool, pairs_per_token: float = float("inf")) -> Load:
    """The load of comparisons on an engine that pads, or on one that does not.

    Args:
        pairs_per_token: how many pairs of query and key cost as much as the matrix products of one token.
    """
    tokens = sizes.rows * sizes.longest if padded else sizes.tokens
    pairs = tokens * sizes.longest.astype(np.float32) if padded else sizes.pairs
    return Load(sizes, tokens, (tokens + pairs / np.float32(pairs_per_token)).astype(np.float32), padded)


def check_limit(store: TokenStore, load: Load, limit: Limit) -> None:
    """Raise `DataError` naming the largest comparison if it exceeds a strict limit: none is ever split."""
    worst = int(load.tokens.argmax())
    need = int(load.tokens[worst])
    if limit.strict and need > limit.tokens:
        rows, longest = int(load.sizes.rows[worst]), int(load.sizes.longest[worst])
        raise DataError(
            f"comparison {store.info[worst].id} needs {need} tokens ({rows} responses of up to {longest}, "
            f"{'padded' if load.padded else 'their prompt once'}), above {limit.name} = {limit.tokens}",
            f"raise {limit.name} to {need}, or leave it at 0, and a large comparison goes alone",
        )


def cut(load: Load, chosen: np.ndarray, limit: Limit) -> np.ndarray:
    """Number the micro-batches of steps.

    Padded rows of similar length go together. Where nothing is padded, a step becomes about as few micro-batches as the
    limit allows, about equal in cost.

    Args:
        chosen: [S, B] comparisons of each step; -1 where a place is empty.

    Returns:
        [S, B] the micro-batch of each, from 0; -1 where a place is empty.
    """
    empty = chosen < 0
    key = np.where(empty, np.float32("inf"), -(load.sizes.longest if load.padded else load.cost)[chosen])
    order = np.argsort(key, axis=1, kind="stable")
    chosen, empty = (np.take_along_axis(array, order, axis=1) for array in (chosen, empty))
    labels = _runs(load, chosen, empty, limit) if load.padded else _balanced(load, chosen, empty, limit)
    found = np.empty_like(labels)
    np.put_along_axis(found, order, np.where(empty, -1, labels), axis=1)
    return found


def cut_all(load: Load, limit: Limit) -> list[np.ndarray]:
    """Cut every comparison there is, in no steps: similar lengths lie together, the longest first."""
    order = np.argsort(-load.sizes.longest, kind="stable")
    width = min(WINDOW, len(order))
    windows = np.full((-(-len(order) // width), width), -1)
    windows.flat[: len(order)] = order
    labels = cut(load, windows, limit)
    return [piece for row, numbers in zip(windows, labels, strict=True) for piece in pieces(row, numbers)]


def pieces(chosen: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """The micro-batches of one step, [B] comparisons and [B] numbers as `cut` gives them, as M arrays."""
    return [chosen[labels == number] for number in range(int(labels.max()) + 1)]


def deal(cost: np.ndarray, processes: int) -> np.ndarray:
    """Deal micro-batches out to processes, in rounds.

    The most costly go first, and the order of the processes turns round after each round, so that all end up with about
    the same and those of one round, which wait for each other, cost about the same too.

    Args:
        cost: [M] of each micro-batch.

    Returns:
        [rounds, processes] numbers of micro-batches; -1 for an empty one, so that all run equally many.
    """
    rounds = -(-len(cost) // processes)
    dealt = np.full((rounds, processes), -1)
    dealt.flat[: len(cost)] = np.argsort(-cost, kind="stable")
    dealt[1::2] = dealt[1::2, ::-1]
    return dealt


def parts(cost: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Runs of neighbouring micro-batches of about equal cost, none of them empty.

    Args:
        cost: [M] of each micro-batch.
        most: how many there are at most; fewer where a micro-batch costs more than a part should.

    Returns:
        For each part the first micro-batch and the one after the last.
    """
    ends = np.concatenate([[0.0], np.cumsum(cost, dtype=np.float64)])
    wanted = ends[-1] * np.arange(most + 1) / most
    return list(pairwise(np.unique(np.abs(ends[:, None] - wanted).argmin(axis=0)).tolist()))


def ranges(cost: np.ndarray, processes: int) -> list[tuple[int, int]]:
    """Runs of neighbouring parts of a step, one for each process; where there are too few, the last are empty.

    The most costly run costs no more than it must, to a thousandth.

    Args:
        cost: [N] of each part.

    Returns:
        For each process the first part and the one after the last.
    """
    ends = np.concatenate([[0.0], np.cumsum(cost, dtype=np.float64)])
    bound = _least_bound(ends, processes)
    places = [0]
    for _ in range(processes):
        places.append(_reach(ends, places[-1], bound))
    return list(pairwise(places))


def _least_bound(ends: np.ndarray, processes: int) -> float:
    """What the most costly of so many runs must cost at least, found by halving, to a thousandth."""
    low, high = max(float(np.diff(ends).max()), float(ends[-1]) / processes), float(ends[-1])
    while high > low * 1.001:
        middle, place = (low + high) / 2, 0
        for _ in range(processes):
            place = _reach(ends, place, middle)
        low, high = (low, middle) if place == len(ends) - 1 else (middle, high)
    return high


def _reach(ends: np.ndarray, begin: int, bound: float) -> int:
    """Where a run that begins there and costs at most `bound` has to end."""
    return int(np.searchsorted(ends, ends[begin] + bound, side="right")) - 1


def _runs(load: Load, chosen: np.ndarray, empty: np.ndarray, limit: Limit) -> np.ndarray:
    """Walk down each sorted step, and begin a new micro-batch where the next comparison would be too much."""
    rows, longest = (np.where(empty, 0, array[chosen]) for array in (load.sizes.rows, load.sizes.longest))
    labels = np.zeros(chosen.shape, dtype=np.int64)
    total, widest = rows[:, 0], longest[:, 0]
    count = np.ones(len(chosen), dtype=np.int64)
    for place in range(1, chosen.shape[1]):
        more = total + rows[:, place]
        full = (more * widest > limit.tokens) | (count == limit.comparisons)  # which is never 0
        labels[:, place] = labels[:, place - 1] + full
        total = np.where(full, rows[:, place], more)
        widest = np.where(full, longest[:, place], widest)
        count = np.where(full, 1, count + 1)
    return labels


def _balanced(load: Load, chosen: np.ndarray, empty: np.ndarray, limit: Limit) -> np.ndarray:
    """Each comparison, the most costly first, joins the micro-batch that costs least so far; one more where that does
    not keep the limit."""
    cost, tokens = (np.where(empty, 0, array[chosen]) for array in (load.cost, load.tokens))
    count = (~empty).sum(axis=1)
    large = tokens > limit.tokens
    wanted = large.sum(axis=1) + -(-np.where(large, 0, tokens).sum(axis=1) // limit.tokens)
    wanted = np.maximum(wanted, (2 * tokens > limit.tokens).sum(axis=1))  # no two of these fit together
    wanted = np.maximum(wanted, -(-count // limit.comparisons) if limit.comparisons else 1)
    labels = np.zeros(chosen.shape, dtype=np.int64)
    todo = np.arange(len(chosen))
    while len(todo):
        labels[todo], fits = _join_lightest(cost[todo], tokens[todo], ~empty[todo], wanted[todo], limit)
        todo = todo[~fits]
        wanted[todo] += 1 + wanted[todo] // 32
    return labels


def _join_lightest(
    cost: np.ndarray, tokens: np.ndarray, present: np.ndarray, wanted: np.ndarray, limit: Limit
) -> tuple[np.ndarray, np.ndarray]:
    """Labels [S, B] into `wanted` [S] micro-batches, and whether [S] all of them keep the limit or hold one."""
    steps, places = cost.shape
    row = np.arange(steps)
    spent = np.where(np.arange(wanted.max()) < wanted[:, None], np.float32(0), np.float32("inf"))
    held = np.zeros(spent.shape, dtype=np.int64)
    count = np.zeros(spent.shape, dtype=np.int64)
    labels = np.empty(cost.shape, dtype=np.int64)
    for place in range(places):
        labels[:, place] = lightest = spent.argmin(axis=1)
        spent[row, lightest] += cost[:, place]
        held[row, lightest] += tokens[:, place]
        count[row, lightest] += present[:, place]
    kept = (held <= limit.tokens) & (count <= (limit.comparisons or places))
    return labels, np.asarray((kept | (count <= 1)).all(axis=1))
