"""Rows of .jsonl and .json files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from ...common.signals import check as check_stopping
from ...errors import DataError
from ..rows import kind, names_of, quoted
from .base import NumberedRows, Row
from .text import BOM, LONGEST, Line, decoded, lines, opened, too_long


def json_lines(path: Path) -> NumberedRows:
    """Read an object per line, numbered by line. Blank lines and CRLF are accepted.

    Raises:
        DataError: a line that is not UTF-8, not JSON or not an object; a repeated key of an object; NaN or Infinity,
            both unknown to JSON.
    """
    yield from objects_of(lines(path), str(path))


def objects_of(lines: Iterable[Line], name: str) -> NumberedRows:
    """Read the objects of a file's lines; messages call the file `name`. Raises as `json_lines`."""
    for number, start, raw in lines:
        if raw and not raw.isspace():
            where = f"{name}, line {number}"
            try:
                value = _parse(raw, where, start)
            except DataError as error:
                # Only the last line can lack a line feed, and a broken last line may come from a cut download.
                if raw.endswith(b"\n"):
                    raise
                message = f"{error.message}; this last line has no line end, so the file may have been cut short"
                raise DataError(message, error.hint) from error
            yield number, _object(value, where)


def json_list(path: Path) -> NumberedRows:
    """Read the objects of a list, numbered by place; the list is the document, or the "data" of a single object.

    Raises:
        DataError: a document of another shape, or any fault refused by `json_lines`.
    """
    # A list is parsed whole, so its size has to be bounded before parsing; a byte more shows the excess.
    with opened(path) as file:
        raw = file.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise too_long(str(path))
    start = len(BOM) if raw.startswith(BOM) else 0
    if not raw[start:].strip():
        return
    whole = _parse(raw[start:], str(path), start, several_lines=True)
    rows = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        keys = isinstance(whole, dict) and f"an object with the keys {names_of(whole)}"
        hint = "one object per line belongs into a .jsonl file"
        raise DataError(
            f'{path} holds {keys or kind(whole)}, and a list of objects or {{"data": [...]}} is wanted', hint
        )
    for number, row in enumerate(rows, start=1):
        yield number, _object(row, f"{path}, row {number}")


def _object(value: Any, where: str) -> Row:
    """Return a value as a row; raise `DataError` for anything but an object."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: found {kind(value)}, and an object is wanted", 'a row looks like {"prompt": ...}')
    return value


def _parse(raw: bytes, where: str, start: int, several_lines: bool = False) -> Any:
    """Parse bytes at offset `start` as a JSON value; `where` names the line, unless the bytes have several lines."""
    text = decoded(raw, where, start, several_lines)
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if several_lines else ""
        place = f"column {error.colno}, byte {start + len(text[: error.pos].encode())}"
        raise DataError(f"{where}{line}: not JSON: {error.msg} ({place})", _hint(error)) from error
    # ValueError: a repeated key, NaN, or an integer of too many digits; RecursionError: lists nested too deep.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error} (byte {start})", "correct or remove it") from error


def _hint(error: json.JSONDecodeError) -> str:
    """Return the hint for a fault; .json and .jsonl files taken for each other are the common case."""
    if error.msg == "Extra data":
        return "one object per line is a .jsonl file; a .json file is one list"
    if error.doc.strip() in ("[", "{"):
        return "a document over several lines is a .json file; a .jsonl file has one object per line"
    return "correct or remove it; a file that ends here may have been cut short"


def _without_repeats(pairs: list[tuple[str, Any]]) -> Row:
    """Return an object's pairs as a dict; raise `ValueError` for a repeated key."""
    # A document of 256 MiB takes seconds, and this function is the only code of ours that runs meanwhile.
    check_stopping()
    # Python's decoder keeps the last of two equal keys, and the first text would be lost unnoticed.
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {quoted(next(key for key in keys if keys.count(key) > 1))} is there twice")
    return row


def _no_constant(name: str) -> NoReturn:
    # By default Python's decoder accepts NaN and Infinity, unlike other readers of JSON.
    raise ValueError(f"{name} is not a JSON number")


DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_no_constant)
"""Strict JSON decoder, made once: `json.loads` with these arguments makes a decoder per row, for a fifth of the row's
cost."""
