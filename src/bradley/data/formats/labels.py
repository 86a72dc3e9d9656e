"""Labels, the answers that labels speak of, and the meaning of one value of a label."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...common.text import and_more
from ..rows import Row, quoted
from .layout import MARKS, Path, named
from .words import TIE, Said, meaning

BETTER = {"better", "wins", "win", "winner", "won", "preferred", "prefers", "best", "chosen", "selected"}
"""Words that make a truth value of one side a label."""
ABOUT = {
    *(
        "id",
        "ids",
        "index",
        "idx",
        "key",
        "uid",
        "uuid",
        "fold",
        "split",
        "row",
        "line",
        "group",
        "annotator",
        "worker",
    ),
    *("rater", "order", "position", "shown", "model", "longer", "shorter", "arm", "batch", "version", "round", "set"),
    *("subset", "language", "lang", "type", "count", "num", "turn", "confidence", "source", "time", "date"),
}
"""Words in the name of a column about the row, or about the work of the annotators."""
DETAILS = {"version", "round", "num", "count", "turn", "confidence", "time", "date"}
"""Words that make of the name of a label a name of something about the label, such as label_version."""
MOST_INDEX = 10**6
"""Bound of an index: a larger number is no place among answers."""
MOST_VALUES = 12
"""Most different words of a label; a column with more is text, or holds names of models."""


class Verdict(NamedTuple):
    """Reading of a row's label.

    Attributes:
        merits: a number for each answer, higher is better; `math.nan` for an answer without a number, of three or more.
        strength: number of comparison signs, 0 without signs.
    """

    merits: tuple[float, ...]
    strength: int = 0


class Unknown(NamedTuple):
    """Word of a label that is not understood; `doubt` if the word puts the reading of the whole file in doubt."""

    word: str
    doubt: bool = False


Reader = Callable[[Row], Verdict | Unknown | None]
"""Returns the verdict of a row, None for an empty label, or the word that is not understood."""


@dataclass(frozen=True)
class Label:
    """A column, or several, that may say which answer is better.

    Attributes:
        paths: columns read.
        kind: "choice" (one side, or a tie), "scores", "ranks", "truth" or "votes".
        read: returns the verdict of a row; None while the reading is undecided.
        tier: 0 for a label by name and values, 1 for scores and the like, 2 for a label by values alone.
        aspects: words of the name that name an aspect.
        problem: the reason why the label is not read.
        undecided: True if more rows may decide.
        shown: returns the label of a row as a text, for counts.
        agreeing: other columns that said the same in the first rows.
        own: columns with values of the answers by which the label names one of them; empty for a label of places.
        sources: columns with the names of the answers' authors, of which the label repeats one.
    """

    paths: tuple[Path, ...]
    kind: str
    read: Reader | None
    tier: int
    aspects: int = 0
    problem: str = ""
    undecided: bool = False
    shown: Callable[[Row], str] = field(default=lambda row: "")
    agreeing: tuple["Label", ...] = ()
    own: tuple[Path, ...] = ()
    sources: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """Names of the columns."""
        return ", ".join(map(named, self.paths))

    @property
    def own_columns(self) -> set[Path]:
        """Columns with values of the answers by which the label names one of them."""
        return {tuple(name for name in path if name != "*") for path in self.own}


class Answers(NamedTuple):
    """Names of the answers that a label speaks of.

    Attributes:
        names: path of each answer, as published.
        marks: mark of each answer; empty for answers in a list.
        stem: words of the names without the mark.
        number: number of answers, 0 if rows differ.
        paths: columns that hold the answers.
        better: place of the answer that is the better one by its name; None if no name says so.
    """

    names: tuple[Path, ...]
    marks: tuple[str, ...]
    stem: tuple[str, ...]
    number: int
    paths: tuple[Path, ...]
    better: int | None = None


PAIR = Answers((("a",), ("b",)), ("a", "b"), (), 2, ())
"""Names of two answers for words of labels such as A, first and left."""


def side_marks(answers: Answers) -> set[str]:
    """Return the words that may stand for a side in a name: marks of the answers, a and b, first and second."""
    return {*answers.marks, "a", "b", *(mark for order in MARKS.values() for mark in order[:2])}


def values_of(counts: Counter[str]) -> str:
    """List values with their counts: A 985, B 1015."""
    shown = [f"{quoted(value, str)} {count:,}" for value, count in sorted(counts.items())]
    return and_more(shown, MOST_VALUES)


def said_of(value: Any, answers: Answers) -> Said | None:
    """Return the meaning of a value of a label."""
    if isinstance(value, bool):
        return Said(None, int(value))
    # Without marks in the names, nothing says which of the two is the first.
    if isinstance(value, int | float) and answers.names and not answers.marks:
        return None
    if isinstance(value, int | float):
        return Said(None, int(value)) if 0 <= value < MOST_INDEX and value == int(value) else None
    return meaning(value, answers.names, answers.marks) if isinstance(value, str) else None


def mixed(said: Sequence[Said | None]) -> bool:
    """Return True for words that name a side beside bare numbers, such as A, B and 0: the number may be a tie."""
    sides = any(meant and meant.side is not None and meant.side != TIE for meant in said)
    return sides and any(meant and meant.side is None for meant in said)


def base_of(digits: set[int], sides: int) -> tuple[int | None, bool]:
    """Return the number of the first answer, None if unknown, and True if more rows may decide."""
    if digits <= set(range(sides)) and 0 in digits:
        return 0, False
    if digits <= set(range(1, sides + 1)) and sides in digits:
        return 1, False
    return None, digits <= set(range(1, sides))
