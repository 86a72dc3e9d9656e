"""Rows of .parquet files, in memory bounded by the size of the file.

Parquet stores a repeated text once, and packs pages: 2 KB may hold a gigabyte. As for .gz files, a file is refused that
unpacks to more than `LARGEST_RATIO` times its size, before the rows are made.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...common.text import one_line
from ...errors import DataError
from ..rows import quoted
from .arrow_rows import arrow_rows
from .base import NumberedRows, needed
from .text import LARGEST_RATIO, LARGEST_UNCHECKED, check_plain

BATCH_ROWS = 512
"""Most rows of a Parquet file in memory at a time."""
LEAST_ROWS = 8
"""Rows read at a time from a row group with large pages."""
BATCH_BYTES = 2**25
"""Bytes of a batch, as long as `LEAST_ROWS` allow."""
BYTES_PER_VALUE = 8
"""Bytes of a number, and least bytes of any value in memory."""
BYTES_PER_ROW = 64
"""Least bytes of a row in memory."""


def parquet_rows(path: Path) -> NumberedRows:
    """Read the rows of a Parquet file, numbered from 1: structs and maps become dicts, and lists become lists.

    Memory holds a batch of rows at a time.

    Raises:
        DataError: another kind of file, a broken file, a file that unpacks beyond measure, or two columns of the same
            name.
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
        with parquet.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
            # A dict keeps the last of two equal names, so a column would be lost without notice.
            names = file.schema_arrow.names
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise DataError(f"{path} has two columns called {quoted(twice[0], str)}", "give each its own name")
            yield from enumerate(arrow_rows(_batches(path, file, parquet), str(path)), start=1)
    except (arrow.ArrowException, ValueError, OSError) as error:
        raise DataError(f"{path} is not a whole Parquet file: {one_line(error)}", "copy it again") from error


def _batches(path: Path, file: Any, parquet: Any) -> Iterator[Any]:
    """Yield record batches of bounded size; raise `DataError` for a file that unpacks beyond measure."""
    size, made, metadata = path.stat().st_size, 0, file.metadata
    leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    # A text in a list has no bound by the number of rows: one row may repeat the text a million times.
    nested = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.max_repetition_level]
    for place in range(metadata.num_row_groups):
        chunks = [metadata.row_group(place).column(column) for column in range(metadata.num_columns)]
        packed = sum(chunk.total_uncompressed_size for chunk in chunks)
        _check(path, size, packed)
        _check(path, size, sum(chunk.num_values * BYTES_PER_VALUE for chunk in chunks))
        if nested:
            _check_nested(path, size, place, nested, parquet)
        # No text is longer than the pages of its column: so few rows stay in bounds even if all share one text.
        rows = min(BATCH_ROWS, max(LEAST_ROWS, BATCH_BYTES // max(packed, 1)))
        for batch in file.iter_batches(rows, row_groups=[place]):
            made += batch.num_rows * BYTES_PER_ROW + sum(map(_unpacked, batch.columns))
            _check(path, size, made)
            yield batch


def _check_nested(path: Path, size: int, group: int, columns: list[str], parquet: Any) -> None:
    """Raise `DataError` for a row group with texts in lists that unpack beyond measure; no text is written out."""
    made = 0
    # Read as a dictionary, a text stays in memory once, however many rows share the text.
    with parquet.ParquetFile(path, memory_map=False, pre_buffer=False, read_dictionary=columns) as file:
        try:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                made += sum(map(_unpacked, batch.columns))
                _check(path, size, made)
        # More different texts than a dictionary holds: these are in the file one by one.
        except needed("pyarrow", str(path)).ArrowNotImplementedError:
            return


def _check(path: Path, size: int, made: int) -> None:
    """Raise `DataError` for a file of `size` bytes that unpacks to `made` bytes, beyond measure."""
    if made > LARGEST_UNCHECKED and made > LARGEST_RATIO * size:
        raise DataError(
            f"{path}: {size:,} bytes unpack to {made:,} or more, over {LARGEST_RATIO} times as many, which no data do",
            "look at it with another program; repeated rows can be left out",
        )


def _unpacked(array: Any) -> int:
    """Count the bytes of an array with every shared text written out."""
    pa, pc = needed("pyarrow", "Parquet"), needed("pyarrow.compute", "Parquet")

    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_struct(array.type):
        return sum(map(_unpacked, array.flatten()))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_map(array.type):
        if pa.types.is_map(array.type):
            return int(array.nbytes) + _unpacked(array.keys) + _unpacked(array.items)
        return int(array.offsets.nbytes) + _unpacked(array.flatten())
    return int(array.nbytes)
