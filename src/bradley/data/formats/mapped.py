"""Mapping of rows to a known shape: renamed columns, and a function of the user's own."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ...common.plugins import load_function
from ...common.signals import StopRequested
from ...common.text import nearest, one_line
from ...errors import BradleyError, DataError, UserError
from ...records import Comparison, Rejected
from .. import rows as fields
from ..faults import counted
from ..rows import Row, RowFault, RowPlace
from ..sources.plain import plain_row
from .base import Numbered
from .unread import without

MOST_TOLD = 20
"""Rows of which the values of columns left out on purpose are looked at."""


def check_columns(columns: Mapping[str, str], known: Collection[str]) -> None:
    """Raise `UserError` for a name that no format reads, with the nearest known one, and for a column in two places."""
    if "chosen" in columns and columns["chosen"] == columns.get("rejected"):
        raise UserError(
            f"data.columns names {columns['chosen']} as the better and as the worse answer",
            "name two columns; for rows of one answer each, turn the rows with --data.format module:function",
        )
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


def leaving_out(rows: Numbered, ignored: Collection[str], told: dict[str, list[Any]]) -> Numbered:
    """Yield the rows without the columns left out on purpose.

    Args:
        told: receives the values of these columns in the first rows, for the report.
    """
    left = MOST_TOLD
    for number, row in rows:
        if not isinstance(row, dict):
            yield number, row
            continue
        for name in ignored if left > 0 else ():
            if row.get(name) is not None:
                told.setdefault(name, []).append(row[name])
        left -= 1
        yield number, without(row, ignored)


def through_function(rows: Numbered, path: str, name: str, *, count_faults: bool = False) -> Numbered:
    """Apply the user's function to rows; `Comparison` objects pass unchanged.

    A function with a first parameter called `rows` gets all rows of the file at once, as an iterator, and returns or
    yields new rows, numbered from 1. Any other function gets a row at a time.

    Raises:
        DataError: the function raises, or returns neither rows nor comparisons nor None.
        UserError: no such function.
    """
    function = load_function(path, "data.format")
    if takes_file(function):
        return _through_file(rows, function, path, name, count_faults)
    return _through(rows, function, path, name, count_faults)


def takes_file(function: Callable[..., Any]) -> bool:
    """Return True for a function with a first parameter called `rows`."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return names[:1] == ["rows"]


def _through(rows: Numbered, function: Callable[[Row], Any], path: str, name: str, count_faults: bool) -> Numbered:
    """Yield the results of the user's function, and a fault for each row that fails."""
    for number, row in rows:
        at = RowPlace(name, name, number)
        try:
            results = _called(function, path, row, at)
        except DataError as error:
            results = [counted(error, number, count_faults)]
        for result in results:
            yield number, result


def _through_file(
    rows: Numbered, function: Callable[[Iterator[Row]], Any], path: str, name: str, count_faults: bool
) -> Numbered:
    """Yield the rows that the user's function makes of the whole file, and a fault if the function fails."""
    left_out: list[tuple[int, Rejected]] = []
    given = _passed(rows, left_out)
    number = 0
    try:
        for number, result in enumerate(function(given) or (), start=1):
            yield number, _checked(result, path, RowPlace(name, name, number))
    except Exception as error:
        # What reading the file raises passes through the user's function, and is no fault of the function.
        if isinstance(error, BradleyError | StopRequested) and not isinstance(error, RowFault):
            raise
        fault = error if isinstance(error, RowFault) else _raised(error, path, RowPlace(name, name, number + 1))
        yield number + 1, counted(fault, number + 1, count_faults)
    # Rows that were faulty before the function saw them are counted as well.
    yield from left_out


def _passed(rows: Numbered, left_out: list[tuple[int, Rejected]]) -> Iterator[Any]:
    """Yield the rows for the user's function; rows that are rejected already go into `left_out`."""
    for number, row in rows:
        if isinstance(row, Rejected):
            left_out.append((number, row))
        else:
            yield row


def _renamed(row: Row, columns: Mapping[str, str], at: RowPlace) -> Row:
    # A public evaluation set beside the user's own rows has the right names already.
    if all(name in row for name in columns) and not any(source.split(".")[0] in row for source in columns.values()):
        return row
    # All values are read before any column leaves, so that two columns may trade names.
    values = {name: _value(row, source, at) for name, source in columns.items()}
    gone = set(columns.values())
    read = gone | {source.split(".")[0] for source in gone}
    for name in ("chosen", "rejected"):
        # A label under the very name of a side would be lost with the column that is replaced.
        if name in columns and name not in read and row.get(name) not in (None, "", [], values[name]):
            found = f"a column {name} of its own beside {columns[name]}"
            raise at.fault(found, f"one column for {name}", "read such rows with --data.format module:function")
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


def _called(function: Callable[[Row], Any], path: str, row: Any, at: RowPlace) -> list[Row | Comparison | Rejected]:
    """Call the user's function on a row.

    Returns:
        The rows made of the row. None and an empty list become a rejection.

    Raises:
        DataError: the function raises, or returns anything else.
    """
    if not isinstance(row, dict):
        return [row]
    try:
        result = function(row)
        several = isinstance(result, list | tuple | Iterator)
        # A generator runs the user's code here, and may raise as well.
        results = list(result) if several else [result]
    # The function is the user's code and may raise anything; the message has to name the row.
    except Exception as error:
        raise _raised(error, path, at) from error
    results = [entry for entry in results if entry is not None]
    if not results:
        return [Rejected(at.row, "left_out", f"{path} returned {'nothing' if several else 'None'}")]
    return [_checked(entry, path, at) for entry in results]


def _raised(error: Exception, path: str, at: RowPlace) -> DataError:
    """Return the error for an exception of the user's function."""
    what = f"{path} raised {type(error).__name__}: {one_line(error)}"
    return DataError(f"{at.name}, row {at.row}: {what}", "correct the function, or let it return None")


def _checked(result: Any, path: str, at: RowPlace) -> Row | Comparison:
    """Return a result of the user's function; raise `DataError` for anything but a row or a comparison."""
    if not isinstance(result, dict | Comparison):
        found = f"{type(result).__name__} from {path}"
        raise at.fault(found, "a row, a bradley.Comparison, a list of the two, or None", "correct the function")
    return plain_row(result) if isinstance(result, dict) else result
