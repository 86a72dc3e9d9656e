"""A watchdog over what the processes of a run do together."""

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
from ...runs.status import write_status
from .failures import report
from .process_group import ProcessGroup
from .strategy import Strategy
from .watchdog import Watchdog


def log_apart(folder: Path, group: ProcessGroup) -> None:
    """Send what this process writes to stdout and stderr to `logs/rank-N.log` from here on, unless it is the main one.

    It stays so until the process ends: what libraries and a crash have to say comes after everything else. The stacks
    of a crash go into the file as they are, whatever Python writes without the secrets in it.
    """
    if group.is_main:
        return
    (folder / "logs").mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(folder / "logs" / f"rank-{group.rank}.log", "ab", opener=opener) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    hide_secrets()


def hide_secrets() -> None:
    """Have stdout and stderr redacted from here on, also for loggers that keep the stream they began with."""
    streams = {id(bare): Redacted(bare) for bare in (sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr) if bare}
    sys.stdout, sys.stderr = streams[id(sys.stdout)], streams[id(sys.stderr)]
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):  # a logger that nobody has asked for has none
            if redacted := streams.get(id(getattr(handler, "stream", None))):
                handler.setStream(redacted)


@contextlib.contextmanager
def watched(strategy: Strategy, folder: Path, seconds: float) -> Iterator[None]:
    """End this process where the block makes no progress, see `Watchdog`; a process alone waits for nobody.

    The others, and `status.json` of the run folder, are told why.
    """
    group = strategy.group
    log = folder / "logs" / f"rank-{group.rank}.log"

    def tell(what: str) -> None:
        hint = f"the stacks of its threads are in {log}; with --resume the run goes on from its last checkpoint"
        error = RankError(f"process {group.rank} of {group.size}: {what}", hint)
        write_status(folder, "failed", error.exit_code, error.message, error.hint)
        report(group.store, error, group.rank)

    with Watchdog(seconds if group.size > 1 else 0, log, tell) as strategy.watchdog:
        yield
