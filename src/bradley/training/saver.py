"""When a run is saved, and that it is saved when it is asked to stop."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from ..common.files import check_space
from ..common.signals import StopRequested
from ..config import Config
from ..errors import Preempted
from ..model.folder.weights import tensors_to_save
from .checkpoints.state import save_state
from .distributed.full_tensors import optimizer_state
from .distributed.strategy import Write
from .guards.gradient_flow import GradientFlow
from .guards.nonfinite import Guard
from .job import Job
from .optimizer_bytes import state_bytes
from .progress import Progress
from .tracking import Writers
from .tracking.timing import Timer

AT_ONCE = 2
"""Checkpoints that are on the disk together, at least: an old one goes only when the next is whole."""


def check_disk(job: Job, *, begun: bool) -> None:
    """Make sure that a run can save itself.

    Args:
        begun: a checkpoint of the run is there already.

    Raises:
        DiskError: the disk has too little room.
    """
    check_space(job.folder, checkpoint_bytes(job.model.network, job.optimizer, job.config) * (AT_ONCE - begun))


def checkpoint_bytes(network: Any, optimizer: Any, config: Config) -> int:
    """Bytes of the tensors in a checkpoint, weights and optimizer, each whole; all else is small beside them."""
    trained = [tuple(weight.shape) for group in optimizer.param_groups for weight in group["params"]]
    return weights_bytes(network) + sum(
        state_bytes(config.optim.name, dict(config.optim.options), shape) for shape in trained
    )


def weights_bytes(network: Any) -> int:
    """Bytes of the weights in a checkpoint."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_to_save(network).values())


def growth(job: Job) -> float:
    """The size of later checkpoints over that of the present one: before its first step, an optimizer keeps nothing."""
    if job.optimizer.state:
        return 1.0
    network = job.model.network
    return checkpoint_bytes(network, job.optimizer, job.config) / weights_bytes(network)


class Saver:
    """Writes the checkpoints of a run: model, optimizer and progress as one, at the place where the run is."""

    def __init__(
        self, job: Job, progress: Progress, gradient_flow: GradientFlow, guard: Guard, writers: Writers, timer: Timer
    ) -> None:
        self.job, self.progress, self.gradient_flow, self.writers, self.timer = (
            job,
            progress,
            gradient_flow,
            writers,
            timer,
        )
        self.guard = guard
        self.before = progress.seconds
        self.began = self.last = time.monotonic()
        self.warned = False
        self.committed: tuple[int, bool] | None = (
            (progress.position.step, progress.evaluated) if progress.begun else None
        )

    def save(self, facts: dict[str, Any], *, best: bool = False) -> None:
        """Commit a checkpoint of the present place.

        Args:
            facts: figures of the evaluation made here, empty where none was.
        """
        job, strategy, progress, asked = self.job, self.job.strategy, self.progress, time.monotonic()
        with self.timer.phase("checkpoint"), strategy.watchdog.slow():
            progress.gradient_flow, progress.guard = self.gradient_flow.state(), self.guard.state()
            progress.writers = self.writers.sync()
            progress.seconds = self.before + time.monotonic() - self.began
            strategy.check_weights()
            optimizer, tensors = optimizer_state(job.model, job.optimizer)
            weights = strategy.saved_weights()

            def commit(write: Write) -> None:
                job.checkpoints.save(
                    progress.position.step,
                    job.model,
                    job.renderer,
                    facts,
                    best=best,
                    state=lambda folder: save_state(folder, optimizer, progress, job.evaluator, write),
                    weights=weights,
                )

            strategy.save(commit, tensors)
        self.committed, self.last = (progress.position.step, progress.evaluated), time.monotonic()
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
        settings, step = self.job.config.checkpoint, self.progress.position.step
        waited = (time.monotonic() - self.last) / 60
        by_clock = settings.minutes > 0 and self.job.strategy.group.any(waited >= settings.minutes)
        if by_clock or (settings.every and step % settings.every == 0):
            self.save({})

    @contextlib.contextmanager
    def saving_when_asked(self) -> Iterator[None]:
        """Turn a request to stop into a checkpoint of the last whole step, and `Preempted`."""
        try:
            yield
        except StopRequested as asked:
            position = self.progress.position
            if self.committed != (position.step, self.progress.evaluated):
                self.save({})
            raise Preempted(
                f"stopped by {asked} after step {position.step} of {self.job.plan.num_steps}; the run is saved",
                "the same command with --resume goes on from there",
            ) from asked
