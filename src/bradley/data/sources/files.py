"""Files of rows: a file as a source, and the table of readers by suffix."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...common.files import sha256
from ...common.text import one_line
from ...errors import DataError, UserError
from ..rows import quoted
from .base import NumberedRows, Source, needed
from .csv_rows import csv_rows
from .json_rows import json_lines, json_list
from .text import check_plain


def file_source(path: Path, given: str, stem: str = "") -> Source:
    """Return a file as a source.

    Raises:
        UserError: a suffix that no reader knows.
    """
    own = path.name.removesuffix(suffix_of(path))
    return Source(str(path), stem or own, given, str(path.resolve()), partial(read_rows, path), partial(sha256, path))


def read_rows(path: Path) -> NumberedRows:
    """Read the rows of a file with their numbers from 1: lines of a .jsonl file, places among the rows of another file.

    Raises:
        DataError: no rows, an unreadable file, or any fault found by the reader of the file's kind.
    """
    # Without this check, an empty download would shrink a set unnoticed.
    empty = True
    try:
        for numbered in KINDS[suffix_of(path)](path):
            empty = False
            yield numbered
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", f"see who may read it: ls -l {path}") from error
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


BATCH_ROWS = 512
"""Rows of a Parquet file in memory at a time."""


def parquet_rows(path: Path) -> NumberedRows:
    """Read the rows of a Parquet file, numbered from 1: structs become dicts, and lists become lists.

    Memory holds a batch of rows at a time.

    Raises:
        DataError: another kind of file, a broken file, or two columns of the same name.
        UserError: pyarrow is not installed.
    """
    arrow = needed("pyarrow", str(path))
    parquet = needed("pyarrow.parquet", str(path))
    # pyarrow's own message speaks of a missing footer; the first bytes tell the real kind of a renamed file.
    with path.open("rb") as file:
        first = file.read(8)
    if not first.startswith(b"PAR1"):
        check_plain(path, first)
    try:
        with parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            # A dict keeps the last of two equal names, so a column would be lost without notice.
            names = file.schema_arrow.names
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise DataError(f"{path} has two columns called {quoted(twice[0], str)}", "give each its own name")
            batches = file.iter_batches(BATCH_ROWS)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
    except (arrow.ArrowException, ValueError, OSError) as error:
        raise DataError(f"{path} is not a whole Parquet file: {one_line(error)}", "copy it again") from error


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
