"""Orders of the answers: names or places with the best first, and ranks of the answers, which look alike."""

from collections.abc import Sequence
from typing import Any

from ..rows import Row, quoted
from .labels import Answers, Label, Reader, Unknown, Verdict
from .layout import Layout, Path, at_path, named, words
from .names import NEUTRAL
from .words import ORDER, RANK, SCORE, VOTES, meaning

CERTAIN = {"rank", "ranks", "place", "places"}
"""Words in the name of a column that holds the rank of each answer, and nothing else."""


def is_permutation(value: Sequence[Any], first: int = 0) -> bool:
    """Return True for a list of all whole numbers from `first` on, each once."""
    return sorted(value) == list(range(first, first + len(value)))


def is_own_inverse(value: Sequence[Any]) -> bool:
    """Return True for a permutation from 0 that says the same as ranks and as places with the best first."""
    return all(value[int(value[place])] == place for place in range(len(value)))


def may_be_places(value: Sequence[Any]) -> bool:
    """Return True for a permutation from 0 or from 1 that says another thing as ranks than as places, best first."""
    first = next((first for first in (0, 1) if is_permutation(value, first)), None)
    return first is not None and not is_own_inverse([entry - first for entry in value])


def unclear_order(path: Path, values: Sequence[Sequence[Any]], parts: set[str], wanted: bool) -> str:
    """Return the reason why lists of numbers are not read as ranks; "" for lists that are clear, or no permutations.

    Ties in some row tell ranks. A permutation that is its own inverse in every row says the same either way.

    Args:
        parts: words of the column's name.
        wanted: True for a column that the user named as the label.
    """
    if parts & CERTAIN and not parts & ORDER:
        return ""
    from_0, from_1 = (all(is_permutation(value, first) for value in values) for first in (0, 1))
    shown = f"{named(path)} holds permutations such as {quoted(values[0])}, which may be"
    if parts & ORDER:
        if (from_0 or from_1) and any(map(may_be_places, values)):
            return f"{shown} the rank of each answer, or the places of the answers with the best first"
        return ""
    # The user's word for the label says nothing about the direction.
    if wanted and not parts & (RANK | SCORE | VOTES) and (from_1 or (from_0 and len(values[0]) > 2)):
        return f"{shown} ranks, scores, or the places of the answers with the best first"
    return ""


def ranked_names(layout: Layout, path: Path, answers: Answers) -> Label | None:
    """Return the label of a column with the names of the answers, the best first or with ranks beside."""
    if not answers.names:
        return None
    read = names_in_order(path, answers)
    verdicts = [read(row) for row in layout.rows if at_path(row, path)]
    if any(isinstance(verdict, Unknown) for verdict in verdicts):
        return None
    aspects = len(set(words(path)) - NEUTRAL - set(answers.stem))
    return Label((path,), "ranks", read, 0, aspects)


def names_in_order(path: Path, answers: Answers) -> Reader:
    """Return the function that reads ranked names; a list of numbers beside the names, if any, holds their ranks."""

    def read(row: Row) -> Verdict | Unknown | None:
        holder = at_path(row, path[:-1]) if path[:-1] else row
        return order_of(at_path(row, path), holder if isinstance(holder, dict) else {}, answers)

    return read


def order_of(value: Any, beside: Row, answers: Answers) -> Verdict | Unknown | None:
    """Return the verdict of a list of names, the best first, or by the list of ranks beside the names."""
    if not isinstance(value, list) or not value:
        return None
    places = [meaning(name, answers.names, answers.marks) if isinstance(name, str) else None for name in value]
    sides = [said.side if said else None for said in places]
    if sorted(side for side in sides if side is not None) != list(range(len(answers.names))):
        return Unknown(quoted(value))
    ranks = [
        inner
        for key, inner in beside.items()
        if set(words((key,))) & RANK and isinstance(inner, list) and len(inner) == len(value)
    ]
    numbers = ranks[0] if ranks and all(isinstance(rank, int | float) for rank in ranks[0]) else range(len(value))
    merits = dict(zip(sides, (-float(rank) for rank in numbers), strict=True))
    return Verdict(tuple(merits[side] for side in range(len(answers.names))))
