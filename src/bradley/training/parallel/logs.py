"""What every process but the main one says goes to a file of its own, so that the screen shows one voice."""

import logging
import os
import sys
from pathlib import Path

from ...disk import FOLDER_MODE
from ...files import opener
from ...redaction import Redacted
from .group import Group


def log_apart(folder: Path, group: Group) -> None:
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
