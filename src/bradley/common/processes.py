"""Processes: started Python processes, the rank given by torchrun, ends with the parent, tests for running processes.

No code runs that the user did not name: `safe_python` and `child_environment` make the command and the variables of
every Python process that bradley starts. Such a process imports nothing from the current folder.
"""

import ctypes
import os
import signal
import sys
import sysconfig
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from .text import visible

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


def safe_python(*arguments: str) -> list[str]:
    """Build the command of a Python process that does not look for modules in the current folder.

    Start the process with the variables of `child_environment`.

    Args:
        arguments: of Python, such as `-m`, `bradley.launch.rank`.
    """
    return [sys.executable, "-P", *arguments]


def child_command(module: str, *arguments: str) -> list[str]:
    """Build the command of a Python process that runs a module of bradley, and ends with this process.

    Args:
        module: dotted name, run as a program.
        arguments: of the program.
    """
    return safe_python("-m", "bradley.common.child", str(os.getpid()), module, *arguments)


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build the variables of a started Python process: this bradley is importable, the current folder is not.

    An empty or relative entry of PYTHONPATH means a folder by the place of a process, and is left out. A folder given
    by the absolute path is named by the user, and stays.

    Args:
        environment: variables to begin with; by default those of this process.
    """
    given = dict(os.environ if environment is None else environment)
    path = [entry for entry in given.pop("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    home = str(Path(__file__).resolve().parents[2])
    # A child finds installed packages without help. Named first, their folder would hide the standard library.
    if home not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        path.insert(0, home)
    # The variable reaches processes started by libraries and by torchrun; `-P` reaches one process alone.
    return given | {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})


def rank_from(environment: Mapping[str, str], command: str = "train") -> Rank:
    """Read the rank set by torchrun: `rank_from(os.environ)`; a single process if neither rank is set.

    WORLD_SIZE alone describes a machine, not a process, and counts as unset.

    Args:
        environment: variables of this process.
        command: command of bradley, for the hint.

    Raises:
        UserError: the variables name no process of a group, or some are missing.
    """
    given = {name: environment.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    if not (given["RANK"] or given["LOCAL_RANK"]) and not {"RANK", "WORLD_SIZE"} <= set(environment):
        return Rank()
    try:
        rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
        found = Rank(rank, size, int(given["LOCAL_RANK"] or rank), int(given["LOCAL_WORLD_SIZE"] or size))
    except ValueError:
        found = Rank(-1)
    if not (0 <= found.rank < found.size and 0 <= found.local_rank < found.local_size):
        shown = ", ".join(f"{name}={visible(value[:40])}" for name, value in given.items() if value)
        missing = [name for name in ("RANK", "WORLD_SIZE") if not given[name]]
        absent = f"; not set: {' and '.join(missing)}" if missing else ""
        raise UserError(
            f"the environment names no process of a run: {shown}{absent}",
            f"start with `torchrun --nproc_per_node N -m bradley {command} ...`, or unset "
            + " and ".join(name for name in given if name in environment),
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


class Forked(NamedTuple):
    """Copy of this process with a function of its own, see `forked`.

    Attributes:
        pid: process id.
        pipe: connection to the copy, with `send`, `recv` and `poll`; `EOFError` or `OSError` after the end of the copy.
    """

    pid: int
    pipe: Any

    def end(self) -> None:
        """Kill the copy, and wait for its end."""
        self.pipe.close()
        # An embedding program may collect every child by itself.
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def forked(work: Callable[[Any], None]) -> Forked:
    """Run a function in a copy of this process, with one end of a pipe; the copy ends with the function.

    The copy prints nothing, follows no handler of signals and ends with this process. Nobody sees its errors: the
    function has to send each of them.

    Args:
        work: function of the connection.

    Raises:
        OSError: the system starts no further process.

    Example:
        copy = forked(lambda pipe: pipe.send(pipe.recv() + 1))
        copy.pipe.send(1)
        copy.pipe.recv()  # 2
        copy.end()
    """
    from multiprocessing import Pipe

    ours, theirs = Pipe()
    parent = os.getpid()
    with warnings.catch_warnings():
        # Threads of libraries do not live on in the copy, which calls none of these.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        theirs.close()
        return Forked(pid, ours)
    try:
        for number in {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM}:
            signal.signal(number, signal.SIG_DFL)
        # A terminal sends an interrupt to parent and copy; the parent decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with_parent(parent)
        ours.close()
        work(theirs)
    finally:
        # Handlers at exit, and buffers of files, belong to the parent.
        os._exit(0)


def running(pid: int) -> bool:
    """Return True if a process has not ended yet.

    An ended process whose parent has not yet collected the exit code, a zombie, is `alive` but not running. Only Linux
    shows the difference; on other systems the result is the result of `alive`.
    """
    if sys.platform != "linux":
        return alive(pid)
    found = _stat(pid)
    return bool(found) and found[0] not in "ZX"


def parent_of(pid: int) -> int:
    """Return the process id of the parent of a running process; 0 for an ended process, and on other systems."""
    found = _stat(pid)
    return int(found[1]) if found and found[0] not in "ZX" else 0


def _stat(pid: int) -> list[str]:
    """State, parent and further fields that Linux shows of a process; [] for a process that is gone."""
    try:
        # The command name, in parentheses, may hold blanks and parentheses; the state follows the last parenthesis.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Return True if a process with this id exists, a zombie included."""
    try:
        os.kill(pid, 0)  # signal 0 tests for existence and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True
