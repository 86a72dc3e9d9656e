"""When a run is saved, and that it is saved when it is asked to stop."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from ..errors import Preempted
from ..stopping import StopRequested
from .guard import Guard
from .job import Job
from .movement import Movement
from .parallel.team import Write
from .parallel.whole import optimizer_state
from .progress import Progress
from .space import growth
from .state import save_state
from .timing import Timer
from .writers import Writers


class Keeper:
    """Writes the checkpoints of a run: model, optimizer and progress as one, at the place where the run is."""

    def __init__(
        self, job: Job, progress: Progress, movement: Movement, guard: Guard, writers: Writers, timer: Timer
    ) -> None:
        self.job, self.progress, self.movement, self.writers, self.timer = job, progress, movement, writers, timer
        self.guard = guard
        self.before = progress.seconds
        self.began = self.last = time.monotonic()
        self.warned = False
        self.committed: tuple[int, bool] | None = (progress.place.step, progress.evaluated) if progress.begun else None

    def save(self, facts: dict[str, Any], *, best: bool = False) -> None:
        """Commit a checkpoint of the present place.

        Args:
            facts: figures of the evaluation made here, empty where none was.
        """
        job, team, progress, asked = self.job, self.job.team, self.progress, time.monotonic()
        with self.timer.phase("checkpoint"), team.watchdog.slow():
            progress.movement, progress.guard = self.movement.state(), self.guard.state()
            progress.writers = self.writers.sync()
            progress.seconds = self.before + time.monotonic() - self.began
            team.check_weights()
            optimizer, tensors = optimizer_state(job.model, job.optimizer)
            weights = team.saved_weights()

            def commit(write: Write) -> None:
                job.checkpoints.save(
                    progress.place.step,
                    job.model,
                    job.renderer,
                    facts,
                    best=best,
                    state=lambda folder: save_state(folder, optimizer, progress, job.evaluator, write),
                    weights=weights,
                )

            team.save(commit, tensors)
        self.committed, self.last = (progress.place.step, progress.evaluated), time.monotonic()
        self._check_grace(self.last - asked)

    def _check_grace(self, seconds: float) -> None:
        """Say, once, that a request to stop leaves no time for a checkpoint.

        Args:
            seconds: what the present one took; the first, without the state of the optimizer, says what others will.
        """
        grace, more = self.job.config.checkpoint.grace_seconds, growth(self.job)
        if 0 < grace < seconds * more and not self.warned:
            self.warned = True
            later = f"; with the optimizer's state it will take about {seconds * more:.1f} s" if more > 1 else ""
            self.job.console.warn(
                f"warning      a checkpoint took {seconds:.1f} s{later}; checkpoint.grace_seconds = {grace:g}: killed "
                "so soon after it was asked to stop, the run loses what it did since the checkpoint before; have it "
                "given more time, or save more often (checkpoint.every, checkpoint.minutes)"
            )

    def save_on_schedule(self) -> None:
        """Commit a checkpoint if steps or minutes since the last one say so."""
        settings, step = self.job.config.checkpoint, self.progress.place.step
        waited = (time.monotonic() - self.last) / 60
        by_clock = settings.minutes > 0 and self.job.team.group.any(waited >= settings.minutes)
        if by_clock or (settings.every and step % settings.every == 0):
            self.save({})

    @contextlib.contextmanager
    def saving_when_asked(self) -> Iterator[None]:
        """Turn a request to stop into a checkpoint of the last whole step, and `Preempted`."""
        try:
            yield
        except StopRequested as asked:
            place = self.progress.place
            if self.committed != (place.step, self.progress.evaluated):
                self.save({})
            raise Preempted(
                f"stopped by {asked} after step {place.step} of {self.job.plan.num_steps}; the run is saved",
                "the same command with --resume goes on from there",
            ) from asked
