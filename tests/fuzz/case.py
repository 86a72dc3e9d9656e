"""A case: a small world on the disk, a command line inside, and what the command line may change there."""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FOLDERS = ("in", "near", "out", "home", "cache", "tmp")
"""Folders of a world: inputs and current folder, files of others, outputs, home, token cache, temporary files."""
FREE = ("out", "cache", "tmp")
"""Folders of a world that every command may change."""


class Ended(NamedTuple):
    """End of a command.

    Attributes:
        code: exit code, or minus the number of the signal.
        stood: why the command was ended from outside, or "".
        out, err: bytes on stdout and stderr.
        megabytes: memory on top of the parent's.
        left: True if the command left a process of its own behind.
    """

    code: int
    stood: str
    out: bytes
    err: bytes
    megabytes: float
    left: bool


def nothing_to_compare(_ended: Ended, _world: Path) -> list[str]:
    """Accept every exit with 0: the damage is declared harmless."""
    return []


class Case(NamedTuple):
    """A damaged world with a command line.

    Attributes:
        args: command line, without `bradley`; bytes that are no UTF-8 are given as `os.fsdecode` gives them.
        what: the damage in words.
        judge: complaints about a command that ended with 0. Damage without influence on the result is declared harmless
            by the default.
        changes: paths below the world that the command may change, besides `FREE`.
        adds: True if new files may appear in `in`.
        stdin: bytes on stdin.
        megabytes: memory allowed on top of the parent's.
        draws: True if figures are drawn; else matplotlib writes an empty picture at once.
        patience: seconds without use of the processor after which the command counts as standing still.
    """

    args: list[str]
    what: str
    judge: Callable[[Ended, Path], list[str]] = nothing_to_compare
    changes: tuple[str, ...] = ()
    adds: bool = False
    stdin: bytes = b""
    megabytes: float = 400.0
    draws: bool = False
    patience: float = 30.0


def make_world(world: Path) -> Path:
    """Make an empty world, with files of somebody else beside the inputs."""
    for name in FOLDERS:
        (world / name).mkdir(parents=True)
    for place in ("near/mine.txt", "in/notes.txt", "home/.profile", "near/eval/mine.jsonl"):
        (world / place).parent.mkdir(exist_ok=True)
        (world / place).write_text(f"of somebody else: {place}\n")
    return world


def remove_world(world: Path) -> None:
    """Remove a world."""
    shutil.rmtree(world)


Snapshot = dict[str, tuple[str | int, ...]]


def snapshot(world: Path) -> Snapshot:
    """Describe everything below a world, by path: kind, and for files size, time and hash, for links the target."""
    found: Snapshot = {}
    for top, folders, names in os.walk(os.fsencode(world)):
        for name in (*folders, *names):
            path = os.path.join(top, name)
            about = os.lstat(path)
            key = os.fsdecode(os.path.relpath(path, os.fsencode(world)))
            if stat.S_ISLNK(about.st_mode):
                found[key] = ("link", os.fsdecode(os.readlink(path)))
            elif not stat.S_ISREG(about.st_mode):
                found[key] = (stat.S_IFMT(about.st_mode),)
            else:
                found[key] = (about.st_size, about.st_mtime_ns, _hash(path, about))
    return found


def _hash(path: bytes, about: os.stat_result) -> str:
    """Hash a file; a file of holes is too long to read, and its size and time have to do."""
    if about.st_size > 2**26:
        return ""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def changed(case: Case, before: Snapshot, after: Snapshot) -> list[str]:
    """List what a command changed outside of the places that it may change."""
    free = (*FREE, *case.changes)

    def is_free(key: str) -> bool:
        return any(key == place or key.startswith(f"{place}/") for place in free)

    found = [f"removed {key}" for key in before if key not in after and not is_free(key)]
    found += [f"changed {key}" for key in before if key in after and before[key] != after[key] and not is_free(key)]
    new = [key for key in after if key not in before and not is_free(key)]
    return found + [f"made {key}" for key in new if not (case.adds and key.startswith("in/"))]


def drafts(before: Snapshot, after: Snapshot) -> list[str]:
    """List drafts and removed folders that an ended command left behind."""
    marks = (".tmp-", ".trash-")
    return [f"left {key}" for key in after if key not in before and key.rpartition("/")[2].startswith(marks)]
