"""Rows of Arrow tables, as Parquet files and datasets hold them.

Beyond pyarrow's own conversion: JSON columns (`arrow.json`) are parsed, maps become objects, and the index that pandas
adds is left out. Images and sounds stay the bytes and paths of the table.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...common.text import one_line
from ...errors import DataError
from ..rows import on_one_line
from .base import Row, needed
from .json_rows import DECODER

INDEX = re.compile(r"__index_level_\d+__")
"""Name of the index column that pandas writes: the places of the rows in a data frame."""
BATCH_ROWS = 512
"""Rows of a dataset in memory at a time."""
BATCH_BYTES = 2**25
"""Bytes of rows in memory as Python's values, as far as one row allows."""
Reading = Callable[[Any], Any]


def arrow_rows(batches: Iterable[Any], name: str) -> Iterator[Row]:
    """Read the rows of record batches or tables of one schema.

    Args:
        batches: `pyarrow.RecordBatch` or `pyarrow.Table` objects.
        name: name of the source in messages.

    Raises:
        DataError: JSON that cannot be parsed, a map with a key twice, or a date out of range.
    """
    number = 0
    for batch in batches:
        readings = {field.name: read for field in batch.schema if (read := _reading(field.type))}
        index = [key for key in batch.schema.names if INDEX.fullmatch(key)]
        for row in _pylist(batch, name):
            number += 1
            for key, read in readings.items():
                row[key] = _read(read, row[key], f"{name}, row {number}, the column {on_one_line(key)}")
            for key in index:
                del row[key]
            yield row


def _pylist(batch: Any, name: str) -> Iterator[Row]:
    """Convert a batch to rows, few at a time where the rows are large, as rows with images are.

    Raises:
        DataError: a date beyond the years that Python knows, in a column that is read or not.
    """
    rows = batch.num_rows
    step = max(1, min(rows, rows * BATCH_BYTES // max(batch.nbytes, 1)))
    for start in range(0, rows, step):
        try:
            rows_here = batch.slice(start, step).to_pylist()
        except OverflowError as error:
            hint = "correct the dates, or remove the column"
            raise DataError(f"{name} holds a date out of range: {one_line(error)}", hint) from error
        yield from rows_here


def dataset_rows(dataset: Any, name: str) -> Iterator[Row]:
    """Read the rows of a `datasets.Dataset`, a batch in memory at a time; raises as `arrow_rows`."""
    chosen = None if dataset.format["output_all_columns"] else dataset.format["columns"]
    # The dataset's own format, such as torch tensors, would hand over other types than a file's rows. The table also
    # holds images and sounds as they are, where every other format decodes each of them.
    yield from arrow_rows(dataset.with_format("arrow", columns=chosen).iter(BATCH_ROWS), name)


def _read(read: Reading, value: Any, where: str) -> Any:
    """Read a value; raise `DataError` for JSON that cannot be parsed."""
    try:
        return read(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {error}", "correct or remove it") from error


def _reading(type: Any) -> Reading | None:
    """Return the function that completes pyarrow's conversion of a type; None for a complete conversion."""
    pa = needed("pyarrow", "Arrow")
    if getattr(type, "extension_name", "") == "arrow.json":
        return _json
    if pa.types.is_dictionary(type):
        return _reading(type.value_type)
    if pa.types.is_map(type):
        return _map(_reading(type.item_type))
    if pa.types.is_struct(type):
        fields = {field.name: read for field in type if (read := _reading(field.type))}
        return _struct(fields) if fields else None
    # Arrays of `datasets` have a value type too, which is a name.
    if isinstance(getattr(type, "value_type", None), pa.DataType):
        inner = _reading(type.value_type)
        return _list(inner) if inner else None
    return None


def _json(value: str | None) -> Any:
    return None if value is None else DECODER.decode(value)


def _struct(fields: dict[str, Reading]) -> Reading:
    def read(value: dict[str, Any] | None) -> Any:
        return value and value | {name: inner(value[name]) for name, inner in fields.items()}

    return read


def _list(inner: Reading) -> Reading:
    return lambda value: value and [inner(entry) for entry in value]


def _map(inner: Reading | None) -> Reading:
    def read(value: list[tuple[Any, Any]] | None) -> Any:
        if value is None:
            return None
        found = {key: inner(entry) if inner else entry for key, entry in value}
        # A dict keeps the last of two equal keys, and the first value would be lost unnoticed.
        if len(found) < len(value):
            raise ValueError("a map has the same key twice")
        return found

    return read
