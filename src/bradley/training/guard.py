"""What stands between a gradient and the optimizer: numbers that are not finite, and runs that have diverged.

Everything here is decided by figures of the whole step, which every process has alike, so that all of them stop, or
skip, at the same step.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..config import Config
from ..data.plan import Plan, Step
from ..data.store import TokenStore
from ..errors import DivergedError
from .blame import Culprit, Trial, culprits
from .divergence import Divergence, Figures
from .metrics import Event, StepSums
from .optim import warmup_steps

MOST_SKIPPED, SKIPPED_WITHIN = 3, 1000
"""So many steps may be skipped among so many."""
SHOWN = 5
Exchange = Callable[[str], Sequence[str]]
"""Gives a text to all processes, and takes one from each, in their order."""


def alone(text: str) -> list[str]:
    """The exchange of a single process."""
    return [text]


class Guard:
    """Looks at every step before the optimizer moves.

    A step whose loss or gradient is not finite ends the run or, with `optim.skip_nonfinite`, is passed over: no weight
    moves, while steps, order and randomness go on as if it had.

    Args:
        trial: by step, how its comparisons are run once more; see `blame.trial_of`.
        exchange: between the processes of the run.

    Attributes:
        skipped: for each step that was passed over, `step`, `loss`, `grad_norm` and the lines that say what was wrong.
        diverged: why the run counts as diverged, where `train.divergence_stop` lets it go on; '' where it does not.
    """

    def __init__(
        self, config: Config, plan: Plan, store: TokenStore, trial: Callable[[Step], Trial], exchange: Exchange = alone
    ) -> None:
        self.config, self.plan, self.store = config, plan, store
        self.trial, self.exchange = trial, exchange
        self.divergence = Divergence(warmup_steps(plan.num_steps, config.optim))
        self.skipped: list[Event] = []
        self.diverged = ""

    def allows(self, step: Step, pieces: Sequence[tuple[int, np.ndarray]], sums: StepSums, norm: float) -> bool:
        """Whether the optimizer may move on this step.

        Args:
            pieces: the micro-batches that this process ran, with their numbers in the step.
            sums, norm: figures and gradient norm of the whole step.

        Raises:
            DivergedError: not finite, and no more steps may be skipped; or the run has diverged.
        """
        if math.isfinite(sums.loss) and math.isfinite(norm):
            self._stop_if_diverged(step, sums)
            return True
        lines = self._lines(step, pieces)
        self.skipped.append(
            {"step": step.number, "loss": _number(sums.loss), "grad_norm": _number(norm), "causes": lines}
        )
        recent = sum(entry["step"] > step.number - SKIPPED_WITHIN for entry in self.skipped)
        if not self.config.optim.skip_nonfinite or recent > MOST_SKIPPED:
            raise self._not_finite(step, sums.loss, norm, lines, recent)
        return False

    def facts(self) -> dict[str, Any]:
        """What belongs into the results of a run."""
        return {"skipped_steps": self.skipped, "diverged": self.diverged}

    def state(self) -> dict[str, Any]:
        """All that must be known to go on, as JSON values."""
        return {**self.facts(), "divergence": self.divergence.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.skipped, self.diverged = list(state["skipped_steps"]), str(state["diverged"])
        self.divergence.restore(state["divergence"])

    def _stop_if_diverged(self, step: Step, sums: StepSums) -> None:
        if self.diverged or not sums.totals["decided"]:
            return
        figures = Figures(sums.loss, sums.mean("nll"), sums.mean("accuracy"), len(step.comparisons))
        if reason := self.divergence.look(step.number, figures):
            self.diverged = f"step {step.number}: {reason}"
            if self.config.train.divergence_stop:
                raise DivergedError(
                    f"the run has diverged at {self.diverged}",
                    "lower optim.lr or raise optim.warmup; to train on, use --train.divergence_stop false",
                )

    def _lines(self, step: Step, pieces: Sequence[tuple[int, np.ndarray]]) -> list[str]:
        """What was not finite, one line for each micro-batch, of all processes."""
        found = culprits(self.trial(step), pieces)
        mine = json.dumps([self._line(culprit) for culprit in found])
        given = [json.loads(text) for text in self.exchange(mine)]
        return [f"process {rank}, {line}" for rank, lines in enumerate(given) for line in lines]

    def _line(self, culprit: Culprit) -> str:
        sizes = self.plan.load.sizes
        names = [
            f"{self.store.info[int(g)].id} ({sizes.rows[g]} responses of up to {sizes.longest[g]} tokens)"
            for g in culprit.comparisons[:SHOWN]
        ]
        more = len(culprit.comparisons) - SHOWN
        shown = ", ".join(names) + (f" and {more} more" if more > 0 else "")
        return f"micro-batch {culprit.piece + 1}: loss {culprit.loss}, gradient norm {culprit.norm}: {shown}"

    def _not_finite(self, step: Step, loss: float, norm: float, lines: list[str], recent: int) -> DivergedError:
        what = "gradient" if math.isfinite(loss) else "loss"
        said = [
            f"the {what} of step {step.number} is {norm if what == 'gradient' else loss}; the optimizer has not moved"
        ]
        if recent > 1:
            said = [f"{said[0]}; {recent} such steps within {SKIPPED_WITHIN:,}, and {MOST_SKIPPED} may be skipped"]
        return DivergedError(
            "\n".join([*said, *(lines or ["no comparison of the step gives it again: look at the machine"])]),
            "lower optim.lr, or look at these comparisons; the checkpoints before this step are whole",
        )


def _number(value: float) -> float | str:
    """A number as JSON has it: one that is not finite as text."""
    return value if math.isfinite(value) else str(value)
