"""Input of `bradley score`, a file or stdin: rows, number of rows, and the proof that the content stayed the same.

The rule: an input that changes while being scored is an error, never a mixture of both contents. The time and size of
the file are compared before each part is written, and the content, by hash, before the parts are joined.
"""

import hashlib
import os
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..common.files import sha256
from ..data.rows import Row, on_one_line
from ..data.sources.files import Watch, known_suffix, read_rows
from ..data.sources.json_rows import objects_of
from ..data.sources.text import lines, lines_of
from ..errors import DataError

STREAM = "-"
"""Name of stdin and stdout on the command line."""
Numbered = tuple[int, Row]
"""Number of a row from 1, and the row."""
BLOCK = 2**20
T = TypeVar("T")


class InputChanged(DataError):
    """Input with another content than at the start."""


class Input:
    """Input of a scoring.

    Args:
        given: a file, or "-" for stdin.

    Raises:
        DataError: no file, or stdin is closed.

    Attributes:
        name: name for messages.
        total: number of rows; None for stdin.
    """

    def __init__(self, given: str) -> None:
        self.given = given
        self.name = "stdin" if given == STREAM else given
        self.total: int | None = None
        if given == STREAM:
            if sys.stdin is None:
                raise DataError("stdin is closed", "give a file as INPUT, or lines of JSON on stdin")
        elif not Path(given).is_file():
            hint = "give a .jsonl, .jsonl.gz or .parquet file, or - for stdin"
            raise DataError(f"{on_one_line(given)} is not a file", hint)
        self._handle = regular_stdin() if given == STREAM else None
        self._watched = given != STREAM or self._handle is not None
        self._found: os.stat_result | None = None
        self._digest = ""

    def measure(self) -> None:
        """Hash the content, and count the rows of a file.

        Raises:
            DataError: the file cannot be read, or is broken.
        """
        if self._watched:
            self._found = self._read(self._status)
            self._digest = self._read(self._hash)
        if self.given != STREAM:
            self.total = self._read(partial(count_rows, Path(self.given)))

    def identity(self) -> dict[str, str]:
        """Name of the content; a stream cannot be read twice, so a random name keeps others from continuing it."""
        return {"stdin": uuid.uuid4().hex} if self.given == STREAM else {"sha256": self._digest}

    def rows(self) -> Iterator[Numbered]:
        """Read the rows, numbered from 1.

        Raises:
            DataError: the input is unreadable, or has changed.
        """
        try:
            if self.given == STREAM:
                yield from objects_of(lines_of(sys.stdin.buffer, self.name), self.name, nulls=True)
            else:
                # Nothing for the reader to watch: `check` compares contents, and an equal copy is no change.
                # As stored: the output repeats every field of a row, and `parse` looks at the normal form.
                yield from read_rows(Path(self.given), Watch([]), as_stored=True)
        except OSError as error:
            raise self._unreadable(error) from error
        except DataError:
            # A row torn by a writer is a fault of the moment, not of the file.
            self.check()
            raise

    def check(self, content: bool = False) -> None:
        """Compare the input with the state found by `measure`.

        Args:
            content: read the whole content again.

        Raises:
            InputChanged: the input has another content.
            DataError: the input was written to, and has the content of the start.
        """
        if self._found is None:
            return
        before, now = self._found, self._read(self._status)
        untouched = (before.st_size, before.st_mtime_ns) == (now.st_size, now.st_mtime_ns)
        # Another inode or a later change of the inode may be a copy of the same content: only the content decides.
        content = content or not untouched or (before.st_ino, before.st_ctime_ns) != (now.st_ino, now.st_ctime_ns)
        if content and self._read(self._hash) != self._digest:
            raise InputChanged(
                f"{on_one_line(self.name)} changed while being scored",
                "start again when nothing writes to the input any more",
            )
        # A content changed and changed back may have been read in between.
        if not untouched:
            raise DataError(
                f"{on_one_line(self.name)} was written to while being scored",
                "start again: finished parts are kept",
            )
        self._found = now

    def _status(self) -> os.stat_result:
        return os.stat(self.given) if self._handle is None else os.fstat(self._handle)

    def _hash(self) -> str:
        if self._handle is None:
            return sha256(Path(self.given))
        # Reading at given places leaves the position of stdin alone.
        digest, place = hashlib.sha256(), 0
        while block := os.pread(self._handle, BLOCK, place):
            digest.update(block)
            place += len(block)
        return digest.hexdigest()

    def _read(self, read: Callable[[], T]) -> T:
        """Call `read`; an error of the system becomes a `DataError`."""
        try:
            return read()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> DataError:
        name = on_one_line(self.name)
        hint = "give a file as INPUT" if self.given == STREAM else f"see who may read it: ls -l {name}"
        return DataError(f"{name} cannot be read: {error.strerror or error}", hint)


def regular_stdin() -> int | None:
    """Return the handle of stdin if stdin is a regular file, as after `< FILE`; None for a pipe or a terminal."""
    try:
        handle = sys.stdin.fileno()
    except (AttributeError, OSError):  # stdin replaced by an object without a handle
        return None
    return handle if stat.S_ISREG(os.fstat(handle).st_mode) else None


def count_rows(path: Path) -> int:
    """Count the rows of a file."""
    # Counting lines without parsing JSON keeps the wait before the first score short.
    if known_suffix(path).startswith(".jsonl"):
        return sum(1 for line in lines(path) if line.raw and not line.raw.isspace())
    return sum(1 for _ in read_rows(path))


def no_rows() -> DataError:
    """Build the error for an empty stream; an empty file is reported by the reader."""
    return DataError("stdin holds no rows", "give at least one line of JSON")
