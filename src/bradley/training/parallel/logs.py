"""What every process but the main one says goes to a file of its own, so that the screen shows one voice."""

import os
import sys
from pathlib import Path

from ...disk import FOLDER_MODE
from ...files import opener
from .group import Group


def log_apart(folder: Path, group: Group) -> None:
    """Send what this process writes to stdout and stderr to `logs/rank-N.log` from here on, unless it is the main one.

    It stays so until the process ends: what libraries and a crash have to say comes after everything else.
    """
    if group.is_main:
        return
    (folder / "logs").mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(folder / "logs" / f"rank-{group.rank}.log", "ab", opener=opener) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
