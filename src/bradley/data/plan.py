"""The planner: which comparisons make up which optimizer step and micro-batch, as a pure function of lengths and seed.

Nothing here knows a model, a device or a number of processes, so the same steps come out everywhere, a resume needs one
integer, and the divisors of a step are known before its first forward.

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
    """What a whole optimizer step is divided by, in the units that a loss term may name."""

    judgment_weight: float
    response: float
    comparison: float


class Step(NamedTuple):
    """One optimizer step.

    Attributes:
        number: from 1.
        comparisons: every comparison of the step, in drawn order.
        micro_batches: the same comparisons, cut by cost; each goes through the model at once.
    """

    number: int
    comparisons: np.ndarray
    micro_batches: list[np.ndarray]


@dataclass(frozen=True)
class Plan:
    """The schedule of a run.

    Attributes:
        load: what each comparison asks of the engine.
        limit: how much goes through the model at once.
        judgments: [G] judgments of each comparison.
        weights: [G] sum of its judgment weights.
        batch_size: comparisons per step; the last step of an epoch takes what is left.
        seed: of the order, which is drawn anew for every epoch.
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
        """Steps that see every comparison once."""
        return math.ceil(len(self) / self.batch_size)

    def step(self, number: int) -> Step:
        """Step `number` (from 1), whatever came before it."""
        chosen = self.chosen(number, number + 1)
        chosen = chosen[:, chosen[0] >= 0]
        return Step(number, chosen[0], pieces(chosen[0], cut(self.load, chosen, self.limit)[0]))

    def steps(self) -> Iterator[Step]:
        """Every step of the run, in order."""
        return (self.step(number) for number in range(1, self.num_steps + 1))

    def chosen(self, first: int, stop: int) -> np.ndarray:
        """[S, B] the comparisons of the steps from `first` to before `stop`; -1 where a short step has no more."""
        found = np.full((stop - first, min(self.batch_size, len(self))), -1)
        for epoch in range((first - 1) // self.steps_per_epoch, (stop - 2) // self.steps_per_epoch + 1):
            begin = epoch * self.steps_per_epoch + 1
            low, high = max(first, begin), min(stop, begin + self.steps_per_epoch)
            order = _order(len(self), self.seed, epoch)
            drawn = order[(low - begin) * self.batch_size : (high - begin) * self.batch_size]
            found[low - first : high - first].flat[: len(drawn)] = drawn
        return found

    def rounds(self, step: Step, processes: int) -> np.ndarray:
        """[rounds, processes] numbers of the micro-batches of a step that each process runs: equally many, -1 for an
        empty one where there is no more; see `cut.deal`.

        What a step and its micro-batches hold does not depend on the number of processes, only who runs them does.
        """
        return deal(self._costs(step), processes)

    def parts(self, step: Step, most: int, processes: int) -> list[list[tuple[int, int]]]:
        """Which parts of a step each process runs, neighbours in their order: the first micro-batch of each, and the
        one after the last; see `cut.parts` and `cut.ranges`.

        The parts do not depend on the number of processes, only who runs them does.
        """
        costs = self._costs(step)
        found = parts(costs, most)
        whose = ranges(np.array([costs[first:stop].sum() for first, stop in found]), processes)
        return [found[first:stop] for first, stop in whose]

    def _costs(self, step: Step) -> np.ndarray:
        return np.array([self.load.cost[piece].sum() for piece in step.micro_batches])

    def judgments_in(self, step: Step) -> int:
        """Judgments of one step: what an episode counts."""
        return int(self.judgments[step.comparisons].sum())

    def totals(self, step: Step) -> Totals:
        """The divisors of one step, over all its micro-batches."""
        chosen = step.comparisons
        rows = self.load.sizes.rows[chosen]
        return Totals(float(self.weights[chosen].sum()), float(rows.sum()), float(len(chosen)))


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
    """A plan over a store, for `max_steps` steps or, where that is 0, for `epochs` passes.

    Raises:
        DataError: a comparison that alone exceeds a strict limit, by name.
    """
    check_limit(store, load, limit)
    weights = np.add.reduceat(store.judgment_weights(weight_by), store.first_judgment[:-1], dtype=np.float64)
    steps = epochs * math.ceil(len(store) / batch_size)
    num_steps = max_steps or max(1, math.ceil(round(steps, 6)))  # 1.1 * 50 is 55.00000000000001 in floats
    return Plan(load, limit, np.diff(store.first_judgment), weights, batch_size, seed, num_steps)


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    order = generator(seed, "order", epoch).permutation(size)
    order.setflags(write=False)
    return order
