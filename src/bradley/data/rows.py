"""The fields of a source row, checked: every fault names file, row, what was found and what was wanted."""

from collections import Counter
from dataclasses import dataclass
from dataclasses import field as field_
from typing import Any

from ..config import Data
from ..errors import DataError

Row = dict[str, Any]

LARGEST = 1e38
"""Beyond it, or below its inverse, single precision has no such number."""


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Where a row stands and what the settings say about it.

    Attributes:
        name: of its file or list, as messages say it.
        stem: the short name, for ids and as a source where the row names none.
        row: from 1.
        settings: what the user said about data.
        notes: counts of what converters did that a user should know, shared by all rows of a file.
    """

    name: str
    stem: str
    row: int = 0
    settings: Data = field_(default_factory=Data)
    notes: Counter[str] = field_(default_factory=Counter)

    def fault(self, found: str, wanted: str, hint: str = "correct or remove the row") -> DataError:
        """The error for a row of the wrong shape."""
        return DataError(f"{self.name}, row {self.row}: found {found}, wanted {wanted}", hint)


def field(row: Row, key: str, at: RowPlace, wanted: str = "text or messages") -> Any:
    """The value of `key`, which must be there and not null."""
    if key not in row:
        raise at.fault(keys_of(row), f"the key {key}")
    if row[key] is None:
        raise at.fault(f"null in {key}", wanted)
    return row[key]


def text(row: Row, key: str, at: RowPlace) -> str:
    """The value of `key`, which must be text."""
    value = field(row, key, at, "text")
    if not isinstance(value, str):
        raise at.fault(f"{kind(value)} in {key}", "text", "or let --data.format auto find the format")
    return value


def number(row: Row, key: str, at: RowPlace) -> float | None:
    """The value of `key` as a float, finite; None where it is absent or null."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        raise at.fault(f"{on_one_line(repr(value))} as {key}", "a finite number")
    return float(value)


def number_between(row: Row, key: str, low: float, high: float, at: RowPlace) -> float | None:
    """The value of `key` as a float from `low` to `high`; None where it is absent or null."""
    value = number(row, key, at)
    if value is not None and not low <= value <= high:
        raise at.fault(f"{row[key]!r} as {key}", f"a number from {low:g} to {high:g}")
    return value


def whole_number(row: Row, key: str, below: int, at: RowPlace) -> int:
    """The value of `key`, which must be a whole number from 0 to `below` - 1."""
    value = field(row, key, at, "a whole number")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise at.fault(f"{on_one_line(repr(value))} as {key}", f"a whole number from 0 to {below - 1}")
    return value


def objects(row: Row, key: str, wanted: str, at: RowPlace) -> list[Row]:
    """The value of `key`, which must be a list of objects, `wanted` in the words of a message."""
    value = field(row, key, at, wanted)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise at.fault(f"{kind(value)} in {key}", f"{wanted} in {key}")
    return value


def texts(row: Row, key: str, at: RowPlace) -> list[str]:
    """The value of `key`, which must be a list of texts."""
    value = field(row, key, at, "a list of texts")
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        kinds = sorted({kind(entry) for entry in value}) if isinstance(value, list) else []
        found = f"{kind(value)} of {', '.join(kinds)}" if kinds else kind(value)
        raise at.fault(f"{found} in {key}", "a list of texts")
    return value


def keys_of(row: Row) -> str:
    """The keys of a row, as a message quotes them."""
    return f"the keys {', '.join(map(on_one_line, row)) or '(none)'}"


def on_one_line(found: object) -> str:
    """What the data holds, as a message quotes it: whatever would break the line is escaped."""
    text = str(found)
    return text if text.isprintable() else repr(text)[1:-1]


def kind(value: Any) -> str:
    """What a value is, in the words of JSON."""
    names = {str: "text", list: "a list", dict: "an object", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
