"""Totals of a plan over a whole run: micro-batches, tokens, balance over processes, and the tokens of other trainers.

Legend: S steps, B comparisons of a step, M micro-batches of a step, J judgments.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..common.seeds import generator
from .micro_batches import cut
from .plan import Plan
from .token_store import TokenStore

PLACES_AT_ONCE = 1 << 19
"""Comparisons whose steps are cut at a time: about 100 bytes each."""
PEER_PAIRS = 16
"""Pairs in a micro-batch of a trainer with padded pairs."""


class Schedule(NamedTuple):
    """Totals of a run.

    Attributes:
        comparisons: comparisons trained on, repeats in later epochs included.
        micro_batches: micro-batches of all steps; `fewest` and `most` are counts of a single step.
        tokens: tokens as the engine runs each micro-batch, padding included; `largest` is the most in a micro-batch.
        cost: time in units of the matrix products of a token, attention included.
        busy: by number of processes, share of the time with work for a process. All processes of a round wait for the
            most costly micro-batch.
    """

    comparisons: int
    micro_batches: int
    fewest: int
    most: int
    tokens: int
    largest: int
    cost: float
    busy: dict[int, float]


def schedule(plan: Plan, processes: Sequence[int] = (1, 2, 4, 8)) -> Schedule:
    """Cut every step of a run and add up the totals.

    Ten million comparisons take 2 seconds with 32 comparisons in a step.
    """
    comparisons = micro_batches = tokens = largest = most = 0
    fewest, cost = len(plan), 0.0
    waited = dict.fromkeys(processes, 0.0)
    for seen, tokens_in, spent in _steps(plan):
        comparisons += seen
        count = (tokens_in > 0).sum(axis=1)
        micro_batches += int(count.sum())
        fewest, most = min(fewest, int(count.min())), max(most, int(count.max()))
        tokens, largest = tokens + int(tokens_in.sum()), max(largest, int(tokens_in.max()))
        cost += float(spent.sum())
        # `deal` gives a round of P processes the next P micro-batches by cost, so every P-th cost is the longest of its
        # round.
        dealt = -np.sort(-spent, axis=1)
        for number in processes:
            waited[number] += float(dealt[:, ::number].sum()) * number
    busy = {number: cost / total for number, total in waited.items()}
    return Schedule(comparisons, micro_batches, fewest, most, tokens, largest, cost, busy)


def heaviest(plan: Plan) -> np.ndarray:
    """Return the comparisons of the micro-batch with the most tokens in a run, padding included."""
    most, place, first = -1.0, (1, 0), 1
    for _, tokens_in, _ in _steps(plan):
        step, micro_batch = np.unravel_index(tokens_in.argmax(), tokens_in.shape)
        if tokens_in[step, micro_batch] > most:
            most, place = tokens_in[step, micro_batch], (first + int(step), int(micro_batch))
        first += len(tokens_in)
    # The numbering of micro-batches agrees with `Plan.step`, because both use the same `cut`.
    return plan.step(place[0]).micro_batches[place[1]]


def _steps(plan: Plan) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Cut the steps of a plan, many at a time.

    Yields the number of comparisons, and tokens and cost of micro-batches: [S, M], 0 if a step has fewer micro-batches.
    """
    sizes = plan.load.sizes
    at_once = max(1, PLACES_AT_ONCE // plan.batch_size)
    for first in range(1, plan.num_steps + 1, at_once):
        drawn = plan.chosen(first, min(first + at_once, plan.num_steps + 1))
        labels = cut(plan.load, drawn, plan.limit)
        # One flat bin for each micro-batch of each step: a single `bincount` then adds up all steps.
        shape = (len(drawn), int(labels.max()) + 1)
        present = drawn >= 0
        place = (np.arange(len(drawn))[:, None] * shape[1] + labels)[present]
        comparisons = drawn[present]

        tokens_in, cost = (_sums(place, values[comparisons], shape) for values in (plan.load.tokens, plan.load.cost))
        # Padded rows all have the length of the longest, so the tokens of single comparisons do not add up.
        if plan.load.padded:
            widest = np.zeros(shape[0] * shape[1])
            np.maximum.at(widest, place, sizes.longest[comparisons])
            tokens_in = _sums(place, sizes.rows[comparisons], shape) * widest.reshape(shape)
        yield len(comparisons), tokens_in, cost


def _sums(place: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Add up values by place, in an array of the given shape."""
    return np.bincount(place, weights=values, minlength=shape[0] * shape[1]).reshape(shape)


class PeerTokens(NamedTuple):
    """Tokens of a pass, as run by trainers of pairs.

    Attributes:
        responses: tokens of each response once, with prompt.
        pairs: tokens of both responses of every judgment, with prompts.
        padded: as `pairs`, in random order, with each micro-batch of `PEER_PAIRS` pairs padded to the longest response.
    """

    responses: int
    pairs: int
    padded: int


def peer_tokens(store: TokenStore, seed: int) -> PeerTokens:
    """Count the tokens of a pass over a store without shared prompts."""
    lengths = store.full_lengths()
    start = np.repeat(store.first_response[:-1], np.diff(store.first_judgment))
    better, worse = lengths[start + store.better], lengths[start + store.worse]
    longest = np.maximum(better, worse)[generator(seed, "peer").permutation(len(start))]
    batches = np.zeros(-(-len(longest) // PEER_PAIRS) * PEER_PAIRS, dtype=np.int64)
    batches[: len(longest)] = longest
    # The last micro-batch is filled up with zeros; only its real pairs are padded to the longest.
    pairs_in = np.full(len(batches) // PEER_PAIRS, PEER_PAIRS)
    pairs_in[-1] -= len(batches) - len(longest)
    padded = (2 * pairs_in * batches.reshape(-1, PEER_PAIRS).max(axis=1)).sum()
    return PeerTokens(int(lengths.sum()), int(better.sum() + worse.sum()), int(padded))


def longest_comparison(plan: Plan, store: TokenStore) -> dict[str, Any]:
    """Describe the comparison with the largest share of the limit: id, responses and tokens."""
    worst = int(plan.load.tokens.argmax())
    return {
        "id": store.info[worst].id,
        "responses": int(plan.load.sizes.rows[worst]),
        "longest_response": int(plan.load.sizes.longest[worst]),
        "tokens": int(plan.load.tokens[worst]),
    }
