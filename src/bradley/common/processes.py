"""Processes that do not outlive the one that started them."""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Number of the option of Linux's `prctl(2)` that names the signal a process gets when its parent is gone."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process once the one that started it is gone, however that went.

    Linux alone knows this: elsewhere nothing happens, and a parent that is killed by SIGKILL leaves its children.

    Args:
        parent: process id of the parent; if it is gone already, this process ends here.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def running(pid: int) -> bool:
    """Whether a process has not ended; one that has, and that nobody has asked about yet, is still `alive`.

    Known on Linux alone: elsewhere as `alive`.
    """
    state = Path(f"/proc/{pid}/stat")
    if sys.platform != "linux":
        return alive(pid)
    try:
        return state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def alive(pid: int) -> bool:
    """Whether there is a process of this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
