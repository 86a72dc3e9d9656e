"""Output file kinds for scored rows: encode rows as the bytes of a part, and join parts into a file.

A part is a small complete file of the same kind. Lines and gzip members are joined unchanged (RFC 1952 allows several
members). An output therefore has the same bytes whether written in a single run or in two.
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
    """Output file kind.

    Attributes:
        encode: encodes the rows of a part as bytes.
        join: writes the files of all parts to the output file.
    """

    encode: Callable[[Sequence[Row]], bytes]
    join: Callable[[Sequence[Path], BinaryIO], None]


def json_lines(rows: Sequence[Row]) -> bytes:
    """Encode each row as a JSON object on a line.

    Raises:
        DataError: a value without a JSON form, such as NaN or bytes.
    """
    return b"".join(map(_line, rows))


def _line(row: Row) -> bytes:
    """Encode a row as a line of JSON."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(f"a row cannot be written as JSON: {one_line(error)}", JSON_HINT) from error
    try:
        return text.encode() + b"\n"
    # Half of a surrogate pair has no UTF-8 form; only a JSON escape can write such a character.
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False, default=_plain).encode() + b"\n"


def _plain(value: Any) -> str:
    """Dates and times of a Parquet input as ISO text, for JSON."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _gzipped(rows: Sequence[Row]) -> bytes:
    """Encode rows as a gzip member of JSON lines."""
    # Without `mtime` the header would hold the clock, and a rerun would have other bytes.
    return gzip.compress(json_lines(rows), GZIP_LEVEL, mtime=0)


def _one_after_another(parts: Sequence[Path], target: BinaryIO) -> None:
    """Copy the parts to the target in order."""
    for part in parts:
        with part.open("rb") as file:
            shutil.copyfileobj(file, target)


def parquet(rows: Sequence[Row]) -> bytes:
    """Encode rows as a Parquet file with a column for every key.

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
    """Write all parts as row groups of a Parquet file; each column has the widest type of all parts."""
    arrow, files = needed("pyarrow", "a .parquet file"), needed("pyarrow.parquet", "a .parquet file")
    try:
        # A column may be empty in one part and text in another, so the schema needs all parts.
        schemas = [files.read_schema(part) for part in parts]
        schema = arrow.unify_schemas(schemas, promote_options="permissive")
        with files.ParquetWriter(target, schema) as writer:
            for part in parts:
                writer.write_table(_widened(files.read_table(part), schema, arrow))
    except arrow.ArrowException as error:
        raise DataError(f"rows cannot be written as Parquet: {one_line(error)}", PARQUET_HINT) from error


def _widened(table: Any, schema: Any, arrow: Any) -> Any:
    """Add missing columns to a table, filled with null, and cast all columns to a schema."""
    missing = [field for field in schema if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, arrow.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


KINDS: dict[str, Kind] = {
    ".jsonl": Kind(json_lines, _one_after_another),
    ".jsonl.gz": Kind(_gzipped, _one_after_another),
    ".parquet": Kind(parquet, _row_groups),
}
"""Output file kinds by suffix."""


def suffix_of(output: str) -> str:
    """Find the suffix of an output file in `KINDS`.

    Raises:
        UserError: unknown suffix.
    """
    for suffix in KINDS:
        if output.endswith(suffix):
            return suffix
    raise UserError(f"{output} is not a kind of file that can be written", f"known suffixes: {', '.join(KINDS)}; or -")
