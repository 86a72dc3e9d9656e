"""One run's claim to its folder: refusals first, then the lock, the count of starts, and the record of earlier starts.

A new run makes its folder only after everything else was checked, so that bad input leaves nothing half written. A
resumed run locks its folder before anything that could crash, so that a crash loop is noticed.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ..common import disk
from ..common.files import disk_errors, make_folder, sync
from ..common.signals import StopRequested
from ..config import Config
from ..errors import Preempted, RunFolderError, UserError
from .checkpoints import steps_in
from .layout import CHECKPOINTS
from .lock import RunLock, busy, holder, run_lock
from .record import is_finished, read_record
from .starts import count_start, forget_starts

WAIT_SECONDS = 90.0
"""Time that a resumed run waits for a process of another machine holding the folder, which may be dead."""


class Processes(Protocol):
    """The processes of a run: the main one acts on the disk, the others wait for the outcome."""

    def on_main(self, act: Callable[[], object]) -> None:
        """Have the main process do something; where it fails, all fail alike."""

    def from_main(self, make: Callable[[], Any]) -> Any:
        """Return what the main process makes, a value of JSON, in all processes."""


class Claim:
    """A run folder in the hands of one run; every process of the run has the object, the main one holds the lock.

    Attributes:
        record: content of `run.json` of the run to resume; None for a new run.
        ended: True if exactly this run has ended well already, so that nothing is left to do.
        lock: held by the main process, None elsewhere and before `begin`.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        processes: Processes,
        stack: contextlib.ExitStack,
        *,
        resume: bool,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.config, self.processes = folder, config, processes
        self.resume, self.say = resume, say
        self.record: dict[str, Any] | None = None
        self.ended = False
        self.lock: RunLock | None = None
        self._stack = stack
        self._look()

    @property
    def threads(self) -> int:
        """CPU threads of the run to resume; 0 for a new run. Other threads would sum in another order."""
        return int(self.record["identity"]["threads"]["number"]) if self.record else 0

    def resume_locked(self) -> None:
        """Lock the folder of a run to resume, and count the start at once, so that a crash loop is noticed even if the
        next line crashes. A new run, or an ended one, locks nothing here.

        Raises:
            RunFolderError: another process holds the folder.
            CheckpointError: the run was started too often from the same checkpoint.
        """
        if self.record is None or self.ended:
            return
        self.processes.on_main(lambda: self._lock(WAIT_SECONDS))
        self._look()  # another process may have trained on, or ended the run, before it gave the lock free

    def begin(self) -> None:
        """Make the folder of a new run, lock it and count the start. A resumed run holds its lock already.

        Raises:
            RunFolderError: another run was first.
            DiskError: the folder cannot be made.
        """
        if self.record is None:
            self.processes.on_main(self._make)

    def done(self) -> None:
        """Forget the count of starts: the run has ended, which is no crash."""
        self.processes.on_main(lambda: forget_starts(self.folder))

    def _look(self) -> None:
        self.record, self.ended = self.processes.from_main(self._found)

    def _found(self) -> tuple[dict[str, Any] | None, bool]:
        """Return the record of a run to resume and True if that run has ended; raise for a folder unfit for the run."""
        if not self.resume:
            refuse_used(self.folder)
            return None, False
        record = read_record(self.folder)
        return record, record is not None and is_finished(self.folder, self.config)

    def _make(self) -> None:
        make_run_folder(self.folder, again=self.resume)
        self._lock(0)

    def _lock(self, wait_seconds: float) -> None:
        self.lock = self._stack.enter_context(run_lock(self.folder, wait_seconds, self.say))
        if self.record is None:
            refuse_begun(self.folder)
        self._stack.enter_context(counted(self.folder))


@contextlib.contextmanager
def claim(
    folder: Path, config: Config, processes: Processes, *, resume: bool, say: Callable[[str], None]
) -> Iterator[Claim]:
    """Claim a run folder for the time of the block; refusals come before anything is written.

        with claim(folder, config, group, resume=resume, say=console.warn) as claimed:
            claimed.resume_locked()
            ...  # load and check everything
            claimed.begin()
            ...  # train
            claimed.done()

    Args:
        resume: go on with the run in the folder, if there is one.
        say: prints a line of warning.

    Raises:
        RunFolderError: the folder is not free, or holds something else than a run.
        CheckpointError: the record cannot be read.
        Preempted: the process was asked to stop outside of training.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(preempted(folder))
        yield Claim(folder, config, processes, stack, resume=resume, say=say)


@contextlib.contextmanager
def preempted(folder: Path) -> Iterator[None]:
    """Give a request to stop before the first step, or after the last, its exit code: nothing was to be saved."""
    try:
        yield
    except StopRequested as asked:
        raise Preempted(
            f"stopped by {asked} outside of training, where nothing is lost; the run folder is {folder}",
            "the same command with --resume goes on",
        ) from asked


@contextlib.contextmanager
def counted(folder: Path) -> Iterator[None]:
    """Count a start until one ends as it should; a request to stop and a refusal of the user's input are such ends."""
    count_start(folder, max(steps_in(folder / CHECKPOINTS), default=None))
    try:
        yield
    except (Preempted, StopRequested, UserError):
        forget_starts(folder)
        raise
    forget_starts(folder)


def refuse_used(folder: Path) -> None:
    """Raise `RunFolderError` for a folder that is not empty: a run is never overwritten. A living writer is named."""
    if owner := holder(folder):
        raise busy(folder, owner)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} already holds files", "give another --output, or remove it")


def refuse_begun(folder: Path) -> None:
    """Raise `RunFolderError` for a folder in which another process has begun a run since this one looked."""
    if read_record(folder) is not None:
        raise RunFolderError(f"{folder} was taken by another run meanwhile", "give another --output")


def make_run_folder(folder: Path, *, again: bool = False) -> None:
    """Make a run folder; of several runs that found the place free, one gets the folder.

    Args:
        again: accept a folder that an earlier process had made and not got as far as a record.

    Raises:
        RunFolderError: another run was first.
        DiskError: the folder cannot be made.
    """
    with disk_errors(folder, "made"):
        make_folder(folder)
        try:
            # Making a folder that must not exist is atomic on every file system, so this line decides who is first.
            disk.mkdir(folder / CHECKPOINTS)
        except FileExistsError:
            if not again:
                raise RunFolderError(f"{folder} was taken by another run meanwhile", "give another --output") from None
        sync(folder)
