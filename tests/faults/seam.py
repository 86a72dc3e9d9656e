"""Faults under the calls of `bradley.common.disk`: counts, an end of the process in a call, an error, a small disk.

Every function changes the module for good, so it is called in a process of its own (`harness.forked`).
"""

import errno
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bradley.common import disk

CALLS = ("create", "reopen", "write", "cut", "sync", "rename", "link", "unlink", "mkdir", "rmdir")
"""Every call that changes a disk."""


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(around: Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]) -> None:
    """Put `around(name, call, arguments)` in the place of every call."""
    for name in CALLS:
        call = getattr(disk, name)
        setattr(disk, name, lambda *given, _name=name, _call=call: around(_name, _call, given))


def count_calls() -> list[str]:
    """The list to which every later call adds its name."""
    seen: list[str] = []

    def around(name: str, call: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        seen.append(name)
        return call(*given)

    wrap(around)
    return seen


def die_at(point: int, before: Callable[[], object] = lambda: None) -> None:
    """End the process in call number `point` (from 0): half-way in a write, just before any other.

    Args:
        before: is called just before the end, for what a power cut does beyond that.
    """
    number = itertools.count()

    def around(name: str, call: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        if next(number) == point:
            if name == "write":
                call(given[0], memoryview(given[1])[: len(given[1]) // 2])
            before()
            die()
        return call(*given)

    wrap(around)


def fail_at(point: int, code: int, *, lasting: bool, names: tuple[str, ...] = CALLS) -> None:
    """Let call number `point` (from 0, among those in `names`) fail, a write half-way; `lasting`: all later ones too.

    What frees space goes on to work, as it does on a full disk.
    """
    number = itertools.count()
    frees = ("unlink", "rmdir", "cut")

    def around(name: str, call: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        if name not in names or (code in (errno.ENOSPC, errno.EDQUOT) and name in frees):
            return call(*given)
        at = next(number)
        if at == point and name == "write":
            call(given[0], memoryview(given[1])[: len(given[1]) // 2])
        if at == point or (lasting and at > point):
            raise OSError(code, os.strerror(code))
        return call(*given)

    wrap(around)


def small_disk(root: Path, size: int) -> list[int]:
    """A disk on which the files below `root` may have `size` bytes; returns a list to which every refusal adds."""
    refused: list[int] = []
    write = disk.write

    def limited(handle: int, data: Any) -> int:
        room = size - sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        if room <= 0:
            refused.append(len(data))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, memoryview(data)[:room])

    disk.write = limited
    return refused
