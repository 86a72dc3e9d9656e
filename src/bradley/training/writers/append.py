"""A file that grows while a run goes on, and that a resumed run cuts back to where its checkpoint stood."""

import contextlib
import os
from pathlib import Path

from ... import disk
from ...errors import CheckpointError
from ...files import disk_errors, sync


class Appended:
    """A text file that grows; what was written is with the system at once, so a plot can be made of a run under way.

    Args:
        at: bytes of it that count, as `position` gave them, for a run that goes on: what was written after that is cut
            off. None begins a new file.

    Raises:
        CheckpointError: a file that lacks what is to count.
        DiskError: it cannot be opened, or a new one exists already.
    """

    def __init__(self, path: Path, at: int | None = None) -> None:
        if at is not None and (not path.is_file() or path.stat().st_size < at):
            raise CheckpointError(
                f"{path} is shorter than the {at} bytes that the checkpoint knows of it", "copy the whole run folder"
            )
        self.path = path
        with disk_errors(path):
            self._handle = disk.create(path) if at is None else disk.reopen(path)
            if at is not None and os.fstat(self._handle).st_size > at:
                disk.cut(self._handle, at)
            sync(path.parent)  # a synced file without a name is lost as well

    def write(self, text: str) -> None:
        """Append a text, whole or not at all.

        Raises:
            DiskError: it could not be written; training must not go on unlogged.
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

    def position(self) -> int:
        """Bytes of the file, all of them on the disk."""
        with disk_errors(self.path):
            disk.sync(self._handle)
            return os.fstat(self._handle).st_size

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
