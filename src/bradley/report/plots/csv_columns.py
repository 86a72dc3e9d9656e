"""Numeric columns of any CSV file, for figures."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError, UserError

MOST_PANELS = 200
"""Most panels of a picture. More panels would exceed the largest height of a PNG."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line to draw: the values of a column for a value of `set`.

    Attributes:
        name: value of `set`; "" without such a column.
        x, y: points, of equal length, in the order of the file.
    """

    name: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True, slots=True)
class Columns:
    """Drawable columns of a table.

    Attributes:
        x: name of the column on the horizontal axis.
        lines: lines by column, a line for each value of the column `set`; a single line without a column `set`.
        left_out: reason by column left out: "empty" or "not numeric".
    """

    x: str
    lines: dict[str, list[Line]]
    left_out: dict[str, str]


def read_columns(path: Path, x: str = "step") -> Columns:
    """Read the numeric columns of a CSV file over the column `x`.

    Blank cells, nan and infinite values are skipped; columns without a number are left out.

    Raises:
        UserError: no such file, or the file has no column `x`.
        DataError: the file is not a table, a row has no number in `x`, or no column can be drawn.
    """
    header, rows = _read(path)
    if x not in header:
        raise UserError(
            f"{path} has no column {x!r}; its columns are {', '.join(header) or 'none'}",
            f"rename the column to draw over to `{x}`",
        )
    places = [_place(path, x, number, row[header.index(x)]) for number, row in rows]
    groups = [row[header.index("set")] if "set" in header else "" for _, row in rows]
    columns = {name: [row[i].strip() for _, row in rows] for i, name in enumerate(header) if name not in (x, "set")}
    left_out = {name: why for name, cells in columns.items() if (why := _why_not(cells))}
    lines = {name: _lines(cells, places, groups) for name, cells in columns.items() if name not in left_out}
    if not 0 < len(lines) <= MOST_PANELS:
        raise DataError(
            f"{path} has {len(lines)} numeric columns besides {x!r}, wanted 1 to {MOST_PANELS}", "choose other columns"
        )
    return Columns(x, lines, left_out)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the header, and each row with its line number; all rows have as many cells as the header."""
    try:
        # Spreadsheets begin UTF-8 files with a byte order mark; plain utf-8 would read it as part of the first name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "give a run folder, or a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file: {error}", "give a file in UTF-8 with a line of names") from error
    if len(set(header)) < len(header):
        raise DataError(f"{path} has two columns of one name: {', '.join(header)}", "rename one of them")
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {number} has {len(row)} cells, wanted {len(header)}", "mend or delete the line"
            )
    return header, rows


def _place(path: Path, x: str, number: int, cell: str) -> float:
    place = _number(cell)
    if place is None or not math.isfinite(place):
        raise DataError(f"{path}, line {number}: {x} is {cell!r}, wanted a number", "mend or delete the line")
    return place


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _why_not(cells: list[str]) -> str:
    """Reason to leave a column out, or ""."""
    values = [_number(cell) for cell in cells if cell]
    if None in values:
        return "not numeric"
    return "" if any(value is not None and math.isfinite(value) for value in values) else "empty"


def _lines(cells: list[str], places: list[float], groups: list[str]) -> list[Line]:
    lines: dict[str, Line] = {}
    for cell, place, group in zip(cells, places, groups, strict=True):
        value = _number(cell)
        if value is not None and math.isfinite(value):
            line = lines.setdefault(group, Line(group, [], []))
            line.x.append(place)
            line.y.append(value)
    return list(lines.values())
