"""The device of a run; on a CPU as many threads as may run at once, and freed memory kept for the next layer."""

import ctypes
import math
import os
import platform
from pathlib import Path

import torch

from ..errors import UserError

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File of Linux with a container's share of CPU time: microseconds of CPU time for each period of the clock."""
MOST_THREADS = 4096
"""Most threads given to PyTorch; no machine has as many cores for a process."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of settings of `mallopt` in glibc."""


def choose_device(name: str, setting: str = "train.device =", option: str = "--train.device") -> torch.device:
    """Choose the device called `auto`, `cpu` or `cuda`; `auto` takes CUDA if available.

    Args:
        setting, option: names of the setting in the message and in the hint.

    Raises:
        UserError: CUDA was asked for and is not available.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{setting} cuda, but PyTorch sees no CUDA device", f"use {option} cpu")
    return torch.device("cuda" if takes_cuda(name) else "cpu" if name == "auto" else name)


def takes_cuda(name: str) -> bool:
    """Return True if the device called `auto`, `cpu` or `cuda` is a GPU on this machine."""
    return name == "cuda" or (name == "auto" and torch.cuda.is_available())


def set_threads(wanted: int) -> None:
    """Give PyTorch `wanted` threads (0: PyTorch's choice, at most as many as may run at once).

    A thread waiting for a core holds up all other threads at the end of every operation.

    Raises:
        UserError: more threads than `MOST_THREADS`, or fewer than none; PyTorch would end the process at the first
            operation.
    """
    if not 0 <= wanted <= MOST_THREADS:
        raise UserError(f"train.threads = {wanted}, wanted 0 to {MOST_THREADS}", "use --train.threads 0")
    torch.set_num_threads(wanted or min(torch.get_num_threads(), usable_cores()))


def usable_cores() -> int:
    """Count the cores usable by this process: the allowed cores, within the cgroup v2 quota of the container."""
    # PyTorch counts the cores of the machine; a container or scheduler may allow fewer.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = QUOTA.read_text().partition(" ") if QUOTA.is_file() else ("max", "", "")
    # Rounded up: a quota of one and a half cores keeps two threads busy part of the time.
    return allowed if quota == "max" else max(1, min(allowed, math.ceil(int(quota) / int(period))))


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, for the whole process and for good; with another C library, nothing changes.

    A layer frees tensors of some megabytes, and the next layer asks for as much. Returned to the system and requested
    anew, each page costs a fault and is filled with zeros. The cost was 5 to 30 % of a training step (hidden 384, two
    cores).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    # Mapped blocks return to the system when freed; without mapping, large tensors come from the heap.
    mallopt(M_MMAP_MAX, 0)
    # And the top of the heap is never given back.
    mallopt(M_TRIM_THRESHOLD, -1)
