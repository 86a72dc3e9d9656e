"""How a run uses a CPU: as many threads as may run at once, and freed memory kept for the next layer."""

import ctypes
import math
import os
import platform
from pathlib import Path

import torch

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux says what share of its cores a container may use: microseconds of CPU time, in so many of the clock."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of the settings of glibc's `mallopt`."""


def set_threads(wanted: int) -> None:
    """Give PyTorch `wanted` threads (0: its own choice, but no more than may run at once).

    Threads that wait for a core hold up all the others at the end of every operation.
    """
    torch.set_num_threads(wanted or min(torch.get_num_threads(), usable_cores()))


def usable_cores() -> int:
    """Cores that this process may keep busy: those it is allowed on, within what cgroup v2 grants its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = QUOTA.read_text().partition(" ") if QUOTA.is_file() else ("max", "", "")
    return allowed if quota == "max" else max(1, min(allowed, math.ceil(int(quota) / int(period))))


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, for the whole process and for good, instead of giving it back to the system.

    Elsewhere nothing changes.

    A layer frees tensors of some megabytes that the next one asks for again. Given back and asked for anew, each of
    their pages costs a fault and is filled with zeros, 5 to 30 % of a training step (hidden 384, two cores).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
