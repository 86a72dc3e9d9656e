"""System calls for durable writes, one function each.

`files.py` changes the disk through these functions alone. Tests can therefore plant a fault, or the end of the process,
at every single call.
"""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


FILE_MODE, FOLDER_MODE = 0o664, 0o775
"""Rights of new files and folders before the umask: only the owner and the group may write, under every umask."""


def create(path: Path) -> int:
    """Open a new file for writing and return the handle.

    Raises:
        FileExistsError: the name exists already, as a link or otherwise.
    """
    # O_EXCL: following a planted link would overwrite a file of another owner. O_CLOEXEC: no child inherits the handle.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)


def reopen(path: Path) -> int:
    """Open an existing file for appending and return the handle.

    Raises:
        OSError: the file does not exist, or is a link.
    """
    # O_NOFOLLOW: a planted link would send the lines into a file of another owner.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)


def write(handle: int, data: "ReadableBuffer") -> int:
    """Write bytes and return the number of bytes written, possibly fewer than given."""
    return os.write(handle, data)


def cut(handle: int, size: int) -> None:
    """Truncate a file to the first `size` bytes."""
    os.ftruncate(handle, size)


def sync(handle: int) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    os.fsync(handle)


def rename(source: Path, target: Path) -> None:
    """Rename a file or folder; an existing file of the new name is replaced, an existing folder only if empty."""
    os.replace(source, target)


def link(source: Path, target: Path) -> None:
    """Give a file a second name."""
    os.link(source, target)


def unlink(path: Path) -> None:
    """Remove a file."""
    os.unlink(path)


def mkdir(path: Path) -> None:
    """Make a new folder."""
    os.mkdir(path, FOLDER_MODE)


def rmdir(path: Path) -> None:
    """Remove an empty folder."""
    os.rmdir(path)


class Raw(io.FileIO):
    """Open file writing its bytes through `disk.write`, so that tests can plant faults under buffered writes."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write bytes and return the number of bytes written."""
        return write(self.fileno(), data)
