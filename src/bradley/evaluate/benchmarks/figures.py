"""Items, figures and notes shared by all benchmarks."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ...common.text import and_more
from ...records import ScoredComparison
from ..intervals import PROPORTION, Interval, clustered_mean
from ..judgments import check_scores

PUBLISHED = "published"
"""Scheme of a figure computed as the benchmark's authors compute the figure."""
HALF = "ties half"
"""Scheme of a figure in which equal scores count one half."""
MOST_NAMED = 5
"""Most subsets that a note names."""
Result = dict[str, Any]
"""Result of a benchmark: `benchmark`, `scheme`, `figures` and `notes`, ready for JSON."""


class Figure(NamedTuple):
    """A figure of a benchmark.

    Attributes:
        name: the published name.
        scheme: rule of the figure, such as `PUBLISHED`.
        interval: value with the 95 % interval.
    """

    name: str
    scheme: str
    interval: Interval

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict; a number that is not finite becomes None."""
        numbers = self.interval._asdict()
        plain = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"name": self.name, "scheme": self.scheme, **plain}


@dataclass(frozen=True, slots=True)
class Items:
    """One entry per row; all arrays [n].

    Attributes:
        subset: the value of a tag; "" for a row without the tag.
        prompt: key of the prompt, the cluster of every interval.
        strict: 1.0 if the best response scores above all others, else 0.0.
        halved: 1 / (number of responses at the maximum) if the best response is at the maximum, else 0.0. For a pair,
            equal scores count one half.
    """

    subset: NDArray[np.str_]
    prompt: NDArray[np.str_]
    strict: NDArray[np.float64]
    halved: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.prompt)

    def where(self, keep: NDArray[np.bool_]) -> Self:
        """Select the rows with True in `keep` [n]."""
        return replace(self, **{name: getattr(self, name)[keep] for name in self.__slots__})

    def values(self, scheme: str) -> NDArray[np.float64]:
        """Return the values [n] that a scheme averages: strict ones for `published`, else ties at one half."""
        return self.strict if scheme == PUBLISHED else self.halved

    def of(self, *subsets: str) -> Self:
        """Select the rows of some subsets."""
        return self.where(np.isin(self.subset, subsets))


def items(rows: Sequence[ScoredComparison], tag: str = "subset") -> Items:
    """Return one item per row of one best response and one or more others.

    Args:
        rows: scored rows; the best response of a row is better in each of the row's judgments.
        tag: the tag that names the subset.

    Raises:
        DataError: a score is not a finite number.
    """
    check_scores(rows)
    return Items(
        subset=np.array([row.tags.get(tag, "") for row in rows], dtype=np.str_),
        prompt=np.array([row.prompt_key for row in rows], dtype=np.str_),
        strict=np.array([_wins(row) for row in rows], dtype=np.float64),
        halved=np.array([best_share(row) for row in rows], dtype=np.float64),
    )


def _wins(row: ScoredComparison) -> float:
    """Return 1.0 if the better response of every judgment scores higher, else 0.0."""
    return float(all(row.scores[j.better] > row.scores[j.worse] for j in row.judgments))


def best_share(row: ScoredComparison) -> float:
    """Return the chance that a random choice among the highest scores takes a correct response.

    A response is correct if a judgment calls the response better.
    """
    top = max(row.scores)
    correct = {judgment.better for judgment in row.judgments}
    at_top = [place for place, score in enumerate(row.scores) if score == top]
    return sum(place in correct for place in at_top) / len(at_top)


def accuracy(name: str, found: Items, scheme: str = PUBLISHED) -> Figure:
    """Share of the items that are right: strict in the scheme `published`, else with ties at one half."""
    return Figure(name, scheme, clustered_mean(found.values(scheme), found.prompt, PROPORTION))


def by_subset(found: Items, names: Sequence[str], scheme: str = PUBLISHED) -> list[Figure]:
    """Accuracy of each subset, in the given order."""
    return [accuracy(name, found.of(name), scheme) for name in names]


def result(benchmark: str, scheme: str, figures: Sequence[Figure], notes: Sequence[str]) -> Result:
    """Return the result of a benchmark, ready for JSON."""
    shown = [figure.to_json() for figure in figures]
    return {"benchmark": benchmark, "scheme": scheme, "figures": shown, "notes": list(notes)}


def notes_on(
    rows: Sequence[ScoredComparison],
    counts: Mapping[str, int],
    subset_of: Callable[[ScoredComparison], str] = lambda row: row.tags.get("subset", ""),
    known: Sequence[str] = (),
) -> list[str]:
    """Return a sentence for each gap between the rows and the published set.

    Args:
        rows: scored rows.
        counts: published number of rows by subset.
        subset_of: returns the subset of a row.
        known: further subsets that the benchmark has, of unknown size.
    """
    found = Counter(map(subset_of, rows))
    absent = [name for name in counts if name not in found]
    other = [name for name in found if name not in counts and name not in known]
    notes = [
        f"{name}: {found[name]:,} rows, published {counts[name]:,}"
        for name in counts
        if name in found and found[name] != counts[name]
    ]
    if absent:
        missing = sum(counts[name] for name in absent)
        notes.append(f"no row of {and_more(absent, MOST_NAMED)}: {missing:,} published rows are missing")
    if counts and other:
        left = sum(found[name] for name in other)
        names = and_more([name or "(no subset)" for name in other], MOST_NAMED)
        notes.append(f"{left:,} rows are outside the published subsets, and count in no figure of theirs: {names}")
    if cut := sum(any(row.truncated) for row in rows):
        notes.append(f"{cut:,} of {len(rows):,} rows have a truncated response")
    return notes
