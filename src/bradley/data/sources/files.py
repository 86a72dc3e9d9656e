"""Files of rows: a file as a source, and the table of readers by suffix."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ...common.disk import real_path
from ...common.files import sha256
from ...errors import DataError, UserError
from ..rows import on_one_line
from .base import NumberedRows, Source
from .csv_rows import csv_rows
from .json_rows import json_lines, json_list
from .parquet_rows import parquet_rows


def file_source(path: Path, given: str, stem: str = "") -> Source:
    """Return a file as a source.

    Raises:
        UserError: a suffix that no reader knows.
    """
    own = path.name.removesuffix(suffix_of(path))
    watch = Watch([path])
    # Ids and seeds are made of the short name, and a name that is not UTF-8 would reach every file written later.
    short, identity = on_one_line(stem or own), str(real_path(path))
    return Source(str(path), short, given, identity, partial(read_rows, path, watch), partial(hash_of, path, watch))


class Watch:
    """Guard against a change of files while they are read: rows and hash of an input are of one content.

    A replaced, longer or edited file has another inode, size or time. The times of most disks change in steps of a few
    milliseconds.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._before: list[tuple[int, ...]] = []

    def begin(self) -> None:
        """Note the files as they are now."""
        self._before = [self._state(path) for path in self.paths]

    def check(self) -> None:
        """Raise `DataError` for a file that is not as noted; without a note, note the files."""
        if not self._before:
            self.begin()
        for path, before in zip(self.paths, self._before, strict=True):
            if self._state(path) != before:
                raise DataError(
                    f"{path} changed while it was read", "wait until nobody writes it any more, or read a copy"
                )

    @staticmethod
    def _state(path: Path) -> tuple[int, ...]:
        with readable(path):
            found = path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of the system about a data file into a `DataError` with the reason."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", f"see who may read it: ls -l {path}") from error


def hash_of(path: Path, watch: Watch) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        DataError: the file cannot be read, or is not the file whose rows were read.
    """
    watch.check()
    with readable(path):
        found = sha256(path)
    watch.check()
    return found


def read_rows(path: Path, watch: Watch | None = None) -> NumberedRows:
    """Read the rows of a file with their numbers from 1: lines of a .jsonl file, places among the rows of another file.

    Raises:
        DataError: no rows, an unreadable file, a file that changes meanwhile, or any fault found by the reader of the
            file's kind.
    """
    # Without this check, an empty download would shrink a set unnoticed.
    empty = True
    watch = watch or Watch([path])
    watch.begin()
    with readable(path):
        for numbered in KINDS[suffix_of(path)](path):
            empty = False
            yield numbered
    watch.check()
    if empty:
        raise DataError(f"{path} holds no rows", "give a file with at least one row")


def known_suffix(path: Path) -> str:
    """Return the suffix of a data file in `KINDS`, or "" for any other file."""

    return max((suffix for suffix in KINDS if path.name.endswith(suffix)), key=len, default="")


def suffix_of(path: Path) -> str:
    """Return the suffix of a data file.

    Raises:
        UserError: a suffix that no reader knows.
    """
    suffix = known_suffix(path)
    if not suffix:
        raise UserError(f"{path} is not a file of a known kind", f"known suffixes: {', '.join(KINDS)}")
    return suffix


KINDS: dict[str, Callable[[Path], NumberedRows]] = {
    ".jsonl": json_lines,
    ".jsonl.gz": json_lines,
    ".json": json_list,
    ".json.gz": json_list,
    ".csv": csv_rows,
    ".csv.gz": csv_rows,
    ".parquet": parquet_rows,
}
"""Suffix -> reader of such files."""
