"""Claim a run folder for one run: refusals first, then the lock, the count of starts, and the record of earlier starts.

A new run makes the folder only after every other check: bad input leaves nothing half written. A resumed run locks the
folder before anything that could crash: a crash loop is noticed.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ..common.files import disk_errors, make_folder
from ..common.lock import FolderLock, busy, folder_lock, holder
from ..common.ownership import is_ours, refuse_filled, refuse_input_as_output, refuse_inside, refuse_link
from ..common.signals import StopRequested
from ..common.signatures import MODEL_MARK
from ..config import Config, as_list
from ..errors import Preempted, RunFolderError, UserError
from .checkpoints import steps_in
from .layout import CHECKPOINTS, EVAL, LOGS, PLOTS, RUN_MARKS, STARTS, TENSORBOARD
from .record import is_finished, read_record
from .starts import count_start, forget_starts, mark_begun

WRITTEN_INTO = (CHECKPOINTS, EVAL, LOGS, PLOTS, TENSORBOARD)
"""Folders of a run in which files are replaced; through a link, files of another owner would be."""
WAIT_SECONDS = 90.0
"""Longest wait of a resumed run for a process of another machine, in seconds. Such a process may be dead, and after
`STALE_SECONDS` (60) without a touch the lock is free.
"""


class Processes(Protocol):
    """Processes of a run: the main process acts on the disk, the other processes wait for the outcome."""

    def on_main(self, act: Callable[[], object]) -> None:
        """Call `act` in the main process while the others wait; a failure is raised in every process."""

    def from_main(self, make: Callable[[], Any]) -> Any:
        """Call `make` in the main process, and return the result, a JSON value, in every process."""


class Claim:
    """Claim of one run on a run folder. Every process of the run has a claim; only the main process holds the lock.

    Attributes:
        record: content of `run.json` of the run to resume; None for a new run.
        ended: True if exactly this run has already ended well, and nothing is left to do.
        lock: lock of the folder; None in all processes but the main process, and before the folder is locked.
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
        self.lock: FolderLock | None = None
        self._stack = stack
        self._told: set[str] = set()
        self._look()

    @property
    def threads(self) -> int:
        """Number of CPU threads of the run to resume; 0 for a new run. Another number would sum in another order."""
        return int(self.record["identity"]["threads"]["number"]) if self.record else 0

    def resume_locked(self) -> None:
        """Lock a resumed run's folder for this process, and count the start at once.

        A crash loop is then noticed even if the next line crashes. A new run, or an ended run, locks nothing here.

        Raises:
            RunFolderError: another process holds the folder.
            CheckpointError: the run was started too often from the same checkpoint.
        """
        if self.record is None or self.ended:
            return
        self.processes.on_main(lambda: self._lock(WAIT_SECONDS))
        # Another process may have continued or ended the run before releasing the lock.
        self._look()

    def begin(self) -> None:
        """Make and lock the folder of a new run, and count the start. A resumed run already holds the lock.

        Raises:
            RunFolderError: another run was first.
            DiskError: the folder cannot be made.
        """
        if self.record is None:
            self.processes.on_main(self._make)

    def done(self) -> None:
        """Forget the count of starts: the run has ended without a crash."""
        self.processes.on_main(lambda: forget_starts(self.folder))

    def _look(self) -> None:
        # One process decides for all: processes with different answers would wait for each other without end.
        self.record, self.ended = self.processes.from_main(self._found)

    def _found(self) -> tuple[dict[str, Any] | None, bool]:
        """Return the record of the run to resume, or None, and True if exactly this run has already ended.

        Raises:
            RunFolderError: the folder is in use, or unfit for this run.
            CheckpointError: the record cannot be read.
        """
        with disk_errors(self.folder, "read"):
            refuse_input_as_output(self.folder, inputs(self.config))
            refuse_inside(self.folder, (*RUN_MARKS, MODEL_MARK))
            if not self.resume:
                refuse_used(self.folder)
                return None, False
            refuse_links(self.folder)
        record = read_record(self.folder)
        return record, record is not None and is_finished(self.folder, self.config, self._tell)

    def _tell(self, line: str) -> None:
        """Print a line about the files of an ended run, a single time: the folder is looked at twice."""
        if line not in self._told:
            self._told.add(line)
            self.say(line)

    def _make(self) -> None:
        make_run_folder(self.folder, again=self.resume)
        self._lock(0)

    def _lock(self, wait_seconds: float) -> None:
        refuse_links(self.folder)
        self.lock = self._stack.enter_context(folder_lock(self.folder, wait_seconds, self.say))
        # Another run may have begun after the first look and ended before this lock: its record must not be replaced.
        if self.record is None:
            refuse_begun(self.folder)
        self._stack.enter_context(counted(self.folder))


@contextlib.contextmanager
def claim(
    folder: Path, config: Config, processes: Processes, *, resume: bool, say: Callable[[str], None]
) -> Iterator[Claim]:
    """Claim a run folder inside a `with` block; refusals come before anything is written.

    Args:
        folder: the run folder, existing or not.
        config: settings of the run, compared with the settings of an ended run.
        processes: processes of the run.
        resume: True to resume the run in the folder, if any.
        say: prints a line of warning.

    Raises:
        RunFolderError: the folder is not free, or holds other files than a run.
        CheckpointError: the record cannot be read.
        Preempted: the process was asked to stop outside of training.

    Example:
        with claim(folder, config, group, resume=resume, say=console.warn) as claimed:
            claimed.resume_locked()
            ...  # load and check everything
            claimed.begin()
            ...  # train
            claimed.done()
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(preempted(folder))
        yield Claim(folder, config, processes, stack, resume=resume, say=say)


@contextlib.contextmanager
def preempted(folder: Path) -> Iterator[None]:
    """Turn a stop request before the first step, or after the last step, into `Preempted`.

    Nothing is lost outside of training. The exit code is the same as for a stop in training: a scheduler requeues both.
    """
    try:
        yield
    except StopRequested as asked:
        raise Preempted(
            f"stopped by {asked} outside of training, where nothing is lost; the run folder is {folder}",
            "the same command with --resume goes on",
        ) from asked


@contextlib.contextmanager
def counted(folder: Path) -> Iterator[None]:
    """Count a start, and forget the count after an orderly end: success, a stop request, or refused user input."""
    count_start(folder, max(steps_in(folder / CHECKPOINTS), default=None))
    try:
        yield
    # Any other error, and a killed process, may return at every start: the count stays.
    except (Preempted, StopRequested, UserError):
        forget_starts(folder)
        raise
    forget_starts(folder)


def refuse_used(folder: Path) -> None:
    """Raise `RunFolderError` for a folder with files: a run is never overwritten. The error names a living writer."""
    # The writer comes first: the hint to wait is better than the hint to remove the files of a living process.
    if owner := holder(folder):
        raise busy(folder, owner)
    if is_ours(folder, RUN_MARKS):
        raise RunFolderError(f"{folder} already holds a run", "go on with --resume, or give another --output")
    refuse_filled(folder, leftovers=(STARTS,))


def refuse_links(folder: Path) -> None:
    """Raise `RunFolderError` if a run folder, or a folder inside in which a run replaces files, is a link."""
    for name in ("", *WRITTEN_INTO):
        refuse_link(folder / name)


def inputs(config: Config) -> list[str]:
    """List the settings that may name a file or folder to be read."""
    data = config.data
    sources = [data.train, data.valid, data.test, *data.eval_sets.values()]
    return [word for words in (*sources, config.model.path, config.model.tokenizer) for word in as_list(words)]


def refuse_begun(folder: Path) -> None:
    """Raise `RunFolderError` if another process has begun a run in the folder since the first look."""
    if read_record(folder) is not None:
        raise RunFolderError(f"{folder} was taken by another run meanwhile", "give another --output")


def make_run_folder(folder: Path, *, again: bool = False) -> None:
    """Make a run folder; if several runs found the place free, exactly one run gets the folder.

    Args:
        again: True to accept a folder left by an earlier process that ended before writing a record.

    Raises:
        RunFolderError: another run was first.
        DiskError: the folder cannot be made.
    """
    with disk_errors(folder, "made"):
        # Files may have come since the first look, which is minutes ago.
        if not is_ours(folder, RUN_MARKS):
            refuse_filled(folder, leftovers=(STARTS,))
        make_folder(folder)
        # A file that must not exist, and says that a run was begun here: this line decides which run is first.
        if not mark_begun(folder) and not again:
            raise RunFolderError(f"{folder} was taken by another run meanwhile", "give another --output")
        make_folder(folder / CHECKPOINTS)
