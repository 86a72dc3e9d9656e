"""Fields of a source row, checked: every fault names file, row, found value and wanted value."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from dataclasses import field as field_
from itertools import islice
from typing import Any

from ..common.text import and_more, visible
from ..config import Data
from ..errors import DataError

Row = dict[str, Any]

CORRECT = "correct or remove the row"
"""Hint for a fault without a better hint."""
LARGEST = 1e38
"""Limit of numbers: single precision has no number beyond `LARGEST`, or below the inverse of `LARGEST`."""


UNQUOTED = "write the number without quotes; where every row is so, turn the rows with --data.format module:function"
"""Hint for a number given as text."""


@dataclass(frozen=True, slots=True, repr=False)
class Foreign:
    """Column with a value that JSON cannot hold, such as bytes, in the place of the column's value.

    A column that no format reads may hold anything. A format that reads the column finds neither text nor number, and
    its message names the kind. A list or an object with such a value is one `Foreign` as a whole.

    Attributes:
        kind: kind of the value, in words.
        value: the value as the container gave it.
    """

    kind: str
    value: Any

    def __repr__(self) -> str:
        return self.kind


class RowFault(DataError):
    """Row of the wrong shape; the loader counts such rows before the run stops.

    Attributes:
        found, wanted: found and expected content, in words.
    """

    def __init__(self, place: str, found: str, wanted: str, hint: str) -> None:
        super().__init__(f"{place}: found {found}, wanted {wanted}", hint)
        self.found, self.wanted = found, wanted


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Place of a row, with the settings for reading the row.

    Attributes:
        name: name of the file or list, for messages.
        stem: short name, for ids, and as the source of a row without a source.
        row: number of the row, from 1.
        settings: the user's data settings.
        notes: counts of conversions worth reporting, shared by all rows of a file.
    """

    name: str
    stem: str
    row: int = 0
    settings: Data = field_(default_factory=Data)
    notes: Counter[str] = field_(default_factory=Counter)

    def fault(self, found: str, wanted: str, hint: str = "") -> RowFault:
        """Build the error for a row of the wrong shape."""
        return RowFault(f"{on_one_line(self.name)}, row {self.row}", found, wanted, hint or CORRECT)


def field(row: Row, key: str, at: RowPlace, wanted: str = "text or messages") -> Any:
    """Return the value of `key`; raise `DataError` if missing or null."""
    if key not in row:
        raise at.fault(keys_of(row), f"the key {key}")
    if row[key] is None:
        raise at.fault(f"null in {key}", wanted)
    return row[key]


def text(row: Row, key: str, at: RowPlace) -> str:
    """Return the value of `key`; raise `DataError` unless a text."""
    value = field(row, key, at, "text")
    if not isinstance(value, str):
        raise at.fault(f"{kind(value)} in {key}", "text", "or let --data.format auto find the format")
    return value


def number(row: Row, key: str, at: RowPlace) -> float | None:
    """Return the value of `key` as a finite float; None if absent or null."""
    value = row.get(key)
    if value is None:
        return None
    # Python counts True as the integer 1; a truth value among scores is a mistake in the data.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        raise at.fault(f"{quoted(value)} as {key}", "a finite number", UNQUOTED if isinstance(value, str) else "")
    return float(value)


def number_between(row: Row, key: str, low: float, high: float, at: RowPlace) -> float | None:
    """Return the value of `key` as a float from `low` to `high`; None if absent or null."""
    value = number(row, key, at)
    if value is not None and not low <= value <= high:
        raise at.fault(f"{quoted(row[key])} as {key}", f"a number from {low:g} to {high:g}")
    return value


def whole_number(row: Row, key: str, below: int, at: RowPlace) -> int:
    """Return the value of `key`; raise `DataError` unless a whole number from 0 to `below` - 1."""
    value = field(row, key, at, "a whole number")
    # True and False are integers in Python, and would silently mean the places 1 and 0.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise at.fault(f"{quoted(value)} as {key}", f"a whole number from 0 to {below - 1}")
    return value


def objects(row: Row, key: str, wanted: str, at: RowPlace) -> list[Row]:
    """Return the value of `key`; raise `DataError` unless a list of objects.

    Args:
        wanted: description of the list, for the message.
    """
    value = field(row, key, at, wanted)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise at.fault(f"{kind(value)} in {key}", f"{wanted} in {key}")
    return value


def texts(row: Row, key: str, at: RowPlace) -> list[str]:
    """Return the value of `key`; raise `DataError` unless a list of texts."""
    value = field(row, key, at, "a list of texts")
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        kinds = sorted({kind(entry) for entry in value}) if isinstance(value, list) else []
        found = f"{kind(value)} of {', '.join(kinds)}" if kinds else kind(value)
        raise at.fault(f"{found} in {key}", "a list of texts")
    return value


def keys_of(row: Row) -> str:
    """Quote the keys of a row for a message."""
    return f"the keys {names_of(row) or '(none)'}"


def names_of(keys: Collection[Any]) -> str:
    """List keys for a message: the first `MOST_KEYS`, and the number of the others."""
    return and_more([quoted(key, str) for key in islice(keys, MOST_KEYS)] + [""] * (len(keys) - MOST_KEYS), MOST_KEYS)


MOST_QUOTED = 160
"""Most characters of a quoted value; a longer value is cut in the middle."""
MOST_KEYS = 20
"""Most keys that a message lists."""


def quoted(found: object, written: Callable[[Any], str] = repr) -> str:
    """Quote a value of the data for a message: on one line, escaped, and cut if long.

    Every value quoted in a message of this package passes here: a text of a megabyte would bury the message.

    Args:
        found: the value.
        written: turns the value into text; `str` leaves out the quotes of a text.
    """
    try:
        text = written(found)
    except (RecursionError, ValueError):  # ValueError: a number of more digits than Python writes
        text = f"{kind(found)} too deep or too long to show"
    if len(text) > MOST_QUOTED:
        half = MOST_QUOTED // 2
        text = f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"
    return text if text.isprintable() else visible(text)


def on_one_line(found: object) -> str:
    """Write a value of the data, or a file name, on one line and escaped, without a cut."""
    # Data are not trusted: a line break or escape sequence in a row could forge lines of the log.
    text = str(found)
    return text if text.isprintable() else repr(text)[1:-1]


def kind(value: Any) -> str:
    """Name the type of a value in the words of JSON."""
    if isinstance(value, Foreign):
        return value.kind
    names = {str: "text", list: "a list", dict: "an object", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
