"""Lock of a folder, for a single writer: a locked file naming the writer, touched as long as the writer lives.

Two writers of the same run, score, export or cache never mix files: the second is refused at once.

On one machine the lock of the operating system (`flock`) decides. The system drops a `flock` when the process ends, for
any reason, so a reused process id misleads nobody. Between machines without shared locks, the time of the last touch
decides. Both compared times come from the file server: clocks may differ.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from . import disk, signals
from .console import to_stderr
from .files import disk_errors, make_folder, remove_draft
from .ownership import refuse_link
from .processes import alive
from .trees import sync

LOCK = ".lock"
"""Name of the lock file in a locked folder."""
HEAD = b'{"host": '
"""First bytes of every lock file."""
MOST_BYTES = 2**16
"""Bytes read of a lock file; a real one takes a few hundred."""
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

    def __init__(self, folder: Path, handle: int, path: Path) -> None:
        self.folder = folder
        self._path = path
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
        owner = read_owner(self._path)
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
        with disk_errors(self._path):
            try:
                if read_owner(self._path).get("token") == self.owner["token"]:
                    disk.unlink(self._path)
            # The close comes last: the close ends `flock`, and the file of the next owner could be removed. It comes
            # after a failed removal too: else the place would be held as long as this process lives.
            finally:
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
        lock = _acquired(folder, folder / LOCK, wait_seconds, say)
    try:
        yield lock
    finally:
        lock.release()


@contextlib.contextmanager
def place_lock(folder: Path, say: Callable[[str], None] = to_stderr) -> Iterator[FolderLock]:
    """Hold the lock of a folder, existing or not, inside a `with` block: a file `.lock-NAME` beside the folder.

    A writer of the folder names the draft by `lock.owner["token"]`. Left-overs of a killed writer are removed here: the
    draft, and the lock file naming the draft. After the block neither is left.

    Args:
        folder: the place; missing folders above are made, and removed again if the block fails.
        say: prints a line about the lock of a dead process taken over.

    Raises:
        RunFolderError: another process holds the lock, named by host, process id and start; or the lock file is not one
            of bradley. No file is changed.
        DiskError: the lock cannot be written.
    """
    made = [above for above in folder.absolute().parents if not above.exists()]
    path = folder.with_name(f"{LOCK}-{folder.name}")
    try:
        with disk_errors(path):
            make_folder(folder.parent)
            lock = _acquired(folder, path, 0, say, lambda former: _remove_left(folder, former))
        try:
            # Durable before the draft is made: after a power cut, the lock still names the draft.
            sync(path)
            sync(path.parent)
            yield lock
        finally:
            lock.release()
    except BaseException:
        # Another process may have put something there: then the folder is not empty, and stays.
        with contextlib.suppress(OSError):
            for above in made:
                disk.rmdir(above)
        raise


def _remove_left(folder: Path, former: dict[str, Any]) -> None:
    """Remove the draft that the former owner of a place has left."""
    # The lock file may be edited: a path in the place of the token would lead elsewhere.
    if re.fullmatch(r"[0-9a-f]{16}", token := str(former.get("token"))):
        remove_draft(folder, token)


def holder(folder: Path) -> dict[str, Any]:
    """Return the owner of a folder's lock if the owner is a living process of this machine, else {}.

    Raises:
        DiskError: the system does not allow to look, or the name is too long.
    """
    # `flock` is not tried: an attempt would hold the lock for a moment, and refuse another process wanting the lock.
    with disk_errors(folder, "read"):
        owner = read_owner(folder / LOCK) if (folder / LOCK).is_file() else {}
    return owner if owner.get("host") == socket.gethostname() and alive(owner["pid"]) else {}


def busy(folder: Path, owner: dict[str, Any]) -> RunFolderError:
    """Build the error for a place held by another process."""
    return RunFolderError(
        f"{folder} is being written by {describe(owner)}", "wait for that process or end it, or give another place"
    )


def _acquired(
    folder: Path,
    path: Path,
    wait_seconds: float,
    say: Callable[[str], None],
    inherit: Callable[[dict[str, Any]], object] = lambda former: None,
) -> FolderLock:
    """Get the lock file `path` of a folder; `inherit` is called with a dead owner before the file forgets that owner.

    Raises:
        RunFolderError: another process holds the lock, or the file is not one of bradley.
    """
    began, waiting = time.monotonic(), False
    while True:
        handle, owner, lives = _attempt(path)
        if handle is not None:
            try:
                if owner:
                    say(f"{folder}: the lock of {describe(owner)} is taken over, as that process is gone")
                    inherit(owner)
                return FolderLock(folder, handle, path)
            except BaseException:
                os.close(handle)
                raise
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
        _refuse_foreign_file(handle, path)
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


def _refuse_foreign_file(handle: int, path: Path) -> None:
    """Raise `RunFolderError` if an open file is no lock of bradley, whole or cut short: a lock is emptied."""
    regular = stat.S_ISREG(os.fstat(handle).st_mode)
    began = os.pread(handle, len(HEAD), 0) if regular else b""
    if not regular or not HEAD.startswith(began):
        raise RunFolderError(f"{path} is no lock of bradley", "give another place, or give that file another name")


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
    """Return the owner written in a lock file; {} if the file is absent, was cut short, or is no lock of bradley."""
    try:
        with path.open("rb") as file:
            owner = json.loads(file.read(MOST_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) and type(owner.get("pid")) is int else {}


def describe(owner: dict[str, Any]) -> str:
    """Describe the owner of a lock in words: host, process id and start."""
    if not owner:
        return "another process that has not said its name yet"
    return f"process {owner.get('pid')} on {owner.get('host')}, started {owner.get('started')}"
