"""Checks between the gradient and the optimizer: non-finite numbers, and runs that have diverged.

All checks read figures of the whole step. Every process has the same figures, hence all processes stop, or skip, at the
same step.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...common.text import and_more
from ...config import Config
from ...data.plan import Step
from ...errors import DivergedError
from ..metrics import Event, StepSums
from ..optim import warmup_steps
from .culprits import Culprit, Exchange, Pieces, Replay, culprits, culprits_in_turn
from .divergence import Divergence, Figures
from .out_of_memory import MemoryGuard

MOST_SKIPPED, SKIPPED_WITHIN = 3, 1000
"""At most `MOST_SKIPPED` steps may be skipped within `SKIPPED_WITHIN` steps."""
SHOWN = 3
"""Comparisons named for a culprit, at most."""


class Guard:
    """Check of every step before the optimizer's update.

    A step with a non-finite loss or gradient ends the run. With `optim.skip_nonfinite` the step is skipped instead: no
    weight moves, while steps, order and randomness continue as after an update.

    Args:
        config: of the run.
        replay: runs comparisons of a step again.
        known: result of `state`, for a resumed run.
        exchange: as of `culprits_in_turn`.
        rank: of this process.
        runs_alone: True if this process holds all weights and needs no other process to run the model.
        heartbeat: tells the watchdog about progress while comparisons run again.

    Attributes:
        skipped: for each skipped step, `step`, `loss`, `grad_norm` and the lines of `causes`.
        diverged: reason for divergence if `train.divergence_stop` lets the run continue; '' before divergence.
        memory_guard: explains running out of memory.
    """

    def __init__(
        self,
        config: Config,
        replay: Replay,
        known: dict[str, Any] | None = None,
        *,
        exchange: Exchange = list,
        rank: int = 0,
        runs_alone: bool = True,
        heartbeat: Callable[[], object] = lambda: None,
    ) -> None:
        self.config, self.plan, self.store, self.replay = config, replay.plan, replay.store, replay
        self.exchange, self.rank, self.runs_alone, self.heartbeat = exchange, rank, runs_alone, heartbeat
        self.memory_guard = MemoryGuard(config, replay.plan, replay.store)
        self.divergence = Divergence(warmup_steps(replay.plan.num_steps, config.optim))
        self.skipped: list[Event] = list(known["skipped_steps"]) if known else []
        self.diverged: str = known["diverged"] if known else ""
        if known:
            self.divergence.restore(known["divergence"])
        self._pieces: list[tuple[int, np.ndarray]] = []

    def enter(self, step: Step, piece: int, chosen: np.ndarray) -> None:
        """Note the start of a micro-batch: number `piece` of the step, or -1 for an empty micro-batch."""
        self.memory_guard.enter(step, piece, chosen)
        self._pieces.append((piece, chosen))

    def allows(self, step: Step, sums: StepSums, norm: float) -> bool:
        """Return True if the optimizer may move, after the last micro-batch of a step.

        Args:
            step: the finished step.
            sums: figures of the whole step.
            norm: gradient norm of the whole step, before clipping.

        Raises:
            DivergedError: a non-finite number, and no further step may be skipped; or the run has diverged.
        """
        pieces, self._pieces = self._pieces, []
        # Loss and norm are looked at once per step, after the reduction. A look per micro-batch would wait for the GPU
        # once more each time.
        if math.isfinite(sums.loss) and math.isfinite(norm):
            self.memory_guard.leave(step)
            self._stop_if_diverged(step, sums)
            return True
        # A collective call: every process reaches this line, because all have seen the same loss and norm.
        lines = self.exchange([self._line(culprit) for culprit in self._culprits(step, pieces)])
        self.memory_guard.leave(step)
        # The skipped steps come from the checkpoint, too: a resume must not reset the count.
        recent = 1 + sum(entry["step"] > step.number - SKIPPED_WITHIN for entry in self.skipped)
        if not self.config.optim.skip_nonfinite or recent > MOST_SKIPPED:
            raise self._not_finite(step, sums.loss, norm, lines, recent)
        figures = {"loss": _number(sums.loss), "grad_norm": _number(norm)}
        self.skipped.append({"step": step.number, **figures, "causes": lines})
        return False

    def passed_over(self) -> list[str]:
        """Return the lines of the screen about the last skipped step."""
        last = self.skipped[-1]
        said = f"skipped      step {last['step']}: loss {last['loss']}, gradient norm {last['grad_norm']}"
        return [said, *last["causes"]]

    def facts(self) -> dict[str, Any]:
        """Return the guard's entries for the results of a run."""
        return {"skipped_steps": self.skipped, "diverged": self.diverged}

    def state(self) -> dict[str, Any]:
        """Return the guard's memory as JSON values, for a resumed run."""
        return {**self.facts(), "divergence": self.divergence.state()}

    def _stop_if_diverged(self, step: Step, sums: StepSums) -> None:
        # A step of ties alone has no accuracy, and says nothing about learning. A divergence is reported once.
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

    def _culprits(self, step: Step, pieces: Pieces) -> list[Culprit]:
        trial = self.replay.trial(step, self.heartbeat)
        return culprits(trial, pieces) if self.runs_alone else culprits_in_turn(trial, pieces, self.exchange, self.rank)

    def _line(self, culprit: Culprit) -> str:
        sizes = self.plan.load.sizes
        names = [
            f"{self.store.info[int(g)].id} ({sizes.rows[g]} responses of up to {sizes.longest[g]} tokens)"
            for g in culprit.comparisons
        ]
        figures = f"loss {culprit.loss}, gradient norm {culprit.norm}"
        return f"process {self.rank}, micro-batch {culprit.piece + 1}: {figures}; comparisons: {and_more(names, SHOWN)}"

    def _not_finite(self, step: Step, loss: float, norm: float, lines: list[str], recent: int) -> DivergedError:
        what = "gradient" if math.isfinite(loss) else "loss"
        said = [
            f"the {what} of step {step.number} is {norm if what == 'gradient' else loss}; the optimizer has not moved"
        ]
        if recent > 1:
            said = [f"{said[0]}; {recent} such steps within {SKIPPED_WITHIN:,}, and {MOST_SKIPPED} may be skipped"]
        return DivergedError(
            [*said, *(lines or ["no comparison of the step gives it again: look at the machine"])],
            "lower optim.lr, or look at these comparisons; the checkpoints before this step are whole",
        )


def _number(value: float) -> float | str:
    """Return a finite number as such, and a non-finite number as text: JSON has no NaN."""
    return value if math.isfinite(value) else str(value)
