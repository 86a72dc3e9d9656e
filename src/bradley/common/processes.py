"""Child processes: end with the parent, and tests for running processes."""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Option number of Linux's `prctl(2)` for setting the signal sent to a process when the parent ends."""


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when the parent process ends, for any reason.

    Only Linux supports this. On other systems nothing happens, and a parent killed by SIGKILL leaves the children
    running.

    Args:
        parent: process id of the parent; if the parent is gone already, this process ends immediately.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the call above, and the kernel sends no signal for an earlier end.
    if os.getppid() != parent:
        os._exit(1)


def running(pid: int) -> bool:
    """Return True if a process has not ended yet.

    An ended process whose parent has not yet collected the exit code, a zombie, is `alive` but not running. Only Linux
    shows the difference; on other systems the result is the result of `alive`.
    """
    state = Path(f"/proc/{pid}/stat")
    if sys.platform != "linux":
        return alive(pid)
    try:
        # The command name, in parentheses, may hold blanks and parentheses; the state follows the last parenthesis.
        return state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def alive(pid: int) -> bool:
    """Return True if a process with this id exists, a zombie included."""
    try:
        os.kill(pid, 0)  # signal 0 tests for existence and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True
