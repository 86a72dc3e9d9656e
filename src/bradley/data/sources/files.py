"""Files of rows: the table of their kinds, and one file as a source."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...common.files import sha256
from ...common.text import one_line
from ...errors import DataError, UserError
from ..rows import on_one_line
from .base import NumberedRows, Source, needed
from .csv_rows import csv_rows
from .json_rows import json_lines, json_list
from .text import check_plain

BATCH_ROWS = 512


def parquet_rows(path: Path) -> NumberedRows:
    """Rows of a Parquet file, numbered from 1: structs become dicts and lists lists. Memory holds a batch at a time.

    Raises:
        DataError: another kind of file, a broken one, or one with two columns of one name.
        UserError: pyarrow is not installed.
    """
    arrow = needed("pyarrow", str(path))
    parquet = needed("pyarrow.parquet", str(path))
    with path.open("rb") as file:
        first = file.read(8)
    if not first.startswith(b"PAR1"):
        check_plain(path, first)
    try:
        with parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            names = file.schema_arrow.names
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise DataError(f"{path} has two columns called {on_one_line(twice[0])}", "give each its own name")
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
"""The readers of files, by suffix."""


def file_source(path: Path, given: str, stem: str = "") -> Source:
    """A file as a source.

    Raises:
        UserError: a suffix that no reader knows.
    """
    own = path.name.removesuffix(suffix_of(path))
    return Source(str(path), stem or own, given, str(path.resolve()), partial(read_rows, path), partial(sha256, path))


def read_rows(path: Path) -> NumberedRows:
    """Rows of a file with their number from 1: the line of a .jsonl file, the place among the rows of another.

    Raises:
        DataError: no rows, a file that cannot be read, and whatever the reader of its kind refuses.
    """
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
    """The suffix of a data file in `KINDS`, or "" of any other file."""
    return max((suffix for suffix in KINDS if path.name.endswith(suffix)), key=len, default="")


def suffix_of(path: Path) -> str:
    """The suffix of a data file.

    Raises:
        UserError: no reader knows it.
    """
    suffix = known_suffix(path)
    if not suffix:
        raise UserError(f"{path} is not a file of a known kind", f"known suffixes: {', '.join(KINDS)}")
    return suffix
