"""Lock of a folder, for a single writer: a locked file naming the writer, touched as long as the writer lives.

On one machine the lock of the operating system (`flock`) decides. The system drops a `flock` when the process ends, for
any reason, so a reused process id misleads nobody. Between machines without shared locks, the time of the last touch
decides. Both compared times come from the file server: clocks may differ.
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

from ..errors import RunFolderError
from . import disk, signals
from .console import to_stderr
from .files import disk_errors
from .processes import alive

LOCK = ".lock"
"""Name of the lock file in a locked folder."""
BEAT_SECONDS = 10.0
"""Seconds between two touches of the lock."""
STALE_SECONDS = 60.0
"""Seconds without a touch after which a lock of another machine counts as abandoned."""
LOOK_SECONDS = 0.2
"""Seconds between two attempts to get the lock."""
SAME_HOST_SECONDS = 1.0
"""Longest wait for a process of this machine, in seconds: enough for a process that is ending. `flock` shows that the
process lives, and a longer wait would show nothing new.
"""


class FolderLock:
    """Held lock of a folder, touched by a thread until the release.

    Attributes:
        folder: the locked folder.
        owner: `host`, `pid`, `started` (local time), and a `token` unique to this process.
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
        # Written in place: `flock` belongs to the open file, and a renamed new file would leave the lock behind.
        disk.cut(handle, 0)
        disk.write(handle, json.dumps(self.owner).encode())
        # A daemon thread: the end of the process must never wait for the next touch.
        self._beating = threading.Thread(target=self._beat, name="run lock", daemon=True)
        self._beating.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            # The file server may be away for a moment; `check` finds out if the folder was taken over meanwhile.
            with contextlib.suppress(OSError):
                os.utime(self._handle)

    def check(self) -> None:
        """Raise `RunFolderError` if another process has taken over the folder after a long pause of this process."""
        owner = read_owner(self.folder / LOCK)
        if owner.get("token") != self.owner["token"]:
            raise RunFolderError(
                f"{self.folder} was taken over by {describe(owner)}: this process had stood still for too long",
                "leave the folder to that process",
            )

    def release(self) -> None:
        """Release the folder, and remove the lock file unless another process owns the file by now."""
        self._ended.set()
        # After the close, a late touch could reach another file that got the same handle number.
        self._beating.join()
        with disk_errors(self.folder / LOCK):
            # The close comes last: the close ends `flock`, and the file of the next owner could be removed.
            if read_owner(self.folder / LOCK).get("token") == self.owner["token"]:
                disk.unlink(self.folder / LOCK)
            os.close(self._handle)


@contextlib.contextmanager
def folder_lock(folder: Path, wait_seconds: float = 0, say: Callable[[str], None] = to_stderr) -> Iterator[FolderLock]:
    """Hold the lock of an existing folder inside a `with` block.

    Args:
        folder: the locked folder.
        wait_seconds: longest wait for a process that seems to live. A resume waits 90 s, and the lock of a lost machine
            is stale by then. The wait for a process of this machine is at most `SAME_HOST_SECONDS`.
        say: prints a line about a wait, or about the lock of a dead process taken over.

    Raises:
        RunFolderError: another process holds the lock, named by host, process id and start; or the folder is a link. No
            file is changed.
        DiskError: the lock cannot be written.
        StopRequested: the process was asked to stop during the wait.
    """
    refuse_link(folder)
    with disk_errors(folder / LOCK):
        lock = _acquired(folder, wait_seconds, say)
    try:
        yield lock
    finally:
        lock.release()


def refuse_link(folder: Path) -> None:
    """Raise `RunFolderError` if a folder is a link: the target may have another owner."""
    if folder.is_symlink():
        raise RunFolderError(f"{folder} is a link to {os.readlink(folder)}", "give the folder itself as --output")


def holder(folder: Path) -> dict[str, Any]:
    """Return the owner of a folder's lock if the owner is a living process of this machine, else {}."""
    # `flock` is not tried: an attempt would hold the lock for a moment, and refuse another process wanting the lock.
    owner = read_owner(folder / LOCK) if (folder / LOCK).is_file() else {}
    return owner if owner.get("host") == socket.gethostname() and alive(owner["pid"]) else {}


def busy(folder: Path, owner: dict[str, Any]) -> RunFolderError:
    """Build the error for a folder held by another process."""
    return RunFolderError(
        f"{folder} is being written by {describe(owner)}",
        "wait for that process or end it; to train beside it, give another --output",
    )


def _acquired(folder: Path, wait_seconds: float, say: Callable[[str], None]) -> FolderLock:
    path, began, waiting = folder / LOCK, time.monotonic(), False
    while True:
        handle, owner, lives = _attempt(path)
        if handle is not None:
            if owner:
                say(f"{folder}: the lock of {describe(owner)} is taken over, as that process is gone")
            return FolderLock(folder, handle)
        # `flock` proves that an owner on this machine lives; an owner elsewhere may be dead, and shows by age alone.
        here = lives and owner.get("host") == socket.gethostname()
        if time.monotonic() >= began + (min(wait_seconds, SAME_HOST_SECONDS) if here else wait_seconds):
            raise busy(folder, owner)
        if not here and not waiting:
            waiting = True
            say(f"{folder} seems to be written by {describe(owner)}: waiting for up to {wait_seconds:.0f} s")
        # Without this check, a stopped job would wait up to 90 s more and be killed by the scheduler.
        signals.check()
        time.sleep(LOOK_SECONDS)


def _attempt(path: Path) -> tuple[int | None, dict[str, Any], bool]:
    """Try once to get the lock, without waiting.

    Returns:
        Handle of the locked file, or None without success; the present or former owner; True if `flock` shows that the
        owner lives.
    """
    # O_NOFOLLOW: through a planted link, another file would be emptied. O_CLOEXEC: a child inheriting the handle would
    # keep `flock` after the end of this process.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, disk.FILE_MODE)
    with contextlib.ExitStack() as unless_got:
        unless_got.callback(os.close, handle)
        locked = _flock(handle)
        if locked is False:
            return None, read_owner(path), True
        # The former owner may have removed the file between our open and our lock; then the lock protects nothing.
        if not _same_file(handle, path):
            return None, {}, False
        owner = read_owner(path)
        # `flock` may not reach other machines: for an owner elsewhere, only the time of the last touch counts.
        elsewhere = locked is None or owner.get("host") != socket.gethostname()
        if owner and elsewhere and _age(path) < STALE_SECONDS:
            return None, owner, False
        unless_got.pop_all()
    return handle, owner, False


def _flock(handle: int) -> bool | None:
    """Try `flock`: True if acquired, False if held by another process, None on a disk without such locks."""
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
    """Return True if the name still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _age(path: Path) -> float:
    """Return the seconds since the last touch of a lock; both times are of the file server's clock."""
    # A new file shows the server's present time; the clock of this machine may be minutes off.
    probe = path.with_name(f".tmp-{path.name}-{secrets.token_hex(8)}")
    os.close(disk.create(probe))
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        disk.unlink(probe)


def read_owner(path: Path) -> dict[str, Any]:
    """Return the owner written in a lock file; {} if the file is absent or was cut short."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def describe(owner: dict[str, Any]) -> str:
    """Describe the owner of a lock in words: host, process id and start."""
    if not owner:
        return "another process that has not said its name yet"
    return f"process {owner.get('pid')} on {owner.get('host')}, started {owner.get('started')}"
