"""What stands between a gradient and the optimizer: numbers that are not finite, and runs that have diverged.

Everything here is decided by figures of the whole step, which every process has alike, so that all of them stop, or
skip, at the same step.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...config import Config
from ...data.plan import Step
from ...errors import DivergedError
from ..metrics import Event, StepSums
from ..optim import warmup_steps
from .culprits import Culprit, Exchange, Pieces, Replay, culprits, culprits_in_turn
from .divergence import Divergence, Figures
from .out_of_memory import MemoryGuard

MOST_SKIPPED, SKIPPED_WITHIN = 3, 1000
"""So many steps may be skipped among so many."""
SHOWN = 3


class Guard:
    """Looks at every step before the optimizer moves.

    A step whose loss or gradient is not finite ends the run or, with `optim.skip_nonfinite`, is passed over: no weight
    moves, while steps, order and randomness go on as if it had.

    Args:
        again: runs comparisons of a step once more.
        known: of a run that goes on, what `state` gave.
        exchange, rank: of the processes of a run.
        narrow: whether this process can run comparisons by itself, else all do so in turn.
        beat: says that there is progress while comparisons are run again.

    Attributes:
        skipped: for each step that was passed over, `step`, `loss`, `grad_norm` and `causes`, in lines.
        diverged: why the run counts as diverged, where `train.divergence_stop` lets it go on; '' where it does not.
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
        """A micro-batch begins: number `piece` of the step, or -1 where it is there only to keep processes in step."""
        self.memory_guard.enter(step, piece, chosen)
        self._pieces.append((piece, chosen))

    def allows(self, step: Step, sums: StepSums, norm: float) -> bool:
        """Whether the optimizer may move on a step whose last micro-batch has ended.

        Args:
            sums, norm: figures and gradient norm of the whole step.

        Raises:
            DivergedError: not finite, and no more steps may be skipped; or the run has diverged.
        """
        pieces, self._pieces = self._pieces, []
        if math.isfinite(sums.loss) and math.isfinite(norm):
            self.memory_guard.leave(step)
            self._stop_if_diverged(step, sums)
            return True
        lines = self.exchange([self._line(culprit) for culprit in self._culprits(step, pieces)])
        self.memory_guard.leave(step)
        recent = 1 + sum(entry["step"] > step.number - SKIPPED_WITHIN for entry in self.skipped)
        if not self.config.optim.skip_nonfinite or recent > MOST_SKIPPED:
            raise self._not_finite(step, sums.loss, norm, lines, recent)
        figures = {"loss": _number(sums.loss), "grad_norm": _number(norm)}
        self.skipped.append({"step": step.number, **figures, "causes": lines})
        return False

    def passed_over(self) -> str:
        """The last step that was skipped, in lines."""
        last = self.skipped[-1]
        said = f"skipped      step {last['step']}: loss {last['loss']}, gradient norm {last['grad_norm']}"
        return "\n".join([said, *last["causes"]])

    def facts(self) -> dict[str, Any]:
        """What belongs into the results of a run."""
        return {"skipped_steps": self.skipped, "diverged": self.diverged}

    def state(self) -> dict[str, Any]:
        """All that must be known to go on, as JSON values."""
        return {**self.facts(), "divergence": self.divergence.state()}

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

    def _culprits(self, step: Step, pieces: Pieces) -> list[Culprit]:
        trial = self.replay.trial(step, self.heartbeat)
        return culprits(trial, pieces) if self.runs_alone else culprits_in_turn(trial, pieces, self.exchange, self.rank)

    def _line(self, culprit: Culprit) -> str:
        sizes = self.plan.load.sizes
        names = [
            f"{self.store.info[int(g)].id} ({sizes.rows[g]} responses of up to {sizes.longest[g]} tokens)"
            for g in culprit.comparisons[:SHOWN]
        ]
        more = len(culprit.comparisons) - SHOWN
        shown = ", ".join(names) + (f" and {more} more" if more > 0 else "")
        figures = f"loss {culprit.loss}, gradient norm {culprit.norm}"
        return f"process {self.rank}, micro-batch {culprit.piece + 1}: {figures}; comparisons: {shown}"

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
