"""Give each process a log of its own, and end a process that makes no progress."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ...common.disk import FOLDER_MODE
from ...common.files import opener
from ...common.secrets import Redacted
from ...errors import RankError
from ...runs.layout import LOGS, rank_log
from ...runs.status import write_status
from .failures import report
from .process_group import ProcessGroup
from .strategy import Strategy
from .watchdog import Watchdog


@contextlib.contextmanager
def watched(strategy: Strategy, folder: Path, seconds: float) -> Iterator[None]:
    """End this process if the block makes no progress, see `Watchdog`; a single process is not watched.

    The other processes, and `status.json` of the run folder, get the reason.

    Args:
        strategy: of the run; gets the watchdog.
        folder: the run folder.
        seconds: least limit without progress; 0: none.
    """
    group = strategy.group
    log = folder / LOGS / rank_log(group.rank)

    def tell(what: str) -> None:
        hint = f"the stacks of its threads are in {log}; with --resume the run goes on from its last checkpoint"
        error = RankError(f"process {group.rank} of {group.size}: {what}", hint)
        # The status comes first. After `report` the other processes end, and the launcher may end this process, too.
        write_status(folder, "failed", error.exit_code, error.message, error.hint)
        report(group.store, error, group.rank)

    with Watchdog(seconds if group.size > 1 else 0, log, tell) as strategy.watchdog:
        yield


def log_apart(folder: Path, group: ProcessGroup) -> None:
    """Redirect stdout and stderr of this process to `logs/rank-N.log`, unless this is the main process.

    The redirection lasts until the process ends: the last words of libraries and of a crash come after everything else.
    Stacks of a crash enter the file unchanged; secrets are removed from all text written by Python.
    """
    if group.is_main:
        return
    (folder / LOGS).mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(folder / LOGS / rank_log(group.rank), "ab", opener=opener) as file:
        # File descriptors, not `sys.stdout`: C++ libraries such as NCCL and a crash write past Python.
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    hide_secrets()


def hide_secrets() -> None:
    """Redact stdout and stderr from here on, also for loggers holding the original streams."""
    streams = {id(bare): Redacted(bare) for bare in (sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr) if bare}
    sys.stdout, sys.stderr = streams[id(sys.stdout)], streams[id(sys.stderr)]
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):  # a logger that nobody has asked for has none
            if redacted := streams.get(id(getattr(handler, "stream", None))):
                handler.setStream(redacted)
