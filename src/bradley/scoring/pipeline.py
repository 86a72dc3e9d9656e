"""Rows in, rows with scores out, a few hundred at a time: the next are read and rendered while the model runs."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

from ..console import Bar
from ..data.fields import Place, Row
from .counts import Counts, count
from .rows import Parsed, parse, scored_row
from .scorer import Prepared, Scorer

Numbered = tuple[int, Row]
"""A row and its number from 1."""
T = TypeVar("T")


@dataclass(frozen=True)
class How:
    """What decides the bytes of the output, besides model and input.

    Attributes:
        over_long: one of `scorer.POLICIES`, or "" for the model's own.
        token_budget: most tokens at once (0: what suits the device).
        normalize: scores in the unit that the model folder names.
        best_of: the best response of each row instead of all.
        prefix: put before the names of fields that are added.
        part_rows: rows that are read, scored and written together.
    """

    over_long: str = ""
    token_budget: int = 0
    normalize: bool = False
    best_of: bool = False
    prefix: str = ""
    part_rows: int = 512


class Part(NamedTuple):
    """A few rows on their way, and their place among the parts."""

    number: int
    rows: list[Numbered]
    parsed: list[Parsed | str]
    prepared: Prepared


class Work(NamedTuple):
    """Everything that turns rows into rows with scores."""

    scorer: Scorer
    how: How
    name: str

    def prepare(self, number: int, rows: list[Numbered]) -> Part:
        """What needs no model: rows read, rendered and packed."""
        parsed = [parse(row, Place(self.name, "", at)) for at, row in rows]
        prepared = self.scorer.prepare([one if isinstance(one, str) else one.candidates for one in parsed])
        return Part(number, rows, parsed, prepared)

    def finish(self, part: Part) -> tuple[list[Row], Counts]:
        """The rows of the output, and what became of them."""
        results = self.scorer.score(part.prepared)
        written = [
            scored_row(row, parsed, result, self.how.prefix, self.how.best_of, Place(self.name, "", at))
            for (at, row), parsed, result in zip(part.rows, part.parsed, results, strict=True)
        ]
        return written, count([at for at, _ in part.rows], results)


def scored(
    work: Work, batches: Iterable[tuple[int, list[Numbered]]], bar: Bar
) -> Iterator[tuple[int, list[Row], Counts]]:
    """Parts with their rows of the output and what became of them; the next is prepared while the model runs."""
    began, responses = time.perf_counter(), 0
    for part in ahead(work.prepare(number, rows) for number, rows in batches):
        rows, counts = work.finish(part)
        yield part.number, rows, counts
        responses += counts.numbers["responses"]
        bar.advance(len(rows), responses_per_second=responses / (time.perf_counter() - began))


def batched(rows: Iterable[Numbered], size: int) -> Iterator[tuple[int, list[Numbered]]]:
    """Runs of `size` rows, numbered from 0; the last may be shorter."""
    rows = iter(rows)
    return enumerate(iter(lambda: list(islice(rows, size)), []))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each made by another thread while the one before it is used."""
    with ThreadPoolExecutor(max_workers=1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
