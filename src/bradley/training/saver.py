"""Checkpoints of a run: on schedule, when the run is asked to stop, and one more attempt on a full disk."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..common.files import check_space
from ..common.signals import StopRequested
from ..config import Config
from ..errors import DiskFullError, Preempted
from ..model.folder.weights import tensors_to_save
from .checkpoints.state import save_state
from .distributed.full_tensors import optimizer_state
from .guards.gradient_flow import GradientFlow
from .guards.nonfinite import Guard
from .job import Job
from .optimizer_bytes import state_bytes
from .progress import Progress
from .tracking import Writers
from .tracking.timing import Timer

AT_ONCE = 2
"""Checkpoints that are on the disk together, at least: an old one goes only when the next is whole."""


class Saver:
    """Writes the checkpoints of a run: model, optimizer and progress as one, at the place where the run is."""

    def __init__(
        self, job: Job, progress: Progress, gradient_flow: GradientFlow, guard: Guard, writers: Writers, timer: Timer
    ) -> None:
        self.job, self.progress, self.gradient_flow, self.guard = job, progress, gradient_flow, guard
        self.writers, self.timer = writers, timer
        self.before = progress.seconds
        self.began = self.last = time.monotonic()
        self.warned = False
        self.committed: tuple[int, bool] | None = (
            (progress.position.step, progress.evaluated) if progress.begun else None
        )

    def save(self, facts: dict[str, Any], *, best: bool = False) -> None:
        """Commit a checkpoint of the present position; all processes call this.

        Args:
            facts: figures of the evaluation at this position, empty without an evaluation.

        Raises:
            DiskFullError: the checkpoint does not fit, even after older ones were removed.
            DiskError, CheckpointError, DivergedError: the checkpoint cannot be written; earlier ones are whole.
        """
        job, progress, asked = self.job, self.progress, time.monotonic()
        with self.timer.phase("checkpoint"), job.strategy.watchdog.slow():
            progress.gradient_flow, progress.guard = self.gradient_flow.state(), self.guard.state()
            # A checkpoint counts on the lines written so far: they have to be on the disk before the checkpoint is.
            progress.writers = self.writers.sync()
            progress.seconds = self.before + time.monotonic() - self.began
            job.strategy.check_weights()
            save_checkpoint(job, take_snapshot(job, progress, facts, best=best))
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


class Snapshot(NamedTuple):
    """All that a checkpoint holds, in memory, before the first file is written.

    Attributes:
        facts, best: as for `Checkpoints.begin`.
        weights: whole weights of a model in shards, on the main process.
        progress, evaluator, optimizer: values of JSON, as for `save_state`.
        tensors: of the optimizer, as this process keeps them.
    """

    step: int
    facts: dict[str, Any]
    best: bool
    weights: dict[str, Tensor] | None
    progress: dict[str, Any]
    evaluator: dict[str, Any]
    optimizer: dict[str, Any]
    tensors: dict[str, Tensor]


def take_snapshot(job: Job, progress: Progress, facts: dict[str, Any], *, best: bool) -> Snapshot:
    """Gather what a checkpoint holds; all processes call this."""
    optimizer, tensors = optimizer_state(job.model, job.optimizer)
    return Snapshot(
        progress.position.step,
        facts,
        best,
        job.strategy.saved_weights(),
        progress.to_json(),
        job.evaluator.state(),
        optimizer,
        tensors,
    )


def save_checkpoint(job: Job, taken: Snapshot) -> None:
    """Write a checkpoint, on a full disk once more after older ones have made room, then remove what need not be kept.

    Raises:
        BradleyError: as `write_checkpoint` and `make_room`.
    """
    for attempt in (1, 2):
        try:
            write_checkpoint(job, taken)
            break
        except DiskFullError:
            make_room(job, taken.step, last=attempt == 2)
    # Older checkpoints go only now: at every instant before, a whole one was on the disk.
    job.strategy.group.on_main(job.checkpoints.rotate)


def write_checkpoint(job: Job, taken: Snapshot) -> None:
    """Write a checkpoint in three steps, whole or not at all; all processes call this.

    1. The main process writes the model into a draft folder.
    2. Every process writes its part of the optimizer there.
    3. The main process adds the state of the run and commits the draft.

    Raises:
        BradleyError: the same in every process; nothing is left of the draft.
    """
    group, checkpoints = job.strategy.group, job.checkpoints

    def begin() -> str:
        best, weights = taken.best, taken.weights
        return str(checkpoints.begin(taken.step, job.model, job.renderer, taken.facts, best=best, weights=weights))

    def commit() -> None:
        optimizer = {**taken.optimizer, **entries}
        save_state(folder, taken.progress, taken.evaluator, optimizer, job.evaluator.folder)
        checkpoints.commit()

    try:
        folder = Path(group.from_main(begin))
        entries = job.strategy.save_optimizer(folder, taken.tensors)
        group.on_main(commit)
    except BaseException:
        checkpoints.discard()
        raise


def make_room(job: Job, step: int, *, last: bool) -> None:
    """Remove older checkpoints after a save that did not fit; all processes call this.

    Raises:
        DiskFullError: no further attempt is left, or no checkpoint may be removed.
    """

    def remove() -> None:
        if last or not job.checkpoints.make_room():
            job.checkpoints.refuse_size(step)

    job.strategy.group.on_main(remove)


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
