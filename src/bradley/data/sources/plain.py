"""Normal form of rows: the same values, whatever container held the rows.

A plain row holds what JSON holds: texts, numbers, truth values, lists and objects with texts as keys. A null is absent
inside objects, and stays as the value of a column and in a list, where places count. A table has every field in every
row, so a null there says no more than a missing field. NaN is null, as data frames write missing values. Dates and
times are ISO 8601 texts, and a timestamp at midnight is a date. Values that JSON cannot hold become `Foreign`.
"""

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...errors import DataError
from ..rows import Foreign, Row
from .arrow_rows import arrow_rows, dataset_rows

LEAVES = frozenset((str, int, bool))
"""Types of plain values that hold no other values; a float may be NaN."""
LARGEST_WHOLE = 10**4300
"""Bound of an integer: Python writes no longer one, and a longer one is a missing number."""
MIDNIGHT = datetime.time()


class NotPlain(ValueError):
    """Value without a form in JSON; the message is the kind of the value."""


def plain_row(row: Mapping[Any, Any]) -> Row:
    """Return a row in normal form: the same object if the row has this form already.

    A column with a value that JSON cannot hold becomes `Foreign` as a whole, wherever inside the value lies.
    """
    try:
        if type(row) is dict and _is_plain_row(row):
            return row
    # Values of more levels than Python's limit, about 1,000; `_column` finds the column.
    except RecursionError:
        pass
    return {name if type(name) is str else str(name): _column(value) for name, value in row.items()}


def plain(value: Any) -> Any:
    """Return a value inside a row in normal form.

    Raises:
        NotPlain: a value that JSON cannot hold.
    """
    return value if _is_plain(value) else _rebuilt(value)


def numbered(rows: Any, name: str) -> Iterator[tuple[int, Any]]:
    """Number rows in memory from 1, in normal form; values that are no rows pass unchanged.

    Datasets of `datasets`, data frames and Arrow tables are read row by row, and no image or sound is decoded.

    Args:
        rows: rows, or a table of rows.
        name: name of the rows in messages.

    Raises:
        DataError: an object in place of rows, such as splits by name.
    """
    if isinstance(rows, Mapping):
        names = ", ".join(map(str, list(rows)[:5]))
        hint = "give one split, such as rows['train'], or a list with an object for each row"
        raise DataError(f"{name}: found an object with the keys {names}, wanted a list of rows", hint)
    for number, row in enumerate(_rows_of(rows, name), start=1):
        yield number, plain_row(row) if isinstance(row, Mapping) else row


def _rows_of(rows: Any, name: str) -> Any:
    """Return an iterable of the rows of a table; any other value unchanged."""
    package = type(rows).__module__.partition(".")[0]
    if package == "datasets" and hasattr(rows, "decode"):
        return rows.decode(False)
    # A transform of the user's own makes the rows that are meant; every other format changes types alone.
    if package == "datasets" and hasattr(rows, "with_format") and rows.format["type"] != "custom":
        return dataset_rows(rows, name)
    if package == "pyarrow" and hasattr(rows, "to_batches"):
        return arrow_rows(rows.to_batches(), name)
    if package == "pandas" and hasattr(rows, "to_dict"):
        return rows.to_dict("records")
    return rows


def _is_plain_row(row: Row) -> bool:
    """Return True for a row in normal form."""
    for name, value in row.items():
        kind = type(value)
        if type(name) is not str:
            return False
        if kind is str or value is None:
            continue
        if not _is_plain(value):
            return False
    return True


def _is_plain(value: Any) -> bool:
    """Return True for a value inside a row that is in normal form."""
    kind = type(value)
    if kind is int:
        return bool(-LARGEST_WHOLE < value < LARGEST_WHOLE)
    if kind in LEAVES:
        return True
    if kind is float:
        # NaN alone differs from itself.
        return bool(value == value)
    if kind is dict:
        for name, inner in value.items():
            if type(name) is not str or (type(inner) is not str and (inner is None or not _is_plain(inner))):
                return False
        return True
    if kind is not list:
        return False
    # A loop, because a generator inside `all` takes twice the time.
    for inner in value:  # noqa: SIM110
        if type(inner) not in LEAVES and inner is not None and not _is_plain(inner):
            return False
    return True


def _column(value: Any) -> Any:
    """Return the value of a column in normal form."""
    try:
        return plain(value)
    except NotPlain as error:
        kind = str(error)
    except RecursionError:
        kind = "values nested too deeply"
    return Foreign(f"a list with {kind}" if isinstance(value, list | tuple) else kind, value)


def _rebuilt(value: Any) -> Any:
    """Return a new value in normal form."""
    if _is_null(value):
        return None
    if type(value) in LEAVES:
        return value
    if isinstance(value, Mapping):
        return {_key(name): _rebuilt(inner) for name, inner in value.items() if not _is_null(inner)}
    if isinstance(value, list | tuple):
        return [_rebuilt(inner) for inner in value]
    for known, written in WRITTEN:
        if isinstance(value, known):
            return written(value)
    return _from_array(value)


def _key(name: Any) -> str:
    """Return the key of an object as JSON writes the key."""
    if isinstance(name, str):
        return str.__str__(name)
    if isinstance(name, int):
        return str(name)
    raise NotPlain(f"{type(name).__name__} as a key")


def _is_null(value: Any) -> bool:
    """Return True for null, NaN, the nulls of pandas, and an integer that Python does not write."""
    if type(value) is int:
        return not _is_plain(value)
    if value is None or type(value) in LEAVES:
        return value is None
    if isinstance(value, float):
        return bool(value != value)
    # Without an import: rows may come from pandas, and bradley does not need pandas.
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m", "f") and str(value) in ("NaT", "nan")


def _from_array(value: Any) -> Any:
    """Return the values of an array or of a number of NumPy, or of a tensor."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "M":
        # Arrays of nanoseconds become plain integers with `tolist`, and lose that they are times.
        return _rebuilt(value.astype("datetime64[us]").tolist())
    if hasattr(value, "tolist") and kind not in ("m", "S", "V"):
        listed = value.tolist()
        if type(listed) is not type(value):
            return _rebuilt(listed)
    raise NotPlain("bytes" if kind == "S" or isinstance(value, bytearray | memoryview) else type(value).__name__)


def _time(value: datetime.datetime) -> str:
    """Return a timestamp as text: a date at midnight, and the world's time with Z."""
    # `datasets` and pyarrow read the text "2024-05-01" of JSON as a timestamp at midnight.
    if value.tzinfo is None and value.time() == MIDNIGHT and not getattr(value, "nanosecond", 0):
        return value.date().isoformat()
    text = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _decimal(value: decimal.Decimal) -> int | float:
    """Return a decimal as a JSON number."""
    if not value.is_finite():
        return float(value)
    return float(value) if value.as_tuple().exponent else int(value)


WRITTEN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (datetime.datetime, _time),
    (datetime.date | datetime.time, lambda value: value.isoformat()),
    (decimal.Decimal, _decimal),
    (uuid.UUID, str),
)
"""Types -> function that returns the plain value; the first type that fits counts."""
