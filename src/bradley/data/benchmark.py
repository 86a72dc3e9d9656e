"""Comparisons of whole sources, read at once: the rows of a benchmark, and the prompts of training data."""

from collections import Counter
from typing import NamedTuple

from ..config import Words
from ..records import Comparison
from .formats import choose_format, convert_rows
from .rows import RowPlace
from .sources import resolve
from .sources.benchmarks import PREFIX


class Read(NamedTuple):
    """Comparisons of sources.

    Attributes:
        comparisons: usable rows, in order, with ids that differ.
        left_out: reason word -> number of unusable rows.
    """

    comparisons: list[Comparison]
    left_out: Counter[str]

    def notes(self) -> list[str]:
        """Return a sentence about unusable rows; empty without such rows."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.left_out.items()))
        return [f"{self.left_out.total():,} rows are left out: {reasons}"] if reasons else []


def read_sources(sources: Words) -> Read:
    """Read every row of some sources, each row in the format that is detected.

    Raises:
        DataError: a source cannot be read, or a row has another shape.
        UserError: a source that cannot be named so.
    """
    found = Read([], Counter())
    taken: set[str] = set()
    for source in resolve(sources):
        place = RowPlace(source.name, source.stem)
        reading, rows = choose_format(source.rows(), place)
        for row in convert_rows(rows, reading, place, taken):
            if isinstance(row, Comparison):
                found.comparisons.append(row)
            else:
                found.left_out[row.reason] += 1
    return found


def read_benchmark(name: str, paths: list[str]) -> Read:
    """Read the files of a benchmark, in the authors' layout; raises as `read_sources`."""
    return read_sources([f"{PREFIX}{name}={path}" for path in paths])
