"""Something tried in a forked process: how it ended, and what memory it took on top of the parent's."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from bradley.errors import BradleyError

LOADED, HUNG, BUG = 0, -signal.SIGKILL, 99


class Tried(NamedTuple):
    """The exit code of a `BradleyError`, 0, or one of the above; megabytes at most, and the message."""

    code: int
    megabytes: float
    said: str


def tried(act: Callable[[], object], seconds: float = 30.0) -> Tried:
    """Do it in a child, which is killed when it takes too long."""
    before = resident()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code, said = LOADED, ""
        try:
            act()
        except BradleyError as error:
            code, said = error.exit_code, f"{error.message} | {error.hint}"
        except BaseException as error:
            code, said = BUG, f"{type(error).__name__}: {error}"
        os.write(writer, said.encode(errors="replace")[:4000])
        os._exit(code)
    os.close(writer)
    deadline = time.monotonic() + seconds
    while (found := os.wait4(pid, os.WNOHANG))[0] == 0:
        time.sleep(0.01)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    return Tried(os.waitstatus_to_exitcode(found[1]), max(0.0, peak(found[2]) - before), said)


def peak(usage: resource.struct_rusage) -> float:
    """Largest resident megabytes of a child."""
    return usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def resident() -> float:
    """Resident megabytes of this process, which a forked child begins with."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024
