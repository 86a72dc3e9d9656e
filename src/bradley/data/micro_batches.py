"""Cut the comparisons of many steps into micro-batches, and deal micro-batches out to processes.

Legend: G comparisons, S steps, B places for comparisons in a step, M micro-batches of a step.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from .token_store import TokenStore

CHUNK = 1 << 19
"""Comparisons measured at a time, to bound the memory for the lengths of a large store."""
WINDOW = 1024
"""Comparisons cut together if no step groups comparisons."""


class Sizes(NamedTuple):
    """Sizes of comparisons in a micro-batch.

    Attributes:
        rows: [G] responses.
        longest: [G] tokens of the longest response with prompt.
        tokens: [G] tokens, with each shared prefix counted once.
        pairs: [G] query-key pairs computed by attention, for all responses together.
    """

    rows: np.ndarray
    longest: np.ndarray
    tokens: np.ndarray
    pairs: np.ndarray


class Limit(NamedTuple):
    """Limit of a micro-batch.

    Attributes:
        tokens: most tokens, as the engine runs a micro-batch, padding included.
        comparisons: most comparisons, besides the limit of tokens (0: no limit).
        strict: True if a comparison above the limit is an error; False if such a comparison goes alone.
        name: setting behind `tokens`, for messages.
    """

    tokens: int
    comparisons: int = 0
    strict: bool = True
    name: str = "train.micro_batch_tokens"


class Load(NamedTuple):
    """Comparisons with the cost of running each on an engine.

    Attributes:
        sizes: sizes of each comparison.
        tokens: [G] tokens counted against the limit by a comparison alone.
        cost: [G] time, in units of the matrix products of a token.
        padded: True if every response is a padded row; False if the prompt is computed once and nothing is padded.
    """

    sizes: Sizes
    tokens: np.ndarray
    cost: np.ndarray
    padded: bool


def measure(store: TokenStore) -> Sizes:
    """Measure every comparison of a store."""
    starts = range(0, len(store), CHUNK)
    parts = [_measure(store, start, min(start + CHUNK, len(store))) for start in starts]
    return Sizes(*map(np.concatenate, zip(*parts, strict=True)))


def _measure(store: TokenStore, first: int, stop: int) -> Sizes:
    """Measure the comparisons from `first` to before `stop`.

    A prefix of p tokens has p (p + 1) / 2 pairs. Each response with o own tokens adds o p + o (o + 1) / 2 pairs.
    """
    responses = store.first_response[first : stop + 1]
    rows = np.diff(responses)
    segments = store.first_segment[first : stop + 1]
    sizes = np.diff(store.segments[segments[0] : segments[-1] + 1])
    # Places of segments and responses, counted from those of the first comparison.
    begin, begin_row = segments[:-1] - segments[0], responses[:-1] - responses[0]
    at = np.repeat(begin, rows)
    own, prefix = (sizes[at + array[responses[0] : responses[-1]]] for array in (store.own, store.prefix))
    pairs = np.add.reduceat(sizes * (sizes + 1) // 2, begin) + np.add.reduceat(own * prefix, begin_row)
    # 4 bytes a number: 10 million comparisons are planned in 1.5 GB. Pairs overflow int32 for long texts, and a cost
    # needs no more digits than float32 has.
    return Sizes(
        rows.astype(np.int32),
        np.maximum.reduceat(own + prefix, begin_row).astype(np.int32),
        np.add.reduceat(sizes, begin).astype(np.int32),
        pairs.astype(np.float32),
    )


def load_of(sizes: Sizes, *, padded: bool, pairs_per_token: float = float("inf")) -> Load:
    """Compute the load of comparisons on an engine with or without padding.

    Args:
        sizes: sizes from `measure`.
        padded: True for an engine with padded rows.
        pairs_per_token: query-key pairs with the cost of the matrix products of a token; infinite for free attention.
    """
    tokens = sizes.rows * sizes.longest if padded else sizes.tokens
    pairs = tokens * sizes.longest.astype(np.float32) if padded else sizes.pairs
    return Load(sizes, tokens, (tokens + pairs / np.float32(pairs_per_token)).astype(np.float32), padded)


def check_limit(store: TokenStore, load: Load, limit: Limit) -> None:
    """Raise `DataError` for the largest comparison above a strict limit. No comparison is ever split."""
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

    Padded rows of similar length go together. Without padding, a step becomes about the fewest micro-batches allowed by
    the limit, with about equal costs.

    Args:
        load: load of all comparisons.
        chosen: [S, B] comparisons of each step; -1 for an empty place.
        limit: limit of each micro-batch.

    Returns:
        [S, B] micro-batch of each comparison, from 0; -1 for an empty place.
    """
    # Empty places sort last, and the sort is stable: equal lengths keep their order on every machine.
    empty = chosen < 0
    key = np.where(empty, np.float32("inf"), -(load.sizes.longest if load.padded else load.cost)[chosen])
    order = np.argsort(key, axis=1, kind="stable")
    chosen, empty = (np.take_along_axis(array, order, axis=1) for array in (chosen, empty))
    labels = _runs(load, chosen, empty, limit) if load.padded else _balanced(load, chosen, empty, limit)
    found = np.empty_like(labels)
    np.put_along_axis(found, order, np.where(empty, -1, labels), axis=1)
    return found


def cut_all(load: Load, limit: Limit, chosen: np.ndarray) -> list[np.ndarray]:
    """Cut comparisons into micro-batches without regard to steps: similar lengths together, the longest first.

    Args:
        load: load of all comparisons.
        limit: limit of each micro-batch.
        chosen: [G] numbers of the comparisons, at least one.
    """
    order = chosen[np.argsort(-load.sizes.longest[chosen], kind="stable")]
    # Whole windows are cut like steps; places beyond the last comparison stay -1.
    width = min(WINDOW, len(order))
    windows = np.full((-(-len(order) // width), width), -1)
    windows.flat[: len(order)] = order
    labels = cut(load, windows, limit)
    return [micro_batch for row, numbers in zip(windows, labels, strict=True) for micro_batch in pieces(row, numbers)]


def pieces(chosen: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Split the comparisons of a step into M arrays, by the numbers from `cut`.

    Args:
        chosen: [B] comparisons.
        labels: [B] micro-batch of each comparison.
    """
    return [chosen[labels == number] for number in range(int(labels.max()) + 1)]


def deal(cost: np.ndarray, processes: int) -> np.ndarray:
    """Deal micro-batches out to processes, in rounds.

    The most costly micro-batches go first, and the order of processes reverses after each round. Every process gets
    about the same total. Processes of a round wait for each other, and micro-batches of a round cost about the same.

    Args:
        cost: [M] cost of each micro-batch.
        processes: number of processes.

    Returns:
        [rounds, processes] numbers of micro-batches; -1 for an empty micro-batch, because all processes run equally
        many.
    """
    rounds = -(-len(cost) // processes)
    dealt = np.full((rounds, processes), -1)
    dealt.flat[: len(cost)] = np.argsort(-cost, kind="stable")
    # Without the reversal, the first process would get the most costly micro-batch of every round.
    dealt[1::2] = dealt[1::2, ::-1]
    return dealt


def parts(cost: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Divide the micro-batches of a step into neighbouring runs of about equal cost, none empty.

    Args:
        cost: [M] cost of each micro-batch.
        most: limit on the number of parts; fewer parts if a micro-batch costs more than a part should.

    Returns:
        For each part, the first micro-batch and the end (exclusive).
    """
    # float64: rounding of a long sum must not move the end of a part.
    ends = np.concatenate([[0.0], np.cumsum(cost, dtype=np.float64)])
    wanted = ends[-1] * np.arange(most + 1) / most
    return list(pairwise(np.unique(np.abs(ends[:, None] - wanted).argmin(axis=0)).tolist()))


def ranges(cost: np.ndarray, processes: int) -> list[tuple[int, int]]:
    """Divide the parts of a step into neighbouring runs, a run for each process; with too few parts, the last runs are
    empty.

    The most costly run is as cheap as possible, to a thousandth.

    Args:
        cost: [N] cost of each part.
        processes: number of processes.

    Returns:
        For each process, the first part and the end (exclusive).
    """
    ends = np.concatenate([[0.0], np.cumsum(cost, dtype=np.float64)])
    bound = _least_bound(ends, processes)
    places = [0]
    for _ in range(processes):
        places.append(_reach(ends, places[-1], bound))
    return list(pairwise(places))


def _least_bound(ends: np.ndarray, processes: int) -> float:
    """Find the least possible cost of the most costly run by halving, to a thousandth."""
    low, high = max(float(np.diff(ends).max()), float(ends[-1]) / processes), float(ends[-1])
    while high > low * 1.001:
        # A bound is possible if runs filled up to it, one after the other, reach the last part.
        middle, place = (low + high) / 2, 0
        for _ in range(processes):
            place = _reach(ends, place, middle)
        low, high = (low, middle) if place == len(ends) - 1 else (middle, high)
    return high


def _reach(ends: np.ndarray, begin: int, bound: float) -> int:
    """Return the end of a run from `begin` with a cost of at most `bound`."""
    return int(np.searchsorted(ends, ends[begin] + bound, side="right")) - 1


def _runs(load: Load, chosen: np.ndarray, empty: np.ndarray, limit: Limit) -> np.ndarray:
    """Walk down each sorted step; begin a new micro-batch if the next comparison would exceed the limit."""
    rows, longest = (np.where(empty, 0, array[chosen]) for array in (load.sizes.rows, load.sizes.longest))
    labels = np.zeros(chosen.shape, dtype=np.int64)
    # Rows are sorted by length, so the first row of a micro-batch sets its padded width.
    total, widest = rows[:, 0], longest[:, 0]
    count = np.ones(len(chosen), dtype=np.int64)
    for place in range(1, chosen.shape[1]):
        more = total + rows[:, place]
        # `count` starts at 1: a limit of 0 comparisons is never met, and so is no limit.
        full = (more * widest > limit.tokens) | (count == limit.comparisons)
        labels[:, place] = labels[:, place - 1] + full
        total = np.where(full, rows[:, place], more)
        widest = np.where(full, longest[:, place], widest)
        count = np.where(full, 1, count + 1)
    return labels


def _balanced(load: Load, chosen: np.ndarray, empty: np.ndarray, limit: Limit) -> np.ndarray:
    """Put each comparison, the most costly first, into the micro-batch with the least cost.

    A step above the limit is tried again with more micro-batches.
    """
    cost, tokens = (np.where(empty, 0, array[chosen]) for array in (load.cost, load.tokens))
    count = (~empty).sum(axis=1)
    # Lower bounds of the number of micro-batches save tries. A comparison above the limit goes alone, and must not
    # raise the number for the others.
    large = tokens > limit.tokens
    wanted = large.sum(axis=1) + -(-np.where(large, 0, tokens).sum(axis=1) // limit.tokens)
    wanted = np.maximum(wanted, (2 * tokens > limit.tokens).sum(axis=1))  # no two of these fit together
    wanted = np.maximum(wanted, -(-count // limit.comparisons) if limit.comparisons else 1)
    labels = np.zeros(chosen.shape, dtype=np.int64)
    todo = np.arange(len(chosen))
    # Steps that fit are done; only the others are tried again, with about 3 % more micro-batches to keep the tries few.
    while len(todo):
        labels[todo], fits = _join_lightest(cost[todo], tokens[todo], ~empty[todo], wanted[todo], limit)
        todo = todo[~fits]
        wanted[todo] += 1 + wanted[todo] // 32
    return labels


def _join_lightest(
    cost: np.ndarray, tokens: np.ndarray, present: np.ndarray, wanted: np.ndarray, limit: Limit
) -> tuple[np.ndarray, np.ndarray]:
    """Label the comparisons of steps, for a given number of micro-batches in each step.

    Args:
        cost, tokens, present: [S, B] cost, tokens and presence of each comparison, the most costly first.
        wanted: [S] number of micro-batches.
        limit: limit of each micro-batch.

    Returns:
        [S, B] labels; [S] True if every micro-batch keeps the limit or holds a single comparison.
    """
    steps, places = cost.shape
    row = np.arange(steps)
    # Micro-batches beyond the number of a step cost infinity and are never the lightest.
    spent = np.where(np.arange(wanted.max()) < wanted[:, None], np.float32(0), np.float32("inf"))
    tokens_in = np.zeros(spent.shape, dtype=np.int64)
    count = np.zeros(spent.shape, dtype=np.int64)
    labels = np.empty(cost.shape, dtype=np.int64)
    for place in range(places):
        labels[:, place] = lightest = spent.argmin(axis=1)
        spent[row, lightest] += cost[:, place]
        tokens_in[row, lightest] += tokens[:, place]
        count[row, lightest] += present[:, place]
    kept = (tokens_in <= limit.tokens) & (count <= (limit.comparisons or places))
    return labels, np.asarray((kept | (count <= 1)).all(axis=1))
