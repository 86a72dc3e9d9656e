"""Processes: the rank given by torchrun, ends with the parent, and tests for running processes."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError

PR_SET_PDEATHSIG = 1
"""Option number of Linux's `prctl(2)` for setting the signal sent to a process when the parent ends."""


class Rank(NamedTuple):
    """Place of a process among the processes of a command.

    Attributes:
        rank: number of the process, from 0.
        size: number of processes.
        local_rank, local_size: the same among the processes of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def rank_from(environment: Mapping[str, str]) -> Rank:
    """Read the rank set by torchrun: `rank_from(os.environ)`; a single process if nothing is set.

    Raises:
        UserError: the variables name no process of a group.
    """
    if not {"RANK", "WORLD_SIZE"} <= set(environment):
        return Rank(local_rank=int(environment.get("LOCAL_RANK") or 0))
    given = {name: environment.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    try:
        rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
        found = Rank(rank, size, int(given["LOCAL_RANK"] or rank), int(given["LOCAL_WORLD_SIZE"] or size))
    except ValueError:
        found = Rank(-1)
    if not (0 <= found.rank < found.size and 0 <= found.local_rank < found.local_size):
        shown = ", ".join(f"{name}={value}" for name, value in given.items() if value)
        raise UserError(
            f"the environment names no process of a run: {shown}",
            "start with `torchrun --nproc_per_node N -m bradley train ...`, or unset RANK and WORLD_SIZE",
        )
    return found


def is_main_process() -> bool:
    """Return True in the process that speaks for all processes started by torchrun.

    A broken environment counts as the main process: somebody has to say what is wrong.
    """
    try:
        return rank_from(os.environ).rank == 0
    except (UserError, ValueError):
        return True


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
