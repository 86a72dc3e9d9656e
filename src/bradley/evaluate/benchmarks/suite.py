"""A benchmark as a record: name, aggregation, sections and source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...records import ScoredComparison
from .figures import Result


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark.

    Attributes:
        name: name on the command line.
        title: name in print.
        aggregate: computes the figures of scored rows.
        sections: names of the figures that make up the headline.
        headlines: names of the first figures, which a run logs at every evaluation.
        citation: paper of the benchmark.
    """

    name: str
    title: str
    aggregate: Callable[[Sequence[ScoredComparison]], Result]
    sections: tuple[str, ...]
    headlines: tuple[str, ...]
    citation: str
