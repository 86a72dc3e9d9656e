"""When a run counts as diverged: a rule on the figures of its steps, without a tensor in it.

The rule looks at what a run has been, and not only at what it is. Labels that cannot be learned keep a model at chance
for a whole run, shuffled ones and a hidden prompt are meant to, and a narrow model may stand on a plateau for epochs:
none of them has diverged.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

PATIENCE = 20
"""Steps in a row for which a run must be out of range, or have equal scores."""
RECOVERY = 50
"""Steps in a row that it must be at chance: some models find their way back from a first step that was too long."""
GROWTH, FLOOR = 3.0, 5.0
"""A loss is out of range above this many times that of the first step, and above this many nats."""
BLOWN = 10.0
"""A single step whose loss is so many times out of range is no matter of its comparisons: that would take pairs that
are wrong by 50 nats on average."""
RATE, COVERED = 0.1, 1000
"""Weight of a new step in running means; for the accuracy less where steps are small, so that it covers about so many
comparisons: 32 alone have a standard error of 9 points, these of 1.6."""
CHANCE, FALL = 0.55, 0.15
"""A running accuracy up to the first is chance, and one that fell by the second to there was none before: nine standard
errors, so that a model of 60 % never does both by luck."""
SAME = 1e-5
"""A likelihood this close to ln 2, in nats, is that of equal scores: margins of 0.001 are seldom so close, and never
for `PATIENCE` steps."""


class Figures(NamedTuple):
    """What the rule is told of a step, before its update: the objective, the plain Bradley-Terry likelihood, the share
    of decided judgments that are ranked as labelled, and the number of comparisons."""

    loss: float
    nll: float
    accuracy: float
    comparisons: int


@dataclass
class Trace:
    """What the rule remembers of a run, in plain values.

    Attributes:
        start: loss of the first step; None before.
        loss: running mean of the loss, each step's cut at twice the limit, so that a single one never carries it there.
        out: steps in a row with that mean out of range; `same` with equal scores; `low` at chance after a fall.
        blown_at, blown: the last step that was `BLOWN`, and its loss; 0 where none was.
        accuracy: running mean.
        best_at, best: the step at which it was highest, and how high.
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
    """Follows a run and says when it has diverged.

    It has, when

    - for `PATIENCE` steps the running loss is above max(`GROWTH` times that of the first step, `FLOOR`); or
    - for `PATIENCE` steps after the warm-up all scores are equal; or
    - for `RECOVERY` steps after it the running accuracy is at chance, although it was better by `FALL`, or a single
      loss was `BLOWN`.

    Args:
        warmup: steps of the warm-up.
    """

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.trace = Trace()

    def look(self, step: int, figures: Figures) -> str:
        """Why the run counts as diverged at this step; '' where it does not."""
        trace, after = self.trace, step > self.warmup
        if trace.start is None:
            trace.start = trace.loss = figures.loss
        limit = max(GROWTH * trace.start, FLOOR)
        self._follow(step, figures, limit)
        trace.out = trace.out + 1 if trace.loss > limit else 0
        trace.same = trace.same + 1 if after and abs(figures.nll - math.log(2)) < SAME else 0
        trace.low = trace.low + 1 if after and self._fallen() else 0
        return self._reason(limit)

    def state(self) -> dict[str, Any]:
        """All that must be known to go on, as JSON values."""
        return asdict(self.trace)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.trace = Trace(**state)

    def _follow(self, step: int, figures: Figures, limit: float) -> None:
        trace, rate = self.trace, min(RATE, 2 * figures.comparisons / COVERED)
        trace.loss += RATE * (min(figures.loss, 2 * limit) - trace.loss)
        trace.accuracy += rate * (figures.accuracy - trace.accuracy)
        if trace.accuracy > trace.best:
            trace.best_at, trace.best = step, trace.accuracy
        if figures.loss > BLOWN * limit:
            trace.blown_at, trace.blown = step, figures.loss

    def _fallen(self) -> bool:
        trace = self.trace
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
