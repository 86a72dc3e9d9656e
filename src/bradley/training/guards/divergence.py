"""Rule for divergence, on the figures of each step, without tensors.

The rule reads the run's history, not only the present step. Three kinds of run stay at chance or on a plateau, and none
has diverged: runs on labels beyond learning, such as shuffled labels; runs with a hidden prompt; and small models
waiting on a plateau for epochs.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

PATIENCE = 20
"""Steps in a row before an out-of-range loss, or equal scores, count as divergence."""
RECOVERY = 50
"""Steps in a row at chance before a run counts as diverged: some models recover from a first step of excessive length.
"""
GROWTH, FLOOR = 3.0, 5.0
"""A loss is out of range above `GROWTH` times the first step's loss, and above `FLOOR` nats."""
BLOWN = 10.0
"""Factor on the limit above which a single loss counts as an explosion. Comparisons alone cannot explain such a loss:
their margins would have to be wrong by 50 nats on average."""
RATE, COVERED = 0.1, 1000
"""Weight of a new step in running means, and comparisons covered by the running accuracy. Small steps get a smaller
weight in the accuracy, because 32 comparisons alone have a standard error of 9 points, and 1000 have 1.6."""
CHANCE, FALL = 0.55, 0.15
"""Running accuracy up to `CHANCE` counts as chance, and a drop by `FALL` to chance as a fall. The drop is nine standard
errors: a model of 60 % never does both by luck."""
SAME = 1e-5
"""Distance from ln 2, in nats, within which a likelihood means equal scores. Margins of 0.001 are seldom as close, and
never for `PATIENCE` steps."""


class Figures(NamedTuple):
    """Figures of a step before its update, as read by the rule.

    Attributes:
        loss: the objective.
        nll: the plain Bradley-Terry negative log-likelihood, in nats.
        accuracy: share of decided judgments ranked as labelled.
        comparisons: number of comparisons in the step.
    """

    loss: float
    nll: float
    accuracy: float
    comparisons: int


@dataclass
class Trace:
    """Memory of the rule, in plain values for a checkpoint.

    Attributes:
        start: loss of the first step; None before.
        loss: running mean of the loss. Each step's loss is cut at twice the limit, lest a single step carry the mean
            out of range.
        out: steps in a row with the mean out of range; `same` with equal scores; `low` at chance after a fall.
        blown_at, blown: the last step above `BLOWN`, and its loss; 0 if none.
        accuracy: running mean.
        best_at, best: the step of the highest running accuracy, and the value.
    """

    start: float | None = None
    loss: float = 0.0
    out: int = 0
    same: int = 0
    low: int = 0
    blown_at: int = 0
    blown: float = 0.0
    accuracy: float = 0.5
    best_at: int = 0
    best: float = 0.5


class Divergence:
    """Detector of divergence, fed with every step of a run.

    A run has diverged in any of three cases:

    - The running loss is above max(`GROWTH` times the first loss, `FLOOR`) for `PATIENCE` steps.
    - All scores are equal for `PATIENCE` steps after the warm-up.
    - The running accuracy is at chance for `RECOVERY` steps after the warm-up, after a fall by `FALL` or an explosion
      (`BLOWN`).

    Args:
        warmup: steps of the warm-up.
    """

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.trace = Trace()

    def look(self, step: int, figures: Figures) -> str:
        """Return the reason if the run counts as diverged at this step, or ''."""
        trace, after = self.trace, step > self.warmup
        if trace.start is None:
            # The first loss sets the scale: a ranking of 16 responses begins at ln 16! = 30.7 nats, a pair at 0.69.
            trace.start = trace.loss = figures.loss
        limit = max(GROWTH * trace.start, FLOOR)
        self._follow(step, figures, limit)
        trace.out = trace.out + 1 if trace.loss > limit else 0
        # A score head initialised to zero gives equal scores until its learning rate has risen, hence no count during
        # the warm-up.
        trace.same = trace.same + 1 if after and abs(figures.nll - math.log(2)) < SAME else 0
        trace.low = trace.low + 1 if after and self._fallen() else 0
        return self._reason(limit)

    def state(self) -> dict[str, Any]:
        """Return the memory of the rule as JSON values, for `restore`."""
        return asdict(self.trace)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state`."""
        self.trace = Trace(**state)

    def _follow(self, step: int, figures: Figures, limit: float) -> None:
        trace, rate = self.trace, min(RATE, 2 * figures.comparisons / COVERED)
        # Without the cut, a single loss of 1e6 would keep the mean out of range for ninety healthy steps.
        trace.loss += RATE * (min(figures.loss, 2 * limit) - trace.loss)
        # An exponential mean of weight r covers about 2 / r steps, hence 2 n / `COVERED` for steps of n comparisons.
        trace.accuracy += rate * (figures.accuracy - trace.accuracy)
        if trace.accuracy > trace.best:
            trace.best_at, trace.best = step, trace.accuracy
        if figures.loss > BLOWN * limit:
            trace.blown_at, trace.blown = step, figures.loss

    def _fallen(self) -> bool:
        trace = self.trace
        # Chance alone is no fault: shuffled labels and hard data stay there for a whole run.
        return trace.accuracy <= CHANCE and (trace.best - trace.accuracy >= FALL or trace.blown_at > 0)

    def _reason(self, limit: float) -> str:
        trace = self.trace
        if trace.out >= PATIENCE:
            return f"the loss, {trace.start:.4g} at first, has been above {limit:.4g} for {PATIENCE} steps"
        if trace.same >= PATIENCE:
            return f"all responses have had the same score for {PATIENCE} steps"
        if trace.low < RECOVERY:
            return ""
        if trace.blown_at:
            after = f"after a loss of {trace.blown:.4g} at step {trace.blown_at}"
            return f"accuracy is at chance, {trace.accuracy:.1%}, {after}"
        return f"accuracy is back at chance, {trace.accuracy:.1%}, from {trace.best:.1%} at step {trace.best_at}"
