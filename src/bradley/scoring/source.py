"""Input of `bradley score`, a file or stdin: rows, number of rows, and the proof that the content stayed the same.

The rule: an input that changes while being scored is an error, never a mixture of both contents. The time and size of
the file are compared before each part is written, and the content, by hash, before the parts are joined.
"""

import hashlib
import json
import os
import stat
import sys
import uuid
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from ..common.files import sha256
from ..config import Data
from ..data.checks import check_of_sources
from ..data.rows import Row, RowPlace, on_one_line
from ..data.sources.csv_rows import text_columns
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
        settings: settings about the reading of rows; None for the defaults.

    Raises:
        DataError: no file, or stdin is closed.
        UserError: the settings name another source.

    Attributes:
        name: name for messages.
        settings: the settings for this input.
        total: number of rows; None for stdin.
    """

    def __init__(self, given: str, settings: Data | None = None) -> None:
        self.given = given
        check_of_sources(settings or Data(), {given})
        self.settings = (settings or Data()).of_source(given)
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
        self._ahead: Iterator[Numbered] | None = None

    def measure(self, fields: Collection[str] = ()) -> None:
        """Hash the content, and count the rows of a file.

        Args:
            fields: names that no row of a file may have as a field.

        Raises:
            DataError: the file cannot be read, is broken, or has a row with such a field.
        """
        if self._watched:
            self._found = self._read(self._status)
            self._digest = self._read(self._hash)
        if self.given != STREAM:
            self.total = self._read(partial(count_rows, Path(self.given), fields))

    def identity(self) -> dict[str, str]:
        """Name of the content; a stream cannot be read twice, so a random name keeps others from continuing it."""
        return {"stdin": uuid.uuid4().hex} if self.given == STREAM else {"sha256": self._digest}

    def head(self, count: int) -> list[Numbered]:
        """Read the first rows; `rows` yields the same rows again. Raises as `rows`."""
        rows = self.rows()
        found = list(islice(rows, count))
        if self.given == STREAM:
            self._ahead = chain(found, rows)
        return found

    def rows(self) -> Iterator[Numbered]:
        """Read the rows, numbered from 1.

        Raises:
            DataError: the input is unreadable, or has changed.
        """
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            yield from ahead
            return
        try:
            if self.given == STREAM:
                yield from objects_of(lines_of(sys.stdin.buffer, self.name), self.name, nulls=True)
            else:
                # Nothing for the reader to watch: `check` compares contents, and an equal copy is no change.
                # As stored: the output repeats every field of a row, and `parse` looks at the normal form.
                texts = text_columns(self.settings.columns_of())
                yield from read_rows(Path(self.given), Watch([]), texts, as_stored=True)
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


def count_rows(path: Path, fields: Collection[str] = ()) -> int:
    """Count the rows of a file.

    Args:
        fields: names that no row may have as a field.

    Raises:
        DataError: a row with such a field, or a file that cannot be read.
    """
    # Counting lines without parsing JSON keeps the wait before the first score short.
    if not known_suffix(path).startswith(".jsonl"):
        count = 0
        for number, row in read_rows(path):
            check_fields(row, fields, RowPlace(str(path), "", number))
            count += 1
        return count
    marks, count = [json.dumps(name, ensure_ascii=one).encode() for name in fields for one in (True, False)], 0
    for line in lines(path):
        if not line.raw or line.raw.isspace():
            continue
        count += 1
        if any(mark in line.raw for mark in marks):
            check_fields(_keys(line.raw), fields, RowPlace(str(path), "", line.number))
    return count


def check_fields(row: Collection[str], fields: Collection[str], at: RowPlace) -> None:
    """Raise `DataError` for a row that already has a field of an added name.

    Args:
        row: row, or the keys of a row.
        fields: names of the fields that may be added.
    """
    if taken := sorted(name for name in fields if name in row):
        raise at.fault(f"the field {taken[0]}", "a row without it, since scores go there", "give --prefix, such as rm_")


def _keys(raw: bytes) -> Collection[str]:
    """Return the keys of a row; none for a line that is not JSON, which the reader of rows refuses by its number."""
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return ()
    return row if isinstance(row, dict) else ()


def no_rows() -> DataError:
    """Build the error for an empty stream; an empty file is reported by the reader."""
    return DataError("stdin holds no rows", "give at least one line of JSON")
