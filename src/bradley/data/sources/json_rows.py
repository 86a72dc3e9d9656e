"""Rows of .jsonl and .json files, in normal form (see `plain`).

The parser itself notes the objects with nulls, so that a row without any needs no second look.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from pathlib import Path
from typing import Any, NoReturn

from ...common.signals import check as check_stopping
from ...errors import DataError
from ..faults import counted
from ..rows import kind, names_of, quoted
from .base import NumberedRows, Row
from .text import BOM, LONGEST, Line, decoded, lines, opened, too_long

ROW = 'a row looks like {"prompt": ...}'
LINES = "a list of rows is a .json file, and a .jsonl file has an object per line"
"""Hints for a value that is no row."""
MOST_KEYS = 3
"""Keys of a row shown in a hint."""
OF_EVERY_ROW = {
    *("system", "system_prompt", "system_message", "prompt", "prompt_template", "template", "prefix", "preamble"),
    *("context", "instruction", "instructions", "question", "query", "history", "messages", "conversation", "tools"),
    *("document", "passage", "persona", "rules", "scenario", "few_shot", "examples"),
}
"""Keys beside the rows of a document that say part of every prompt."""


def json_lines(path: Path, nulls: bool = False, *, count_faults: bool = False) -> NumberedRows:
    """Read an object per line, numbered by line. Blank lines and CRLF are accepted.

    Args:
        path: the file.
        nulls: keep nulls inside nested objects.
        count_faults: True to yield a `Faulty` for a line at fault, instead of an error.

    Raises:
        DataError: a line that is not UTF-8, not JSON or not an object; a repeated key of an object; NaN or Infinity,
            both unknown to JSON.
    """
    yield from objects_of(lines(path), str(path), nulls, count_faults=count_faults)


def objects_of(
    lines: Iterable[Line], name: str, nulls: bool = False, *, count_faults: bool = False
) -> Iterator[tuple[int, Any]]:
    """Read the objects of a file's lines; messages call the file `name`. Arguments and errors as of `json_lines`."""
    parser = _Parser()
    for number, start, raw in lines:
        check_stopping()
        if not raw or raw.isspace():
            continue
        try:
            row = _row(parser, raw, f"{name}, line {number}", start)
        except DataError as error:
            yield number, counted(error, number, count_faults)
            continue
        if parser.empty and not nulls:
            parser.drop_nulls([row])
        yield number, row


def _row(parser: "_Parser", raw: bytes, where: str, start: int) -> Row:
    """Parse a line as a row; raise `DataError` for a line at fault."""
    try:
        value = parser.parse(raw, where, start)
    except DataError as error:
        # Only the last line can lack a line feed, and a broken last line may come from a cut download.
        if raw.endswith(b"\n"):
            raise
        message = f"{error.message}; this last line has no line end, so the file may have been cut short"
        raise DataError(message, error.hint) from error
    if not isinstance(value, dict):
        raise _no_row(value, where, LINES if isinstance(value, list) else ROW)
    return value


def json_document(path: Path, nulls: bool = False) -> NumberedRows:
    """Read the objects of a list, numbered by place; the list is the document, or the "data" of a single object.

    A file of an object per line is read as `json_lines` reads it: `datasets` and pandas write such files under any
    name.

    Args:
        path: the file.
        nulls: keep nulls inside nested objects.

    Raises:
        DataError: a document of another shape, or any fault refused by `json_lines`.
    """
    if _has_object_per_line(path):
        yield from json_lines(path, nulls)
        return
    # A list is parsed whole, so its size has to be bounded before parsing; a byte more shows the excess.
    with opened(path) as file:
        raw = file.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise too_long(str(path))
    start = len(BOM) if raw.startswith(BOM) else 0
    if not raw[start:].strip():
        return
    parser = _Parser(stopping=True)
    whole = parser.parse(raw[start:], str(path), start, several_lines=True)
    rows = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        keys = isinstance(whole, dict) and f"an object with the keys {names_of(whole)}"
        hint = 'a table written by columns: df.to_json("rows.jsonl", orient="records", lines=True)'
        if not _by_columns(whole):
            hint = _hint_of_keys(whole) or "one object per line belongs into a .jsonl file"
        raise DataError(
            f'{path} holds {keys or kind(whole)}, and a list of objects or {{"data": [...]}} is wanted', hint
        )
    if isinstance(whole, dict):
        _check_beside(whole, str(path))
    if not nulls:
        parser.drop_nulls(rows)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise _no_row(row, f"{path}, row {number}", ROW)
        yield number, row


def _check_beside(whole: Row, name: str) -> None:
    """Raise `DataError` for further rows, and for a part of every prompt, under a key beside "data"."""
    first = next((row for row in whole["data"] if isinstance(row, dict)), {})
    for key, value in whole.items():
        if key == "data" or value in (None, "", [], {}):
            continue
        entry = value[0] if isinstance(value, list) else None
        if isinstance(entry, dict) and 2 * len(entry.keys() & first.keys()) > len(first):
            hint = "put the rows of each split into a file of its own"
            raise DataError(f'{name} holds more rows under {quoted(key, str)}, beside "data"', hint)
        if key.lower() in OF_EVERY_ROW and isinstance(value, str | list | dict):
            found = f'{name} holds {quoted(key, str)} beside "data", which may be part of every prompt, and is not read'
            hint = f"put {quoted(key, str)} into every row, or write the rows alone into a .jsonl file"
            raise DataError(found, hint)


def _has_object_per_line(path: Path) -> bool:
    """Return True if the first line is a whole object, and another object follows in the next line."""
    found = 0
    for line in lines(path):
        if line.raw.isspace():
            continue
        first, last = line.raw.strip()[:1], line.raw.strip()[-1:]
        # The last line may be cut: the reader of lines then names the line.
        if first != b"{" or (last != b"}" and not found):
            return False
        if found:
            return True
        try:
            _Parser().parse(line.raw, str(path), line.start)
        except DataError:
            return False
        found += 1
    return False


def _by_columns(whole: Any) -> bool:
    """Return True for an object of columns, each an object with the same row labels, as pandas writes a table."""
    columns = list(whole.values()) if isinstance(whole, dict) else []
    return (
        bool(columns)
        and all(isinstance(column, dict) and column for column in columns)
        and all(column.keys() == columns[0].keys() for column in columns)
        and all(str(label).isdecimal() for label in columns[0])
    )


def _hint_of_keys(whole: Any) -> str:
    """Return a hint with a row as wanted for an object of rows, of numbers or of lists of numbers; "" for another."""
    values = list(whole.values()) if isinstance(whole, dict) else []
    if len(values) < 2 or not any(all(map(holds, values)) for holds in (_is_row, _is_number, _is_numbers)):
        return ""
    first = values[0] if _is_row(values[0]) else ["score" if _is_number(values[0]) else "scores"]
    id, *keys = (quoted(key, json.dumps) for key in (next(iter(whole)), *[key for key in first if key != "id"]))
    row = ", ".join([f'"id": {id}', *(f"{key}: ..." for key in keys[:MOST_KEYS])])
    return f"if the keys are ids, write a list with the id in every row: [{{{row}}}, ...]"


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


def _no_row(value: Any, where: str, hint: str) -> DataError:
    """Build the error for a value that is no object."""
    return DataError(f"{where}: found {kind(value)}, and an object is wanted", hint)


class _Parser:
    """Strict parser of JSON that notes the objects with nulls.

    Args:
        stopping: test for stop requests at every object.

    Attributes:
        empty: objects of the last text with a null, or with another empty value.
    """

    def __init__(self, stopping: bool = False) -> None:
        self.empty: list[Row] = []
        pairs = _objects(self.empty, stopping)
        # Made once: `json.loads` with these arguments makes a decoder per row, for a fifth of the row's cost.
        self._decoder = json.JSONDecoder(object_pairs_hook=pairs, parse_constant=_no_constant)

    def parse(self, raw: bytes, where: str, start: int, several_lines: bool = False) -> Any:
        """Parse bytes at offset `start`; `where` names the line, unless the bytes have several lines."""
        text = decoded(raw, where, start, several_lines)
        self.empty.clear()
        try:
            return self._decoder.decode(text)
        except json.JSONDecodeError as error:
            line = f", line {error.lineno}" if several_lines else ""
            place = f"column {error.colno}, byte {start + len(text[: error.pos].encode())}"
            raise DataError(f"{where}{line}: not JSON: {error.msg} ({place})", _hint(error)) from error
        # ValueError: a repeated key, NaN, or an integer of too many digits; RecursionError: lists nested too deep.
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON: {error} (byte {start})", "correct or remove it") from error

    def drop_nulls(self, rows: list[Any]) -> None:
        """Remove the nulls of all objects parsed last, but those of `rows` themselves, whose nulls are columns."""
        kept = {id(row) for row in rows}
        for found in self.empty:
            if id(found) not in kept:
                for key in [key for key, value in found.items() if value is None]:
                    del found[key]


def _hint(error: json.JSONDecodeError) -> str:
    """Return the hint for a fault; .json and .jsonl files taken for each other are the common case."""
    if error.msg == "Extra data":
        return "one object per line is a .jsonl file; a .json file is one list"
    if error.doc.strip() in ("[", "{"):
        return "a document over several lines is a .json file; a .jsonl file has one object per line"
    return "correct or remove it; a file that ends here may have been cut short"


def _objects(empty: MutableSequence[Row], stopping: bool) -> Callable[[list[tuple[str, Any]]], Row]:
    """Return the function that makes objects of pairs, see `_Parser`; objects with a null are added to `empty`."""

    def _without_repeats(pairs: list[tuple[str, Any]]) -> Row:
        # A document of 256 MiB takes seconds, and this function is the only code of ours that runs meanwhile.
        if stopping:
            check_stopping()
        # Python's decoder keeps the last of two equal keys, and the first text would be lost unnoticed.
        row = dict(pairs)
        if len(row) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"the key {quoted(next(key for key in keys if keys.count(key) > 1))} is there twice")
        # Runs for every object: `all` costs a third of a loop that looks for null, and empty values are rare.
        if not all(row.values()):
            empty.append(row)
        return row

    return _without_repeats


def _no_constant(name: str) -> NoReturn:
    # By default Python's decoder accepts NaN and Infinity, unlike other readers of JSON.
    raise ValueError(f"{name} is not a JSON number")


DECODER = json.JSONDecoder(object_pairs_hook=_objects(deque(maxlen=0), False), parse_constant=_no_constant)
"""Strict JSON decoder for a value inside a row."""
