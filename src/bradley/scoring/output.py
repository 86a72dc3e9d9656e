"""Output file kinds for scored rows: encode rows as the bytes of a part, and join parts into a file.

A part is a small complete file of the same kind. Lines and gzip members are joined unchanged (RFC 1952 allows several
members). An output therefore has the same bytes whether written in a single run or in two.

`Kind.encode` is the seam at which a value without a form in the output is found: at the part of the row, with row and
field named, before more rows are scored.
"""

import datetime
import gzip
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..common.files import FULL
from ..common.text import one_line
from ..data.rows import Row, on_one_line
from ..data.sources.base import needed
from ..errors import DataError, DiskError, DiskFullError, UserError

GZIP_LEVEL = 6
JSON_HINT = "take it out of the rows, or write Parquet: -o FILE.parquet"
PARQUET_HINT = "write lines of JSON: -o FILE.jsonl"


class Kind(Protocol):
    """Output file kind, for the parts of a single output."""

    def encode(self, rows: Sequence[Row], places: Sequence[str], earlier: Sequence[Path]) -> bytes:
        """Encode the rows of a part.

        Args:
            rows: rows of the part.
            places: name of each row for errors, such as `in.jsonl, row 5`.
            earlier: files of the finished parts, which the new part will be joined with.

        Raises:
            DataError: a value without a form in such a file, or of another type than the earlier parts; the message
                names row and field.
            UserError: a missing package.
        """

    def join(self, parts: Sequence[Path], target: BinaryIO) -> None:
        """Write the parts to the output file in order; raises `DataError` for parts that do not fit together."""


class JsonLines:
    """Lines of JSON, plain or as gzip members."""

    def __init__(self, packed: bool = False) -> None:
        self._packed = packed

    def encode(self, rows: Sequence[Row], places: Sequence[str], earlier: Sequence[Path]) -> bytes:
        """Encode the rows of a part; lines of JSON need no common types, so `earlier` does not matter."""
        lines = json_lines(rows, places)
        # Without `mtime` the header would hold the clock, and a rerun would have other bytes.
        return gzip.compress(lines, GZIP_LEVEL, mtime=0) if self._packed else lines

    def join(self, parts: Sequence[Path], target: BinaryIO) -> None:
        """Copy the parts to the target in order."""
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, target)


def json_lines(rows: Sequence[Row], places: Sequence[str]) -> bytes:
    """Encode each row as a JSON object on a line.

    Args:
        places: name of each row for errors.

    Raises:
        DataError: a value without a JSON form, such as NaN or bytes; the message names row and field.
    """
    return b"".join(_line(row, place) for row, place in zip(rows, places, strict=True))


def _line(row: Row, place: str) -> bytes:
    """Encode a row as a line of JSON."""
    try:
        text = _json(row)
    # Any exception: values of data make the encoder raise errors of many classes, and each means the same.
    except Exception as error:
        field = next((key for key, value in row.items() if _error(_json, {key: value})), "")
        raise _refused(place, field, "JSON", error, JSON_HINT) from error
    try:
        return text.encode() + b"\n"
    # Half of a surrogate pair has no UTF-8 form; only a JSON escape can write such a character.
    except UnicodeEncodeError:
        return _json(row, ensure_ascii=True).encode() + b"\n"


def _json(row: Row, ensure_ascii: bool = False) -> str:
    return json.dumps(row, ensure_ascii=ensure_ascii, allow_nan=False, default=_plain)


def _plain(value: Any) -> str:
    """Dates and times of a Parquet input as ISO text, for JSON."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _error(deed: Callable[..., object], *args: Any) -> Exception | None:
    """Return the exception of a call, or None."""
    try:
        deed(*args)
    except Exception as error:
        return error
    return None


def _refused(place: str, field: str, kind: str, error: Exception, hint: str) -> DataError:
    """Build the error for a value without a form in the output."""
    where = f"{place}, field {on_one_line(field)}" if field else place
    return DataError(f"{where}: cannot be written as {kind}: {on_one_line(one_line(error))}", hint)


def check_stdout() -> None:
    """Raise `DiskError` if stdout is closed, as after `>&-`."""
    # An entry point may have opened a closed stdout to nowhere; `sys.__stdout__` keeps what Python found at the start.
    if sys.stdout is None or (sys.__stdout__ is None and _number(sys.stdout) == 1):
        raise DiskError("stdout is closed, and -o - writes to stdout", "give a file as -o OUTPUT")


def _number(stream: Any) -> int | None:
    """File descriptor of a stream; None for a stream without one."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError):
        return None


def to_stdout(data: bytes) -> None:
    """Write bytes to stdout at once.

    Raises:
        BrokenPipeError: the reader has gone, as `head` does; the command line then ends without a word.
        DiskError: stdout leads to a full disk, or cannot be written for another reason.
    """
    try:
        # Bytes, not text: stdout's encoding is the terminal's. Flushed, so a reader sees each part at once.
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python flushes again at exit, would fail again, and would change the exit code.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        kind = DiskFullError if error.errno in FULL else DiskError
        raise kind(f"stdout could not be written: {error.strerror}", "give a file as -o OUTPUT") from error


class Parquet:
    """Parquet: a column for every key, of the widest type of all parts."""

    def __init__(self) -> None:
        self._schema: Any = None
        self._known: set[Path] = set()

    def encode(self, rows: Sequence[Row], places: Sequence[str], earlier: Sequence[Path]) -> bytes:
        """Encode the rows of a part, and check the part against the schema of the earlier parts."""
        needed("pyarrow", "a .parquet file")
        self._schema, self._known = _merged(self._schema, earlier, self._known)
        columns = {key: [row.get(key) for row in rows] for row in rows for key in row}
        try:
            return _encoded(columns, self._schema, earlier)
        # Any exception: beside its own classes Arrow raises Python's, such as UnicodeEncodeError and OverflowError.
        except Exception as error:
            raise self._located(columns, places, earlier, error) from error

    def _located(
        self, columns: dict[str, list[Any]], places: Sequence[str], earlier: Sequence[Path], error: Exception
    ) -> DataError:
        """Name the field that Arrow refuses, and the first row with which Arrow refuses the field."""
        for key, values in columns.items():
            if (cause := _error(_encoded, {key: values}, self._schema, earlier)) is None:
                continue
            # Halving: the first `fits` values can be written, the first `refused` values cannot.
            fits, refused = 0, len(values)
            while refused - fits > 1:
                middle = (fits + refused) // 2
                if _error(_encoded, {key: values[:middle]}, self._schema, earlier) is None:
                    fits = middle
                else:
                    refused = middle
            return _refused(places[refused - 1], key, "Parquet", cause, PARQUET_HINT)
        return _refused(f"{places[0]} and those after", "", "Parquet", error, PARQUET_HINT)

    def join(self, parts: Sequence[Path], target: BinaryIO) -> None:
        """Write all parts as row groups of a Parquet file."""
        arrow, files = needed("pyarrow", "a .parquet file"), needed("pyarrow.parquet", "a .parquet file")
        # A column may be empty in one part and text in another, so the schema needs all parts.
        schema, _ = _merged(None, parts, set())
        try:
            with files.ParquetWriter(target, schema) as writer:
                for part in parts:
                    writer.write_table(_widened(files.read_table(part), schema))
        except arrow.ArrowException as error:
            raise DataError(f"rows cannot be written as Parquet: {one_line(error)}", PARQUET_HINT) from error


def _merged(schema: Any, parts: Sequence[Path], known: set[Path]) -> tuple[Any, set[Path]]:
    """Widen a schema by the schemas of parts not yet known.

    Raises:
        DataError: two parts with a field of types that do not fit together, written by two processes at once.
    """
    arrow, files = needed("pyarrow", "a .parquet file"), needed("pyarrow.parquet", "a .parquet file")
    for part in parts:
        if part in known:
            continue
        try:
            schema = _united(schema, files.read_schema(part))
        except arrow.ArrowException as error:
            message = f"{part.name}: rows cannot be written as Parquet: {one_line(error)}"
            raise DataError(message, PARQUET_HINT) from error
    return schema, known | set(parts)


def _united(schema: Any, new: Any) -> Any:
    """Schema with the columns of both, each of the wider type; None stands for no columns yet."""
    arrow = needed("pyarrow", "a .parquet file")
    return new if schema is None else arrow.unify_schemas([schema, new], promote_options="permissive")


def _encoded(columns: dict[str, list[Any]], schema: Any, earlier: Sequence[Path]) -> bytes:
    """Encode columns as a Parquet file, and prove that the file can be read back and joined with the earlier parts."""
    arrow, files = needed("pyarrow", "a .parquet file"), needed("pyarrow.parquet", "a .parquet file")
    file = io.BytesIO()
    files.write_table(arrow.table({key: arrow.array(values) for key, values in columns.items()}), file)
    # Some tables are written without a word and cannot be read, such as lists nested deeper than 40.
    table = files.read_table(io.BytesIO(file.getvalue()))
    if schema is not None:
        wider = _united(schema, table.schema)
        _widened(table, wider)
        # A wider type has to hold the earlier values too: a large integer has no float.
        changed = [field.name for field in schema if wider.field(field.name).type != field.type]
        for part in earlier if changed else ():
            there = set(files.read_schema(part).names)
            _widened(files.read_table(part, columns=[name for name in changed if name in there]), wider)
    return file.getvalue()


def _widened(table: Any, schema: Any) -> Any:
    """Add missing columns to a table, filled with null, and cast all columns to a schema."""
    arrow = needed("pyarrow", "a .parquet file")
    missing = [field for field in schema if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, arrow.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


KINDS: dict[str, Callable[[], Kind]] = {
    ".jsonl": JsonLines,
    ".jsonl.gz": lambda: JsonLines(packed=True),
    ".parquet": Parquet,
}
"""Output file kinds by suffix: each call makes the kind for an output."""


def suffix_of(output: str) -> str:
    """Find the suffix of an output file in `KINDS`.

    Raises:
        UserError: unknown suffix.
    """
    for suffix in KINDS:
        if output.endswith(suffix):
            return suffix
    raise UserError(f"{output} is not a kind of file that can be written", f"known suffixes: {', '.join(KINDS)}; or -")
