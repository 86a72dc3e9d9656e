"""One writer per run folder: a locked file that says who writes, and that is touched as long as that process lives.

On one machine the system's own lock (`flock`) decides, and it is gone with its process, however that ended: a number of
a process that was given out again misleads nobody. Between machines that do not share such locks the time of the last
touch decides. Both times that are compared come from the file server, so clocks may differ.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..common import disk, signals
from ..common.console import to_stderr
from ..common.files import disk_errors
from ..common.processes import alive
from ..errors import RunFolderError
from .layout import CHECKPOINTS, LOCK

BEAT_SECONDS = 10.0
"""Between two touches of the lock."""
STALE_SECONDS = 60.0
"""A lock of another machine that was not touched for so long has lost its process."""
LOOK_SECONDS = 0.2
SAME_HOST_SECONDS = 1.0
"""How long a process of this machine is waited for: enough for one that is ending. The system's lock says that it
lives, so that waiting for more would tell nothing."""


class RunLock:
    """A lock that is held.

    Attributes:
        folder: of the run.
        owner: `host`, `pid`, `started` (local time) and a `token` that no other process has.
    """

    def __init__(self, folder: Path, handle: int) -> None:
        self.folder = folder
        self.owner = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "token": secrets.token_hex(8),
        }
        self._handle = handle
        self._ended = threading.Event()
        disk.cut(handle, 0)
        disk.write(handle, json.dumps(self.owner).encode())
        self._beating = threading.Thread(target=self._beat, name="run lock", daemon=True)
        self._beating.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file server that is away for a moment; `check` tells what it led to
                os.utime(self._handle)

    def check(self) -> None:
        """Raise `RunFolderError` where another process has taken the folder over, as from one that had stood still."""
        owner = read_owner(self.folder / LOCK)
        if owner.get("token") != self.owner["token"]:
            raise RunFolderError(
                f"{self.folder} was taken over by {describe(owner)}: this process had stood still for too long",
                "leave the folder to that process",
            )

    def release(self) -> None:
        """Give the folder free; the file goes, unless it is another's by now."""
        self._ended.set()
        self._beating.join()
        with disk_errors(self.folder / LOCK):
            if read_owner(self.folder / LOCK).get("token") == self.owner["token"]:
                disk.unlink(self.folder / LOCK)
            os.close(self._handle)


@contextlib.contextmanager
def run_lock(folder: Path, wait_seconds: float = 0, say: Callable[[str], None] = to_stderr) -> Iterator[RunLock]:
    """Hold a run folder, which must exist, for the time of the block.

    Args:
        wait_seconds: how long to wait for a process that seems to live; an automatic resume gives 90, so that a lock of
            a machine that went away becomes stale meanwhile. One of this machine is waited for `SAME_HOST_SECONDS`.
        say: is told of a lock that was taken over from a dead process.

    Raises:
        RunFolderError: another process holds it, by host, process and start; or the folder is a link. No file is
            changed.
        DiskError: the lock cannot be written.
        StopRequested: asked to stop while it waits.
    """
    refuse_link(folder)
    with disk_errors(folder / LOCK):
        lock = _acquired(folder, wait_seconds, say)
    try:
        yield lock
    finally:
        lock.release()


def refuse_link(folder: Path) -> None:
    """Raise `RunFolderError` for a run folder that is a link: what it leads to may be another's."""
    for place in (folder, folder / CHECKPOINTS):
        if place.is_symlink():
            raise RunFolderError(f"{place} is a link to {os.readlink(place)}", "give the folder itself as --output")


def holder(folder: Path) -> dict[str, Any]:
    """The owner of a run folder's lock, if that is a process of this machine that lives; nothing otherwise.

    The lock itself is not tried: whoever wants it at this moment would find it taken.
    """
    owner = read_owner(folder / LOCK) if (folder / LOCK).is_file() else {}
    return owner if owner.get("host") == socket.gethostname() and alive(owner["pid"]) else {}


def busy(folder: Path, owner: dict[str, Any]) -> RunFolderError:
    """The error for a folder that somebody holds."""
    return RunFolderError(
        f"{folder} is being written by {describe(owner)}",
        "wait for that process or end it; to train beside it, give another --output",
    )


def _acquired(folder: Path, wait_seconds: float, say: Callable[[str], None]) -> RunLock:
    path, began, waiting = folder / LOCK, time.monotonic(), False
    while True:
        handle, owner, lives = _attempt(path)
        if handle is not None:
            if owner:
                say(f"{folder}: the lock of {describe(owner)} is taken over, as that process is gone")
            return RunLock(folder, handle)
        here = lives and owner.get("host") == socket.gethostname()
        if time.monotonic() >= began + (min(wait_seconds, SAME_HOST_SECONDS) if here else wait_seconds):
            raise busy(folder, owner)
        if not here and not waiting:
            waiting = True
            say(f"{folder} seems to be written by {describe(owner)}: waiting for up to {wait_seconds:.0f} s")
        signals.check()
        time.sleep(LOOK_SECONDS)


def _attempt(path: Path) -> tuple[int | None, dict[str, Any], bool]:
    """The open file of a lock that was got, or None; who has it, or had it and is gone; whether the system says that
    the owner lives.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, disk.FILE_MODE)
    with contextlib.ExitStack() as unless_got:
        unless_got.callback(os.close, handle)
        locked = _flock(handle)
        if locked is False:
            return None, read_owner(path), True
        if not _same_file(handle, path):
            return None, {}, False
        owner = read_owner(path)
        elsewhere = locked is None or owner.get("host") != socket.gethostname()
        if owner and elsewhere and _age(path) < STALE_SECONDS:
            return None, owner, False
        unless_got.pop_all()
    return handle, owner, False


def _flock(handle: int) -> bool | None:
    """Whether the system's lock was got; None where the disk has no such locks, and only the touches tell."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return None
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


def _same_file(handle: int, path: Path) -> bool:
    """Whether a name still is that of an open file: its owner may have removed it between our opening and locking."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _age(path: Path) -> float:
    """Seconds since a lock was touched, both times by the clock of the file server."""
    probe = path.with_name(f".tmp-{path.name}-{secrets.token_hex(8)}")
    os.close(disk.create(probe))
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        disk.unlink(probe)


def read_owner(path: Path) -> dict[str, Any]:
    """Who wrote a lock; nothing where there is none, or one that was cut short."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def describe(owner: dict[str, Any]) -> str:
    """Host, process and start of the owner of a lock, in words."""
    if not owner:
        return "another process that has not said its name yet"
    return f"process {owner.get('pid')} on {owner.get('host')}, started {owner.get('started')}"
