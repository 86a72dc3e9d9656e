"""Labels with a number for each answer: scores, ranks, truth values, votes and outcomes, and names in order.

The numbers stand in a column for each side, or in a list as long as the answers are many.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..rows import Row, quoted
from .labels import NEUTRAL, WORSE, Answers, Label, Reader, Unknown, Verdict, base_of, said_of, scalar, values_of
from .layout import Family, Layout, Path, at_path, covered, named, words
from .words import CORRECT, FAULTS, LABEL, MEASURES, NOT, RANK, SCORE, TIE, TIES, VOTES, meaning

CLOSE = 1e-6
"""Largest distance from 1 of the sum of shares."""


def find_labels(layout: Layout, answers: Answers, used: set[Path], wanted: Path | None = None) -> list[Label]:
    """Return every column that may be the label of the answers.

    Args:
        used: columns that hold answers and parts of the prompt.
        wanted: the column that the user named as the label; other columns are not looked at.
    """
    found = []
    families = [family for family in layout.families if not any(covered(path, used) for path in family.paths)]
    families += beside_names(layout, answers, used)
    # A named column with a twin for the other answer is read together with the twin, not as an index.
    families = [family for family in families if wanted is None or wanted in family.paths]
    found = [label for family in families if (label := per_side(layout, family, answers))]
    taken = {path for label in found for path in label.paths}
    for path in layout.columns:
        if covered(path, used | taken) or (wanted is not None and path[: len(wanted)] != wanted):
            continue
        if (label := scalar(layout, path, answers, wanted is not None)) or (
            label := listed(layout, path, answers, wanted is not None)
        ):
            found.append(label)
    return found


def listed(layout: Layout, path: Path, answers: Answers, wanted: bool) -> Label | None:
    """Return the label of a column with a list in each row: numbers for the answers, ranked names, or votes."""
    values = [value for value in layout.columns[path] if value not in (None, [])]
    kind, parts = layout.kinds[path], set(words(path))
    if kind not in ("numbers", "bools", "texts") or not all(isinstance(value, list) for value in values) or not values:
        return None
    by_name = wanted or bool(parts & LABEL)
    aspects = len(parts - NEUTRAL - set(answers.stem))
    if kind == "texts":
        found = ranked_names(layout, path, answers)
        return found or (ballots(path, values, answers, aspects) if by_name and answers.names else None)
    count, lengths = len(answers.names) or answers.number, {len(value) for value in values}
    # Of three or more answers one may be absent, with its number.
    if count <= 2 and any(entry is None for value in values for entry in value):
        return None
    if answers.number and lengths != {count}:
        return ballots(path, values, answers, aspects) if by_name and answers.names else None
    meant = kind_of_numbers(parts, [entry for value in values for entry in value if entry is not None], wanted)
    if meant == "truth" and parts & LABEL and count == 2 and not _one_hot(values):
        meant = ""
    if not meant:
        unclear = answers.number and not parts & MEASURES and len({str(value) for value in values}) > 1
        problem = f"{named(path)} holds a number for each answer, or of each annotator"
        return Label((path,), "scores", None, 0 if by_name else 2, aspects, problem) if unclear else None

    def read(row: Row) -> Verdict | Unknown | None:
        value = at_path(row, path)
        if not isinstance(value, list) or not value:
            return None
        known = int | float if len(value) <= 2 else int | float | None
        if not all(isinstance(entry, known) for entry in value) or (answers.number and len(value) != count):
            return Unknown(quoted(value))
        return numbered([-entry if meant == "ranks" and entry is not None else entry for entry in value])

    # A list as long as the answers are many is no accident if there are more than two.
    return Label((path,), meant, read, 0 if count > 2 else 1, aspects)


def numbered(merits: Sequence[float | None]) -> Verdict | None:
    """Return the verdict of a number for each answer; None without any number."""
    if all(merit is None for merit in merits):
        return None
    # The constant itself, and no other NaN: verdicts of two labels are compared.
    return Verdict(tuple(math.nan if merit is None else float(merit) for merit in merits))


def _one_hot(values: Sequence[Sequence[Any]]) -> bool:
    """Return True if exactly one number of each list is 1: annotators would agree in some row."""
    return all(sum(map(bool, value)) == 1 for value in values)


def ballots(path: Path, values: Sequence[Sequence[Any]], answers: Answers, aspects: int) -> Label:
    """Return the label of a list with the word or number of each annotator, or the reason why it is not read."""
    pooled = [entry for value in values for entry in value if entry is not None]
    said = [said_of(entry, answers) for entry in pooled]
    digits = {meant.digit for meant in said if meant and meant.digit is not None}
    base, undecided = base_of(digits, len(answers.names)) if digits else (None, False)
    label = Label((path,), "votes", None, 0, aspects)
    shown = values_of(Counter(map(str, pooled)))
    if None in said or any(isinstance(entry, bool) for entry in pooled):
        return replace(label, problem=f"{named(path)} has votes that name no side: {shown}")
    if digits and base is None:
        return replace(label, problem=f"{named(path)} may count from 0 or from 1: {shown}", undecided=undecided)

    def read(row: Row) -> Verdict | Unknown | None:
        entries = at_path(row, path)
        if not isinstance(entries, list) or not entries:
            return None
        support = [0.0] * len(answers.names)
        for entry in entries:
            meant = said_of(entry, answers)
            side = None if meant is None else meant.side
            if side is None and meant is not None and meant.digit is not None and base is not None:
                side = meant.digit - base
            if side is None or side >= len(support):
                return Unknown(quoted(entry), doubt=not isinstance(entry, str))
            for place in range(len(support)) if side == TIE else [side]:
                support[place] += 1 / len(support) if side == TIE else 1.0
        return Verdict(tuple(support))

    return replace(label, read=read)


def kind_of_numbers(parts: set[str], values: Sequence[Any], wanted: bool = False) -> str:
    """Return the kind of a label with a number for each answer; "" if the name says nothing."""
    truth = all(isinstance(value, bool) or value in (0, 1) for value in values)
    # Nothing says that the higher is the better.
    if parts & FAULTS or parts & NOT or (parts & MEASURES and not wanted):
        return ""
    if parts & RANK:
        return "ranks"
    if truth and parts & (LABEL | CORRECT | SCORE):
        return "truth"
    if parts & VOTES and all(value >= 0 for value in values):
        return "votes"
    return "scores" if parts & SCORE or wanted else ""


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


def per_side(layout: Layout, family: Family, answers: Answers) -> Label | None:
    """Return the label of columns that hold a number for each side."""
    parts, count = set(family.stem), len(answers.names)
    if len(family.paths) != count or not answers.names or not _same_marks(family, answers):
        return None
    values = [_number(value) for path in family.paths for value in layout.columns[path] if value not in (None, "")]
    if not values or any(value is None for value in values):
        return None
    meant = kind_of_numbers(parts, values)
    ties = _tie_columns(layout, family) if meant == "truth" else ()
    aspects = len(parts - NEUTRAL - CORRECT - set(answers.stem))
    rows = [[_number(at_path(row, path)) or 0 for path in (*family.paths, *ties)] for row in layout.rows]
    if not meant and parts & LABEL and family.kind != "digit":
        # A number for each side under the name of a label is the share, or the worth, of the side.
        meant = "votes" if all(min(row) >= 0 and abs(sum(row) - 1) < CLOSE for row in rows) else "scores"
    # Numbered columns with the name of a label may as well hold the labels of numbered annotators.
    judges = bool(parts & LABEL) and family.kind == "digit" and meant in ("truth", "") and not _one_hot(rows)
    if not meant or judges:
        problem = f"{', '.join(map(named, family.paths))} hold a number for each answer, or of each annotator"
        differ = len({str(row) for row in rows}) > 1 and not parts & MEASURES
        return Label(family.paths, "scores", None, 0 if judges else 2, aspects, problem) if differ else None
    outcome = meant == "truth" and bool(parts & LABEL) and count == 2
    worse = bool(parts & WORSE)

    def read(row: Row) -> Verdict | Unknown | None:
        found = [_number(at_path(row, path)) for path in family.paths]
        if any(number is None for number in found) and count <= 2:
            return None
        if any(_number(at_path(row, path)) for path in ties):
            return Verdict((0.0,) * count)
        sign = -1.0 if meant == "ranks" or worse else 1.0
        return numbered([None if number is None else sign * number for number in found])

    def shown(row: Row) -> str:
        verdict = read(row)
        if not isinstance(verdict, Verdict) or not outcome:
            return ""
        return (
            "tie" if len(set(verdict.merits)) == 1 else named(family.paths[verdict.merits.index(max(verdict.merits))])
        )

    kind = "choice" if outcome else meant
    return Label((*family.paths, *ties), kind, read, 0 if outcome or count > 2 else 1, aspects, shown=shown)


def beside_names(layout: Layout, answers: Answers, used: set[Path]) -> list[Family]:
    """Return the columns named after the answers, such as kimi_score beside kimi, for answers without marks."""
    if answers.marks:
        return []
    found: dict[tuple[str, ...], list[Path]] = {}
    for name in answers.names:
        own = words(name)
        for path in layout.columns:
            rest = tuple(word for word in words(path) if word not in own)
            if not covered(path, used) and rest and len(words(path)) == len(own) + len(rest):
                found.setdefault(rest, []).append(path)
    return [Family(rest, "name", (), tuple(paths)) for rest, paths in found.items() if len(paths) == len(answers.names)]


def _same_marks(family: Family, answers: Answers) -> bool:
    """Return True if the marks of a family are those of the answers, or count the answers from the first on."""
    if not answers.marks or not family.marks:
        return family.kind == "name"
    first = family.marks[0]
    return family.marks == answers.marks or first in ("a", "0", "1", "left", "first", "one", "alpha")


def _tie_columns(layout: Layout, family: Family) -> tuple[Path, ...]:
    """Return the columns for ties beside a column per outcome."""
    return tuple(
        path
        for path in layout.columns
        if set(words(path)) & TIES and set(words(path)) - TIES - {"bad", "good"} <= set(family.stem)
    )


def _number(value: Any) -> float | None:
    """Return a number, also one written as text; None for anything else."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None
