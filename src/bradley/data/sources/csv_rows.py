"""Rows of tables of cells, .csv and .tsv files, in normal form (see `plain`)."""

import ast
import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...common.signals import check as check_stopping
from ...errors import DataError
from ..rows import quoted
from .base import NumberedRows, Row
from .json_rows import DECODER
from .plain import plain
from .text import decoded, lines

Record = tuple[int, list[str]]
Reading = Callable[[str], Any]

LONGEST_CELL = 64 * 1024**2
"""Most characters of a cell: the parser holds a cell at four bytes per character."""
LONGEST_LITERAL = 2**20
"""Most characters of a cell that is parsed as Python: the parser needs some hundred bytes per character."""
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A JSON number: `007` and `1_000` are texts, although Python reads both as numbers."""
TURN = {"role", "from"}
"""Keys of a message; every message has at least one of these, or a pair of `SAID`."""
SAID = [(who, what) for who in ("speaker", "sender", "author") for what in ("content", "text", "message", "utterance")]
"""Keys of other spellings of a message: who, and what was said."""
INDEX = re.compile(r"|Unnamed: \d+")
"""Name of the column of places that pandas writes first; pandas itself reads the empty name as `Unnamed: 0`."""
TEXTS = {
    *("prompt", "chosen", "rejected", "question", "instruction", "input", "history", "context", "post", "title"),
    *("response", "output", "answer", "completion", "summary", "text", "system", "human_ref"),
    *("problem", "reply", "generation"),
}
"""Columns that stay text even if every answer is a number; also with a letter or a number at the end."""
TEXT_NAME = re.compile(rf"({'|'.join(sorted(TEXTS))})([_ -]?([a-z]|[0-9]+))?", re.IGNORECASE)


class Dialect(NamedTuple):
    """Form of a table of cells.

    Attributes:
        mark: character between cells.
        name: name of the character, in the plural.
        suffix: suffix of such files.
    """

    mark: str
    name: str
    suffix: str


COMMAS = Dialect(",", "commas", ".csv")
TABS = Dialect("\t", "tabs", ".tsv")


def text_columns(columns: Mapping[str, str]) -> set[str]:
    """Return the columns that hold text by `data.columns`, a mapping from the names of a format."""
    return {source for name, source in columns.items() if TEXT_NAME.fullmatch(name)}


def table_rows(path: Path, texts: Collection[str] = (), dialect: Dialect = COMMAS) -> NumberedRows:
    """Read rows under a header, numbered from 1 without the header; quotes as in spreadsheets.

    A cell is text, unless every cell of the column is empty or of another common type: a JSON number, true or false in
    any case, or a list or object, as JSON or as Python shows the value. An empty cell of such a column is null.
    Columns of prompts and responses, by `TEXTS` or by `texts`, may become lists of messages alone: a response "42"
    stays text. The first column may be the index that pandas writes, and is left out. The file is read twice, the first
    time until every column is known to be text.

    Args:
        path: the file.
        texts: further columns of prompts and responses.
        dialect: form of the table.

    Raises:
        DataError: text that is not UTF-8, or quotes that do not end. Also a header without names or with a repeated
            name, or a row with more or fewer cells than the header.
    """
    # The type of a column depends on its last cell, and rows are passed on one by one: hence the first reading.
    readings = _readings(path, texts, dialect)
    records = _records(path, dialect)
    header = _header(path, records, dialect)
    index = INDEX.fullmatch(header[0]) if header else None
    for number, (line, cells) in enumerate(records, start=1):
        row: Row = dict(zip(header, cells, strict=True))
        if index and not _is_place(row.pop(header[0])):
            raise _nameless(path, line, f"and {quoted(cells[0])} below, where pandas writes whole numbers")
        for name, read in readings.items():
            row[name] = read(row[name]) if row[name] else None
        yield number, row


def _readings(path: Path, texts: Collection[str], dialect: Dialect) -> dict[str, Reading]:
    """Return the function that reads a cell, for each column that is not text."""
    records = _records(path, dialect)
    # Readings still possible for each column; a column without any is text and leaves the table.
    possible: dict[str, list[Reading]] = {}
    header = _header(path, records, dialect)
    for name in header[1:] if header and INDEX.fullmatch(header[0]) else header:
        holds_text = name in texts or TEXT_NAME.fullmatch(name)
        possible[name] = [_messages] if holds_text else [_number, _truth, _json]
    # A column of empty cells alone fits every reading, and stays text.
    filled = set()
    for _, cells in records:
        check_stopping()
        for name, cell in zip(header, cells, strict=True):
            if cell and name in possible:
                readable = [read for read in possible[name] if _reads(read, cell)]
                filled.add(name)
                possible[name] = readable
                if not readable:
                    del possible[name]
        if not possible:
            break
    return {name: reads[0] for name, reads in possible.items() if name in filled}


def _header(path: Path, records: Iterator[Record], dialect: Dialect) -> list[str]:
    """Return the names of the columns; raise `DataError` for missing or repeated names, or another separator."""
    line, names = next(records, (1, []))
    where = f"{path}, line {line}"
    others = ";|,\t".replace(dialect.mark, "")
    if len(names) == 1 and (other := next((mark for mark in others if mark in names[0]), "")):
        suffix = {",": ".csv", "\t": ".tsv"}.get(other)
        hint = f"rename it: mv {path} {path.with_suffix(suffix)}" if suffix else "save it as plain CSV"
        raise DataError(f"{where}: the names are divided by {other!r}, and {dialect.name} are wanted", hint)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if "" in names[1:] or names == [""]:
        raise _nameless(path, line)
    if twice:
        hint = "give every column a name of its own in the first line"
        raise DataError(f"{where}: the name {quoted(twice[0], str)} twice in the header", hint)
    return names


def _nameless(path: Path, line: int, also: str = "in the header") -> DataError:
    """Build the error for a column without a name that is no index."""
    hint = "give every column a name of its own in the first line"
    return DataError(f"{path}, line {line}: a column without a name {also}", hint)


def _is_place(cell: str) -> bool:
    """Return True for a whole number."""
    return bool(re.fullmatch("-?[0-9]+", cell))


def _records(path: Path, dialect: Dialect) -> Iterator[Record]:
    """Yield the header and the rows, each with its first line; blank lines are no rows."""
    # Python's own limit, 131,072 characters, is too short for a long conversation in a cell.
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(_texts(path), strict=True, delimiter=dialect.mark)
    width, line = 0, 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "correct it; a cell that begins with a quote ends with one, and a quote inside is written twice"
            raise DataError(f"{path}, line {line}: not CSV: {error}", hint) from error
        if cells:
            # A row with a missing comma would otherwise put every later cell under the wrong name.
            width = width or len(cells)
            if len(cells) != width:
                message = f"{path}, line {line}: {len(cells)} cells, and the header has {width}"
                raise DataError(message, f"correct it; a cell with a {dialect.name[:-1]} needs quotes around it")
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
    try:
        value = DECODER.decode(cell)
    except ValueError:
        value = _literal(cell)
    return plain(value)


def _literal(cell: str) -> Any:
    """Return the list or object that Python shows as `cell`, as pandas writes such values."""
    # JSON that is no strict JSON, with a key twice or with NaN, must not come in through another door.
    if len(cell) > LONGEST_LITERAL or "'" not in cell:
        raise ValueError(cell)
    try:
        # Text that looks like code may hold escapes that Python warns of.
        with warnings.catch_warnings(action="ignore"):
            return ast.literal_eval(cell.strip())
    except (SyntaxError, MemoryError, TypeError) as error:
        raise ValueError(cell) from error


def _messages(cell: str) -> Any:
    # A response may itself be JSON, as code is: only a list of turns is taken for messages.
    value = _json(cell)
    if not isinstance(value, list) or not all(map(_is_turn, value)):
        raise ValueError(cell)
    return value


def _is_turn(value: Any) -> bool:
    """Return True for a message in one of its spellings."""
    if not isinstance(value, dict):
        return False
    return bool(TURN & set(value)) or any(isinstance(value.get(key), str) for who, key in SAID if who in value)
