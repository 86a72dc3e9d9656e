"""Save checkpoints: on schedule, at a stop request, and with a second attempt on a full disk."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..common.signals import StopRequested
from ..common.space import check_space
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
"""Least number of checkpoints on disk together: an old checkpoint is removed only after the next is whole."""


class Saver:
    """Saver of checkpoints at the present position of a run: model, optimizer and progress together.

    Args:
        job: the training job.
        progress: state of the run, updated by the loop.
        gradient_flow, guard: their states are saved, too.
        writers: metrics files, synced before each checkpoint.
        timer: measures the time of saves.

    Attributes:
        committed: step of the last checkpoint, and True if the evaluation at this step was done; None before any save.
    """

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
            facts: figures of the evaluation at this position; empty without an evaluation.
            best: True if this evaluation is the best so far.

        Raises:
            DiskFullError: the checkpoint does not fit, even after the removal of older checkpoints.
            DiskError: the checkpoint cannot be written; earlier checkpoints are whole.
            CheckpointError: the written weights differ from the model; earlier checkpoints are whole.
            DivergedError: the processes have different weights; earlier checkpoints are whole.
        """
        job, progress, asked = self.job, self.progress, time.monotonic()
        with self.timer.phase("checkpoint"), job.strategy.watchdog.slow():
            progress.gradient_flow, progress.guard = self.gradient_flow.state(), self.guard.state()
            # The checkpoint records the sizes of the metrics files. Without this sync, a power cut could leave the
            # files shorter than recorded, and no resume could fill the gap.
            progress.writers = self.writers.sync()
            progress.seconds = self.before + time.monotonic() - self.began
            # A checkpoint of processes that drifted apart would look whole and resume with other weights.
            job.strategy.check_weights()
            save_checkpoint(job, take_snapshot(job, progress, facts, best=best))
        self.committed, self.last = (progress.position.step, progress.evaluated), time.monotonic()
        self._check_grace(self.last - asked)

    def _check_grace(self, seconds: float) -> None:
        """Warn a single time if a save takes longer than `checkpoint.grace_seconds`.

        Args:
            seconds: duration of the present save.
        """
        # The first save comes before the first step, without optimizer state; `growth` scales to later saves. The
        # warning then comes while the user can still change the grace period.
        grace, more = self.job.config.checkpoint.grace_seconds, growth(self.job)
        if 0 < grace < seconds * more and not self.warned:
            self.warned = True
            takes = f"will take about {seconds * more:.1f} s with the optimizer's state" if more > 1 else "takes"
            took = f" ({seconds:.1f} s without)" if more > 1 else f" {seconds:.1f} s"
            self.job.console.warn(
                f"warning      a checkpoint {takes}{took}, more than checkpoint.grace_seconds = {grace:g}: if the "
                "scheduler kills the run that soon, work since the last checkpoint is lost; ask for a longer grace "
                "period, or save more often (checkpoint.every, checkpoint.minutes)"
            )

    def save_on_schedule(self) -> None:
        """Commit a checkpoint if `checkpoint.every` or `checkpoint.minutes` say so; all processes call this."""
        settings, step = self.job.config.checkpoint, self.progress.position.step
        waited = (time.monotonic() - self.last) / 60
        # Clocks differ between processes: if any process says yes, all save, because a save needs every process.
        by_clock = settings.minutes > 0 and self.job.strategy.group.any(waited >= settings.minutes)
        if by_clock or (settings.every and step % settings.every == 0):
            self.save({})

    @contextlib.contextmanager
    def saving_when_asked(self) -> Iterator[None]:
        """Save the last whole step at a stop request, and raise `Preempted`, inside a `with` block."""
        try:
            yield
        except StopRequested as asked:
            position = self.progress.position
            # Saving the same state again would cost seconds, and the scheduler may kill the process within the save.
            if self.committed != (position.step, self.progress.evaluated):
                self.save({})
            raise Preempted(
                f"stopped by {asked} after step {position.step} of {self.job.plan.num_steps}; the run is saved",
                "the same command with --resume goes on from there",
            ) from asked


class Snapshot(NamedTuple):
    """Content of a checkpoint in memory, before the first file is written.

    Attributes:
        step: optimizer steps taken.
        facts, best: as for `Checkpoints.begin`.
        weights: full weights of a sharded model, on the main process; None for a model not in shards.
        progress, evaluator, optimizer: JSON values, as for `save_state`.
        tensors: the optimizer's tensors held by this process, not copies.
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
    """Gather the content of a checkpoint; all processes call this."""
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
    """Write a checkpoint, and remove old checkpoints; all processes call this.

    On a full disk, old checkpoints are removed first, and the write is tried a second time.

    Raises:
        BradleyError: as `write_checkpoint` and `make_room`.
    """
    # The snapshot serves both attempts: the weights of a sharded model are gathered a single time.
    for attempt in (1, 2):
        try:
            write_checkpoint(job, taken)
            break
        except DiskFullError:
            make_room(job, taken.step, last=attempt == 2)
    # Old checkpoints are removed only now: a crash at any earlier instant leaves a whole checkpoint on disk.
    job.strategy.group.on_main(job.checkpoints.rotate)


def write_checkpoint(job: Job, taken: Snapshot) -> None:
    """Write a checkpoint in three steps, whole or not at all; all processes call this.

    1. The main process writes the model into a draft folder.
    2. Every process writes a part of the optimizer into the draft.
    3. The main process adds the training state and commits the draft.

    Raises:
        BradleyError: the same class of error in every process; nothing is left of the draft.
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
    # A draft left on a full disk would take the space needed by the second attempt.
    except BaseException:
        checkpoints.discard()
        raise


def make_room(job: Job, step: int, *, last: bool) -> None:
    """Remove old checkpoints after a save larger than the free space; all processes call this.

    Args:
        job: the training job.
        step: step of the save.
        last: True after the last attempt.

    Raises:
        DiskFullError: no attempt is left, or no checkpoint may be removed.
    """

    def remove() -> None:
        if last or not job.checkpoints.make_room():
            job.checkpoints.refuse_size(step)

    job.strategy.group.on_main(remove)


def check_disk(job: Job, *, begun: bool) -> None:
    """Check the free space on the disk for the checkpoints of a run.

    Args:
        job: the training job.
        begun: True if a checkpoint of the run is on disk already.

    Raises:
        DiskFullError: too few bytes are free.
    """
    check_space(job.folder, checkpoint_bytes(job.model.network, job.optimizer, job.config) * (AT_ONCE - begun))


def checkpoint_bytes(network: Any, optimizer: Any, config: Config) -> int:
    """Return the bytes of the full tensors in a checkpoint: weights and optimizer. Other files are small."""
    # Computed from shapes: before the first step, the optimizer has no state to measure.
    trained = [tuple(weight.shape) for group in optimizer.param_groups for weight in group["params"]]
    return weights_bytes(network) + sum(
        state_bytes(config.optim.name, dict(config.optim.options), shape) for shape in trained
    )


def weights_bytes(network: Any) -> int:
    """Return the bytes of the weights in a checkpoint."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_to_save(network).values())


def growth(job: Job) -> float:
    """Return the ratio of later to present checkpoint sizes; above 1 before the first step, without optimizer state."""
    if job.optimizer.state:
        return 1.0
    network = job.model.network
    return checkpoint_bytes(network, job.optimizer, job.config) / weights_bytes(network)
