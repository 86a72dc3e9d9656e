"""Plan optimizer steps and micro-batches, as a pure function of lengths and seed.

A plan depends on no model, device or number of processes. Every machine therefore takes the same steps, and a resumed
run needs a single integer. The divisors of a step are known before the first forward pass of the step.

Legend: G comparisons, S steps, B comparisons of a step.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..common.seeds import generator
from .micro_batches import Limit, Load, check_limit, cut, deal, parts, pieces, ranges
from .token_store import TokenStore


class Totals(NamedTuple):
    """Divisors of an optimizer step, in the units named by loss terms."""

    judgment_weight: float
    response: float
    comparison: float


class Step(NamedTuple):
    """An optimizer step.

    Attributes:
        number: from 1.
        comparisons: every comparison of the step, in drawn order.
        micro_batches: the same comparisons, cut by cost; each array goes through the model at once.
    """

    number: int
    comparisons: np.ndarray
    micro_batches: list[np.ndarray]


@dataclass(frozen=True)
class Plan:
    """Schedule of a run.

    Attributes:
        load: cost of each comparison on the engine.
        limit: limit of a micro-batch.
        judgments: [G] judgments of each comparison.
        weights: [G] sum of each comparison's judgment weights.
        batch_size: comparisons per step; the last step of an epoch takes the rest.
        seed: seed of the order, drawn anew for every epoch.
        num_steps: steps in the run.
    """

    load: Load
    limit: Limit
    judgments: np.ndarray
    weights: np.ndarray
    batch_size: int
    seed: int
    num_steps: int

    def __len__(self) -> int:
        return len(self.judgments)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in a pass over all comparisons."""
        return math.ceil(len(self) / self.batch_size)

    def step(self, number: int) -> Step:
        """Return step `number` (from 1), independent of the steps before."""
        drawn = self.chosen(number, number + 1)
        # Empty places of a short step are removed: an index of -1 would mean the last comparison.
        drawn = drawn[:, drawn[0] >= 0]
        return Step(number, drawn[0], pieces(drawn[0], cut(self.load, drawn, self.limit)[0]))

    def steps(self) -> Iterator[Step]:
        """Iterate over every step of the run, in order."""
        return (self.step(number) for number in range(1, self.num_steps + 1))

    def chosen(self, first: int, stop: int) -> np.ndarray:
        """Return the comparisons of the steps from `first` to before `stop`: [S, B], -1 for an empty place of a short
        step.
        """
        found = np.full((stop - first, min(self.batch_size, len(self))), -1)
        # Asked steps may span epochs, and each epoch has an order of its own.
        for epoch in range((first - 1) // self.steps_per_epoch, (stop - 2) // self.steps_per_epoch + 1):
            begin = epoch * self.steps_per_epoch + 1
            low, high = max(first, begin), min(stop, begin + self.steps_per_epoch)
            order = _order(len(self), self.seed, epoch)
            drawn = order[(low - begin) * self.batch_size : (high - begin) * self.batch_size]
            found[low - first : high - first].flat[: len(drawn)] = drawn
        return found

    def rounds(self, step: Step, processes: int) -> np.ndarray:
        """Deal the micro-batches of a step out to processes: [rounds, processes] numbers, -1 for an empty micro-batch.

        Every process runs equally many; see `micro_batches.deal`. The number of processes changes the assignment alone,
        never the contents of a step or micro-batch.
        """
        return deal(self._costs(step), processes)

    def parts(self, step: Step, most: int, processes: int) -> list[list[tuple[int, int]]]:
        """Assign neighbouring parts of a step to each process, in order: the first micro-batch of each part, and the
        end (exclusive).

        The number of processes changes the assignment alone, never the parts. See `micro_batches.parts` and
        `micro_batches.ranges`.
        """
        # Gradients are summed part by part: parts that depended on the number of processes would change the rounding of
        # the sum.
        costs = self._costs(step)
        found = parts(costs, most)
        whose = ranges(np.array([costs[first:stop].sum() for first, stop in found]), processes)
        return [found[first:stop] for first, stop in whose]

    def _costs(self, step: Step) -> np.ndarray:
        """Sum the cost of each micro-batch of a step: [M]."""
        return np.array([self.load.cost[micro_batch].sum() for micro_batch in step.micro_batches])

    def judgments_in(self, step: Step) -> int:
        """Count the judgments of a step: the unit of the episodes in logs."""
        return int(self.judgments[step.comparisons].sum())

    def totals(self, step: Step) -> Totals:
        """Compute the divisors of a step, over all micro-batches."""
        # A mean over each micro-batch would make the gradient depend on the cut; divisors of the whole step do not.
        comparisons = step.comparisons
        rows = self.load.sizes.rows[comparisons]
        return Totals(float(self.weights[comparisons].sum()), float(rows.sum()), float(len(comparisons)))


def make_plan(
    store: TokenStore,
    load: Load,
    limit: Limit,
    *,
    batch_size: int,
    seed: int,
    epochs: float = 1.0,
    max_steps: int = 0,
    weight_by: str = "prompt",
) -> Plan:
    """Plan a run over a store, for `max_steps` steps or, if `max_steps` is 0, for `epochs` passes.

    Args:
        store: the training comparisons.
        load: load of the same comparisons.
        limit: limit of a micro-batch.
        batch_size: comparisons per step.
        seed: seed of the order.
        epochs: passes over the store, fractions included.
        max_steps: steps of the run; 0 for `epochs`.
        weight_by: see `TokenStore.judgment_weights`.

    Raises:
        DataError: a comparison alone exceeds a strict limit; the message names the comparison.
    """
    check_limit(store, load, limit)
    # float64: a divisor adds up many weights, and must not collect the rounding of float32.
    weights = np.add.reduceat(store.judgment_weights(weight_by), store.first_judgment[:-1], dtype=np.float64)
    steps = epochs * math.ceil(len(store) / batch_size)
    # Rounded first: 1.1 * 50 is 55.00000000000001 in floats, which would add a step.
    num_steps = max_steps or max(1, math.ceil(round(steps, 6)))
    return Plan(load, limit, np.diff(store.first_judgment), weights, batch_size, seed, num_steps)


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Draw the order of an epoch."""
    order = generator(seed, "order", epoch).permutation(size)
    # All callers share the cached array: writing to it would change the order of later steps.
    order.setflags(write=False)
    return order
