"""A file that grows while a run goes on, and that a resumed run cuts back to where its checkpoint stood."""

import contextlib
import os
from pathlib import Path

from ... import disk
from ...errors import CheckpointError
from ...files import disk_errors, sync


class AppendFile:
    """Text, piece after piece; what was written is with the system at once, and on disk after `sync`.

    Args:
        keep: bytes of an existing file to go on after, what follows them is cut off; None: a new file.

    Raises:
        DiskError: it cannot be opened; a new file exists already.
        CheckpointError: the file is shorter than `keep`.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self.path = path
        with disk_errors(path):
            self._handle = disk.create(path) if keep is None else disk.reopen(path)
            if keep is not None:
                self._cut(keep)
            sync(path.parent)  # a synced file without a name is lost as well

    def _cut(self, keep: int) -> None:
        size = os.fstat(self._handle).st_size
        if size < keep:
            self.close()
            raise CheckpointError(
                f"{self.path} has {size} bytes, and {keep} at the checkpoint", "put the file of the run back"
            )
        if size > keep:
            disk.cut(self._handle, keep)

    def write(self, text: str) -> None:
        """Append text, whole or not at all.

        Raises:
            DiskError: it could not be written.
        """
        with disk_errors(self.path):
            before = os.fstat(self._handle).st_size
            try:
                self._append(memoryview(text.encode("utf-8")))
            except OSError:
                with contextlib.suppress(OSError):  # what went wrong first is what has to be told
                    disk.cut(self._handle, before)
                raise

    def _append(self, data: memoryview) -> None:
        while data:
            data = data[disk.write(self._handle, data) :]

    def sync(self) -> int:
        """Bring all of it to the disk, and say how many bytes it has: what `keep` may be.

        Raises:
            DiskError: the disk refuses.
        """
        with disk_errors(self.path):
            disk.sync(self._handle)
            return os.fstat(self._handle).st_size

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
