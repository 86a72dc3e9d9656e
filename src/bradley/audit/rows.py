"""Rows of an audited set: comparisons on disk, columns of hashes in memory, and the place of each row in its file."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..common.console import Console
from ..config import Data, Words, as_list
from ..data.columns import Columns
from ..data.formats import choose_format, convert_rows
from ..data.formats.votes import votes_of
from ..data.rows import RowPlace, on_one_line
from ..data.sources import Source, resolve
from ..data.sources.csv_rows import text_columns
from ..data.table import ComparisonTable
from ..errors import DataError
from ..records import Comparison

FORMATS_OF_VOTES = ("votes", "multipref")
"""Formats whose rows hold the votes of several annotators."""


@dataclass
class RowSet:
    """Comparisons of a set of files.

    Attributes:
        name: of the set.
        sources: files, in the order of `Columns.part`.
        settings: settings of reading.
        pool: the comparisons.
        numbers: [G] number of the row in its file, from 1.
        votes: votes for the first and for the second response of a row, ties left out, by number of the comparison.
        unusable: (part, number, reason) of each row that is no comparison.
        formats: format of each source.
    """

    name: str
    sources: list[Source]
    settings: Data
    pool: ComparisonTable = field(default_factory=ComparisonTable)
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    votes: dict[int, tuple[int, int]] = field(default_factory=dict)
    unusable: list[tuple[int, int, str]] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def columns(self) -> Columns:
        """Columns of the comparisons."""
        return self.pool.columns

    @property
    def left_out(self) -> dict[str, int]:
        """Rows that are no comparison, by reason."""
        return dict(sorted(Counter(reason for _, _, reason in self.unusable).items()))

    def id(self, number: int) -> str:
        """Return the id of a comparison."""
        return self.pool[int(number)].id

    def rows_of(self, part: int) -> Iterator[tuple[int, Any]]:
        """Read the rows of a source again, numbered from 1."""
        source = self.sources[part]
        own = self.settings.of_source(source.given, source.name)
        return source.rows(text_columns(own.columns_of()))


class _Numbered:
    """Rows passed on one by one, with the last row and its number."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self.rows, self.last = rows, 0
        self.row: Any = None

    def __iter__(self) -> Iterator[Any]:
        for number, row in self.rows:
            self.last, self.row = number, row
            yield number, row


def read_set(name: str, sources: Words, settings: Data, console: Console) -> RowSet:
    """Read every row of some sources.

    Args:
        name: name of the set.
        sources: files, globs, folders, datasets of the Hub, or `benchmark:NAME=PATH`.
        settings: format, columns, and other settings about reading rows.
        console: counts the rows on the way.

    Raises:
        DataError: a source is missing, a row has another shape than its format, or no row is a comparison.
        UserError: a setting or an option of a source is unknown.

    Example:
        read_set("val", "val.jsonl", Data(), Console("quiet")).columns.topic
    """
    found = RowSet(name, resolve(sources), settings)
    with console.counting(f"reading {name}", "rows") as count:
        for part in range(len(found.sources)):
            _read_part(found, part, count)
    if not len(found):
        named = ", ".join(map(on_one_line, as_list(sources)))
        raise DataError(f"{named}: none of {len(found.unusable)} rows is a comparison", "see `bradley data FILE`")
    # A draw of the columns ends the adding of rows, and flushes the texts to disk.
    assert len(found.columns.topic) == len(found)
    return found


def _read_part(found: RowSet, part: int, count: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
    """Add the rows of a source."""
    source = found.sources[part]
    place = RowPlace(source.name, source.stem, settings=found.settings.of_source(source.given, source.name))
    reading, rows = choose_format(count(found.rows_of(part)), place)
    found.formats.append(reading.format)
    numbered = _Numbered(iter(rows))
    for result in convert_rows(iter(numbered), reading, place, found.pool.ids):
        if isinstance(result, Comparison):
            # The share of the votes is all that a comparison keeps, and agreement needs their number.
            if reading.format in FORMATS_OF_VOTES and isinstance(numbered.row, dict):
                votes = votes_of(numbered.row, reading.format, place)
                found.votes[len(found)] = (votes["a"], votes["b"])
            found.pool.add(result, part)
            found.numbers.append(numbered.last)
        else:
            found.unusable.append((part, numbered.last, result.reason))


def flagged(count: int, numbers: np.ndarray) -> np.ndarray:
    """Mark `numbers` among `count` comparisons: [count] bool."""
    marks = np.zeros(count, dtype=bool)
    marks[numbers] = True
    return marks
