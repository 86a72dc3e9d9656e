"""Mapping of rows to a known shape: renamed columns, and a function of the user's own."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...common.plugins import load_function
from ...common.text import nearest, one_line
from ...errors import DataError, UserError
from ...records import Comparison, Rejected
from .. import rows as fields
from ..faults import counted
from ..rows import Row, RowPlace
from .base import Numbered


def check_columns(columns: Mapping[str, str], known: Collection[str]) -> None:
    """Raise `UserError` for a name that no format reads, with the nearest known name."""
    for name in columns:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "names on the left are those that a format wants"
            raise UserError(f"data.columns names {name}, which no format reads", hint)


def with_columns(rows: Numbered, columns: Mapping[str, str], name: str, *, count_faults: bool = False) -> Numbered:
    """Rename columns: set each name of `columns` from its source column, all names at once.

    A renamed column leaves its old name. A path with dots reaches into objects and, by number, into lists; such a value
    also stays in its place. A column whose own name has dots is found first. Rows with every new name and none of the
    source columns stay unchanged.

    Raises:
        DataError: a row lacks a column.
    """
    for number, row in rows:
        try:
            renamed = _renamed(row, columns, RowPlace(name, name, number)) if isinstance(row, dict) else row
        except DataError as error:
            yield number, counted(error, number, count_faults)
        else:
            yield number, renamed


def through_function(rows: Numbered, path: str, name: str, *, count_faults: bool = False) -> Numbered:
    """Apply the user's function to rows; `Comparison` objects pass unchanged.

    Raises:
        DataError: the function raises, or returns neither a row nor a `Comparison` nor None.
        UserError: no such function.
    """
    function = load_function(path, "data.format")
    return _through(rows, function, path, name, count_faults)


def _through(rows: Numbered, function: Callable[[Row], Any], path: str, name: str, count_faults: bool) -> Numbered:
    """Yield the results of the user's function, and a fault for each row that fails."""
    for number, row in rows:
        try:
            result = _called(function, path, row, RowPlace(name, name, number))
        except DataError as error:
            yield number, counted(error, number, count_faults)
        else:
            yield number, result


def _renamed(row: Row, columns: Mapping[str, str], at: RowPlace) -> Row:
    # A public evaluation set beside the user's own rows has the right names already.
    if all(name in row for name in columns) and not any(source.split(".")[0] in row for source in columns.values()):
        return row
    # All values are read before any column leaves, so that two columns may trade names.
    values = {name: _value(row, source, at) for name, source in columns.items()}
    gone = set(columns.values())
    return {key: value for key, value in row.items() if key not in gone} | values


def _value(row: Row, source: str, at: RowPlace) -> Any:
    """Return the value at a column name or a path with dots; raise `DataError` for a missing step."""
    if source in row:
        return row[source]
    value: Any = row
    for step in source.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            lists = f"a list of {len(value)}" if isinstance(value, list) else fields.kind(value)
            found = fields.keys_of(value) if isinstance(value, dict) else lists
            raise at.fault(f"{found} at {step} of {source}", f"the column {source}", "correct data.columns or the row")
    return value


def _called(function: Callable[[Row], Any], path: str, row: Any, at: RowPlace) -> Row | Comparison | Rejected:
    """Call the user's function on a row; None becomes a rejection, and an exception becomes a `DataError`."""
    if not isinstance(row, dict):
        return row  # type: ignore[no-any-return]
    try:
        result = function(row)
    # The function is the user's code and may raise anything; the message has to name the row.
    except Exception as error:
        what = f"{path} raised {type(error).__name__}: {one_line(error)}"
        raise DataError(f"{at.name}, row {at.row}: {what}", "correct the function, or let it return None") from error
    if result is None:
        return Rejected(at.row, "left_out", f"{path} returned None")
    if not isinstance(result, dict | Comparison):
        found = f"{type(result).__name__} from {path}"
        raise at.fault(found, "a row, a bradley.Comparison or None", "correct the function")
    return result
