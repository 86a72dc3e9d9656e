"""The kinds of files that scored rows are written to: rows to the bytes of a part, and parts to one file.

A part is a whole small file of its kind. Lines and gzip members are joined as they are (RFC 1952 allows several
members), so that a file is the same whether it was written at once or in two goes.
"""

import datetime
import gzip
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..common.text import one_line
from ..data.rows import Row
from ..data.sources.base import needed
from ..errors import DataError, UserError

GZIP_LEVEL = 6
JSON_HINT = "take it out of the rows, or write Parquet: -o FILE.parquet"
PARQUET_HINT = "write lines of JSON: -o FILE.jsonl"


class Kind(NamedTuple):
    """How rows of a part become bytes, and how the files of all parts become one."""

    encode: Callable[[Sequence[Row]], bytes]
    join: Callable[[Sequence[Path], BinaryIO], None]


def json_lines(rows: Sequence[Row]) -> bytes:
    """One object per line.

    Raises:
        DataError: a value that JSON does not know, such as NaN or bytes.
    """
    return b"".join(map(_line, rows))


def _line(row: Row) -> bytes:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(f"a row cannot be written as JSON: {one_line(error)}", JSON_HINT) from error
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(row, allow_nan=False, default=_plain).encode() + b"\n"


def _plain(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _gzipped(rows: Sequence[Row]) -> bytes:
    return gzip.compress(json_lines(rows), GZIP_LEVEL, mtime=0)


def _one_after_another(parts: Sequence[Path], target: BinaryIO) -> None:
    for part in parts:
        with part.open("rb") as file:
            shutil.copyfileobj(file, target)


def parquet(rows: Sequence[Row]) -> bytes:
    """A Parquet file with a column for every key that occurs.

    Raises:
        DataError: a column with values of different types.
        UserError: pyarrow is not installed.
    """
    arrow, writer = needed("pyarrow", "a .parquet file"), needed("pyarrow.parquet", "a .parquet file")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    try:
        table = arrow.table({key: arrow.array([row.get(key) for row in rows]) for key in keys})
        file = io.BytesIO()
        writer.write_table(table, file)
    except arrow.ArrowException as error:
        raise DataError(f"rows cannot be written as Parquet: {one_line(error)}", PARQUET_HINT) from error
    return file.getvalue()


def _row_groups(parts: Sequence[Path], target: BinaryIO) -> None:
    """Each part as row groups of one file, whose columns have the widest type of all parts."""
    arrow, files = needed("pyarrow", "a .parquet file"), needed("pyarrow.parquet", "a .parquet file")
    try:
        schemas = [files.read_schema(part) for part in parts]
        schema = arrow.unify_schemas(schemas, promote_options="permissive")
        with files.ParquetWriter(target, schema) as writer:
            for part in parts:
                writer.write_table(_widened(files.read_table(part), schema, arrow))
    except arrow.ArrowException as error:
        raise DataError(f"rows cannot be written as Parquet: {one_line(error)}", PARQUET_HINT) from error


def _widened(table: Any, schema: Any, arrow: Any) -> Any:
    missing = [field for field in schema if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, arrow.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


KINDS: dict[str, Kind] = {
    ".jsonl": Kind(json_lines, _one_after_another),
    ".jsonl.gz": Kind(_gzipped, _one_after_another),
    ".parquet": Kind(parquet, _row_groups),
}
"""Kinds by suffix."""


def suffix_of(output: str) -> str:
    """The suffix in `KINDS` that a file ends with.

    Raises:
        UserError: it ends with none of them.
    """
    for suffix in KINDS:
        if output.endswith(suffix):
            return suffix
    raise UserError(f"{output} is not a kind of file that can be written", f"known suffixes: {', '.join(KINDS)}; or -")
