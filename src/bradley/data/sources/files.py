"""Files of rows: a file as a source, and the table of readers by suffix."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ...common.files import sha256
from ...common.ownership import real_path
from ...errors import DataError, UserError
from ..rows import on_one_line
from .base import NumberedRows, Source
from .csv_rows import TABS, table_rows
from .json_rows import json_document, json_lines
from .parquet_rows import parquet_rows
from .plain import plain_row
from .text import PACKED


def file_source(path: Path, given: str, stem: str = "") -> Source:
    """Return a file as a source.

    Raises:
        UserError: a suffix that no reader knows.
    """
    own = path.name.removesuffix(suffix_of(path))
    watch = Watch([path])
    # Ids and seeds are made of the short name, and a name that is not UTF-8 would reach every file written later.
    short, identity = on_one_line(stem or own), str(real_path(path))
    rows = partial(read_rows, path, watch)
    counting = partial(rows, count_faults=True)
    return Source(str(path), short, given, identity, rows, partial(hash_of, path, watch), counting)


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


def read_rows(
    path: Path,
    watch: Watch | None = None,
    texts: Collection[str] = (),
    *,
    as_stored: bool = False,
    count_faults: bool = False,
) -> NumberedRows:
    """Read the rows of a file with their numbers from 1: lines of a .jsonl file, places among the rows of another file.

    Args:
        path: the file.
        watch: guard of the file, if a caller has one.
        texts: columns of a table of cells that hold text, whatever their cells look like.
        as_stored: leave out the normal form: nulls, dates and bytes inside values stay as the file holds them.
        count_faults: True to yield a `Faulty` for a faulty line of a .jsonl file, instead of an error.

    Raises:
        DataError: no rows, an unreadable file, a file that changes meanwhile, or any fault found by the reader of the
            file's kind.
    """
    # Without this check, an empty download would shrink a set unnoticed.
    empty = True
    watch = watch or Watch([path])
    watch.begin()
    suffix = suffix_of(path)
    counts = count_faults and suffix.startswith(".jsonl")
    with readable(path):
        rows = json_lines(path, as_stored, count_faults=True) if counts else KINDS[suffix](path, texts, as_stored)
        for numbered in rows:
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
        program = next((UNPACK[kind] for kind in UNPACK if path.name.lower().endswith(kind)), "")
        hint = f"unpack it: {program} {path}" if program else f"known suffixes: {', '.join(KINDS)}"
        raise UserError(f"{path} is not a file of a known kind", hint)
    return suffix


def _lines(path: Path, texts: Collection[str], as_stored: bool) -> NumberedRows:
    return json_lines(path, as_stored)


def _document(path: Path, texts: Collection[str], as_stored: bool) -> NumberedRows:
    return json_document(path, as_stored)


def _commas(path: Path, texts: Collection[str], as_stored: bool) -> NumberedRows:
    return table_rows(path, texts)


def _tabs(path: Path, texts: Collection[str], as_stored: bool) -> NumberedRows:
    return table_rows(path, texts, TABS)


def _parquet(path: Path, texts: Collection[str], as_stored: bool) -> NumberedRows:
    rows = parquet_rows(path)
    return rows if as_stored else ((number, plain_row(row)) for number, row in rows)


KINDS: dict[str, Callable[[Path, Collection[str], bool], NumberedRows]] = {
    **{
        suffix + packed: read
        for suffix, read in {".jsonl": _lines, ".json": _document, ".csv": _commas, ".tsv": _tabs}.items()
        for packed in ("", *PACKED)
    },
    ".parquet": _parquet,
}
"""Suffix -> reader of such files."""
UNPACK = {".xz": "unxz", ".zst": "unzstd", ".bz2": "bunzip2", ".zip": "unzip", ".tar": "tar xf", ".7z": "7z x"}
"""Suffix of a packed file that is not read -> program that unpacks the file."""
