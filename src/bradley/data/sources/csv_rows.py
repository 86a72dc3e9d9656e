"""Rows of .csv files."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...common.signals import check as check_stopping
from ...errors import DataError
from ..rows import quoted
from .base import NumberedRows
from .json_rows import DECODER
from .text import decoded, lines

Record = tuple[int, list[str]]

LONGEST_CELL = 64 * 1024**2
"""Most characters of a cell: the parser holds a cell at four bytes per character."""
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A JSON number: `007` and `1_000` are texts, although Python reads both as numbers."""
TURN = {"role", "from"}
"""Keys of a message; every message has at least one of these."""
TEXTS = {
    *("prompt", "chosen", "rejected", "question", "instruction", "input", "history", "context", "post", "title"),
    *("response", "response_a", "response_b", "response1", "response2", "output", "output_1", "output_2"),
    *("answer", "answer_0", "answer_1", "completion", "summary", "text", "human_ref_A", "human_ref_B"),
}
"""Columns that stay text even if every answer is a number."""


def csv_rows(path: Path) -> NumberedRows:
    """Read rows under a header, numbered from 1 without the header; commas between cells, quotes as in spreadsheets.

    A cell is text, unless every cell of the column is empty or of another common type: a JSON number, true or false in
    any case, or a JSON list or object. An empty cell of such a column is null. Columns named in `TEXTS` hold prompts
    and responses, and may become lists of messages alone: a response "42" stays text. The file is read twice, the first
    time until every column is known to be text.

    Raises:
        DataError: text that is not UTF-8, or quotes that do not end. Also a header without names or with a repeated
            name, or a row with more or fewer cells than the header.
    """
    # The type of a column depends on its last cell, and rows are passed on one by one: hence the first reading.
    readings = _readings(path)
    records = _records(path)
    header = _header(path, records)
    for number, (_, cells) in enumerate(records, start=1):
        row: dict[str, Any] = dict(zip(header, cells, strict=True))
        for name, read in readings.items():
            row[name] = read(row[name]) if row[name] else None
        yield number, row


def _readings(path: Path) -> dict[str, Callable[[str], Any]]:
    """Return the function that reads a cell, for each column that is not text."""
    records = _records(path)
    # Readings still possible for each column; a column without any is text and leaves the table.
    possible: dict[str, list[Callable[[str], Any]]] = {}
    header = _header(path, records)
    for name in header:
        possible[name] = [_messages] if name in TEXTS else [_number, _truth, _json]
    # A column of empty cells alone fits every reading, and stays text.
    filled = set()
    for _, cells in records:
        check_stopping()
        for name, cell in zip(header, cells, strict=True):
            if cell and name in possible:
                filled.add(name)
                possible[name] = [read for read in possible[name] if _reads(read, cell)]
                if not possible[name]:
                    del possible[name]
        if not possible:
            break
    return {name: reads[0] for name, reads in possible.items() if name in filled}


def _header(path: Path, records: Iterator[Record]) -> list[str]:
    """Return the names of the columns; raise `DataError` for missing or repeated names, or another separator."""
    line, names = next(records, (1, []))
    where = f"{path}, line {line}"
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), "")):
        raise DataError(f"{where}: the names are divided by {other!r}, and commas are wanted", "save it as plain CSV")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if "" in names or twice:
        found = "a column without a name" if "" in names else f"the name {quoted(twice[0], str)} twice"
        raise DataError(f"{where}: {found} in the header", "give every column a name of its own in the first line")
    return names


def _records(path: Path) -> Iterator[Record]:
    """Yield the header and the rows, each with its first line; blank lines are no rows."""
    # Python's own limit, 131,072 characters, is too short for a long conversation in a cell.
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(_texts(path), strict=True)
    width, line = 0, 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "correct it; a quote inside a quoted cell is written twice"
            raise DataError(f"{path}, line {line}: not CSV: {error}", hint) from error
        if cells:
            # A row with a missing comma would otherwise put every later cell under the wrong name.
            width = width or len(cells)
            if len(cells) != width:
                message = f"{path}, line {line}: {len(cells)} cells, and the header has {width}"
                raise DataError(message, "correct it; a cell with a comma needs quotes around it")
            yield line, cells
        # Cells may span lines, so the first line of the next row is known only after this row.
        line = reader.line_num + 1


def _texts(path: Path) -> Iterator[str]:
    """Yield the decoded lines of a file, with their line ends."""
    for number, start, raw in lines(path):
        yield decoded(raw, f"{path}, line {number}", start)


def _reads(read: Callable[[str], Any], cell: str) -> bool:
    """Return True if a function reads a cell without a fault."""
    try:
        read(cell)
    except (ValueError, RecursionError):
        return False
    return True


def _number(cell: str) -> int | float:
    if not NUMBER.fullmatch(cell):
        raise ValueError(cell)
    value: int | float = json.loads(cell)
    return value


def _truth(cell: str) -> bool:
    # pandas writes True and False, JSON and spreadsheets write other cases.
    if cell.lower() not in ("true", "false"):
        raise ValueError(cell)
    return cell.lower() == "true"


def _json(cell: str) -> Any:
    if not cell.lstrip().startswith(("[", "{")):
        raise ValueError(cell)
    return DECODER.decode(cell)


def _messages(cell: str) -> Any:
    # A response may itself be JSON, as code is: only a list of turns is taken for messages.
    value = _json(cell)
    if not isinstance(value, list) or not all(isinstance(turn, dict) and TURN & set(turn) for turn in value):
        raise ValueError(cell)
    return value
