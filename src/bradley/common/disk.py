"""The calls to the system that durable writes are made of, one function each.

`files.py` changes the disk through these alone, so a fault, or the end of the process, can be put under any of them.
"""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


FILE_MODE, FOLDER_MODE = 0o664, 0o775
"""What the umask takes from: whatever it is, nobody but the owner and the group may ever write."""


def create(path: Path) -> int:
    """Open a new file for writing; a name that exists is refused, a link included."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)


def reopen(path: Path) -> int:
    """Open an existing file to append to it; a link is refused."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)


def write(handle: int, data: "ReadableBuffer") -> int:
    """Write bytes, and say how many were taken, which may be fewer."""
    return os.write(handle, data)


def cut(handle: int, size: int) -> None:
    """Leave the first `size` bytes of a file."""
    os.ftruncate(handle, size)


def sync(handle: int) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    os.fsync(handle)


def rename(source: Path, target: Path) -> None:
    """Rename; a file that has the new name is replaced, a folder only where it is empty."""
    os.replace(source, target)


def link(source: Path, target: Path) -> None:
    """Give a file a second name."""
    os.link(source, target)


def unlink(path: Path) -> None:
    """Remove a file."""
    os.unlink(path)


def mkdir(path: Path) -> None:
    """Make a folder that does not exist."""
    os.mkdir(path, FOLDER_MODE)


def rmdir(path: Path) -> None:
    """Remove an empty folder."""
    os.rmdir(path)


class Raw(io.FileIO):
    """An open file whose bytes go through `write`."""

    def write(self, data: "ReadableBuffer", /) -> int:
        return write(self.fileno(), data)
