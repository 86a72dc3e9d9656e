"""Labels with a number for each answer: scores, ranks, truth values, votes and outcomes, and names in order.

The numbers stand in a column for each side, or in a list as long as the answers are many.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from ..rows import Row, quoted
from .labels import Answers, Label, Unknown, Verdict, base_of, mixed, said_of, values_of
from .layout import Layout, Path, at_path, named, words
from .names import NEUTRAL, may_be_second, numbers_unclear, speaks_against, strange
from .orders import is_permutation, may_be_places, ranked_names, unclear_order
from .words import BALLOTS, CORRECT, LABEL, LAST_MARK, MEASURES, ORDER, RANK, SCHOOL, SCORE, SHARES, TIE, VOTES, sense

FEWEST_ROWS = 4
"""Fewest rows from which numbers of two annotators would agree at least once."""
CHOSEN_BY = {
    "vote",
    "votes",
    "labels",
    "annotations",
    "judgments",
    "judgements",
    "choices",
    "picks",
    "selections",
    "preferences",
}
"""Words in the name of a list with a number for each answer, or with the choice of each annotator."""
FEWEST_ONE_HOT = 12
"""Fewest lists with a single 1 in which annotators would agree at least once."""
FEWEST_TRUTHS = 200
"""Fewest lists of 0 and 1 in which annotators would choose a third answer at least once."""
MISSING = {-1, -9, -99, -999, -9999}
"""Numbers that mark a missing score or rank."""
MISSING_ABOVE = {99, 999, 9999}
"""Numbers that mark a missing score or rank, where every other number is one of a scale."""
WIDEST_SCALE = 10
"""Largest number of a scale that no such mark belongs to."""
UNBOUNDED = BALLOTS | {"karma", "points", "elo", "liked", "upvoted"}
"""Words in the name of scores that are counts, and reach any number."""
CLOSE = 1e-6
"""Largest distance from 1 of the sum of shares."""


def listed(layout: Layout, path: Path, answers: Answers, wanted: bool) -> Label | None:
    """Return the label of a column with a list in each row: numbers for the answers, ranked names, or votes."""
    values = [value for value in layout.columns[path] if value not in (None, [])]
    kind, parts = layout.kinds[path], set(words(path))
    # A row of two with a missing number is counted; the other rows say what the numbers are.
    values = values if kind == "texts" else [value for value in values if _is_whole(value)]
    if kind not in ("numbers", "bools", "texts") or not all(isinstance(value, list) for value in values) or not values:
        return None
    by_name = wanted or bool(parts & LABEL)
    aspects = len(parts - NEUTRAL - set(answers.stem))
    if kind == "texts":
        return _of_texts(layout, path, values, answers, by_name, wanted)
    count, lengths = len(answers.names) or answers.number, {len(value) for value in values}
    if answers.number and lengths != {count}:
        return _of_annotators(path, values, answers, wanted) if by_name and answers.names else None
    numbers = [entry for value in values for entry in value if is_known(entry)]
    meant = kind_of_numbers(words(path), numbers, answers.stem, wanted)
    judges = count == 2 and bool(parts & (LABEL | VOTES)) and meant in ("truth", "votes")
    # Of three or more numbers, too, each may be the place that an annotator chose.
    judges |= count > 2 and bool(parts & CHOSEN_BY) and meant in ("votes", "scores") and _are_places(values, count)
    # Truth values of as many answers, or the places that as many annotators chose.
    bare = any(not isinstance(entry, bool) for entry in numbers)
    several = count > 2 and bool(parts & (CHOSEN_BY | {"label"})) and meant == "truth" and bare
    judges |= several and len(values) < (FEWEST_ONE_HOT if is_one_hot(values) else FEWEST_TRUTHS)
    if judges and not counts_for_answers(values, "votes" if meant == "scores" else meant):
        meant = ""
    whole = [value for value in values if all(map(is_known, value))]
    if whole and (problem := unclear_order(path, whole, parts, wanted)):
        tier = 2 if parts & MEASURES and not wanted else 0
        return Label((path,), "ranks", None, tier, aspects, problem, undecided=tier == 0)
    if parts & ORDER and not parts & RANK:
        meant = "ranks" if wanted and all(is_permutation(value, min(value)) for value in whole) else ""
    # A permutation that is its own inverse says the same as ranks and as the order of the answers.
    same = bool(parts & ORDER) and not any(map(may_be_places, whole))
    if problem := missing_marks(path, numbers, meant):
        return Label((path,), "scores", None, 0 if by_name or count > 2 else 1, aspects, problem)
    if not meant:
        unclear = (wanted or (answers.number and not parts & MEASURES)) and len({str(value) for value in values}) > 1
        problem = numbers_unclear((path,), words(path))
        # Further rows may show how many there are of each.
        undecided = judges and (count > 2 or len(values) < FEWEST_ROWS)
        tier = 0 if by_name else 2
        return Label((path,), "scores", None, tier, aspects, problem, undecided) if unclear or undecided else None
    span = span_of(path, numbers, meant)

    def read(row: Row) -> Verdict | Unknown | None:
        value = at_path(row, path)
        if not isinstance(value, list) or not value:
            return None
        if not _is_whole(value) or (answers.number and len(value) != count):
            return Unknown(quoted(value))
        known = [entry for entry in value if is_known(entry)]
        if same and known == value and may_be_places(value):
            return Unknown(quoted(value), doubt=True)
        if is_missing(known, span) or (judges and not counts_for_answers([value], meant, alone=True)):
            return Unknown(quoted(value), doubt=True)
        return numbered([-entry if meant == "ranks" and is_known(entry) else entry for entry in value])

    # A list as long as the answers are many is no accident if there are more than two.
    return Label((path,), meant, read, 0 if count > 2 else 1, aspects)


def _of_texts(
    layout: Layout, path: Path, values: list[Any], answers: Answers, by_name: bool, wanted: bool
) -> Label | None:
    """Return the label of a list of texts: ranked names, or the word of each annotator."""
    if by_name and answers.names and sense(words(path)) < 1:
        return _of_annotators(path, values, answers, wanted)
    found = ranked_names(layout, path, answers)
    # Two annotators who differ in every row, or two turns, look like two names in order.
    ordered = set(words(path)) & (RANK | ORDER | {"to"}) or _ranks_beside(layout, path)
    if found and len(answers.names) == 2 and not ordered:
        problem = f"{named(path)} holds both answers in every row: the choices of two annotators, or the best first"
        return replace(found, read=None, problem=problem)
    if found and set(words(path)) & {"shown", "displayed", "presentation", "presented", "position", "positions"}:
        return None
    if found and not by_name and strange(words(path), answers.stem):
        return replace(found, read=None, tier=2, problem=f"{named(path)} holds the names of the answers in an order")
    return found or (_of_annotators(path, values, answers, wanted) if by_name and answers.names else None)


def _ranks_beside(layout: Layout, path: Path) -> bool:
    """Return True for a list with the ranks of the names in the same object."""
    beside = [other for other in layout.columns if other[:-1] == path[:-1] and RANK & set(words(other[-1:]))]
    return any(layout.kinds[other] == "numbers" for other in beside)


def _of_annotators(path: Path, values: list[Any], answers: Answers, wanted: bool) -> Label:
    """Return the label of a list with the choice of each annotator, refused under a name for the worse answer."""
    aspects = len(set(words(path)) - NEUTRAL - set(answers.stem))
    if sense(words(path)) < 1 or may_be_second(words(path)):
        return Label((path,), "votes", None, 0, aspects, f"{named(path)} may say which answer is the worse")
    if not wanted and (unknown := strange(words(path), answers.stem)):
        problem = f"{named(path)} names answers, and {' '.join(sorted(set(unknown)))} may mean the worse one"
        return Label((path,), "votes", None, 0, aspects, problem)
    return ballots(path, values, answers, aspects)


def is_known(value: Any) -> TypeGuard[float]:
    """Return True for a number that is neither missing nor NaN nor infinite."""
    return isinstance(value, int | float) and _is_finite(value)


def _is_finite(value: float) -> bool:
    """Return True for a finite number that a float can hold: a larger integer is a missing number."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_whole(value: Any) -> bool:
    """Return True for a list of numbers, of which three or more may lack some: an answer may be absent."""
    if not isinstance(value, list) or not all(isinstance(entry, int | float | None) for entry in value):
        return False
    known = sum(map(is_known, value))
    return known == len(value) or (known > 0 and len(value) > 2)


def _are_places(values: Sequence[Sequence[Any]], count: int) -> bool:
    """Return True for whole numbers that may be places of `count` answers, from 0 or from 1."""
    return all(entry in range(count + 1) for value in values for entry in value if is_known(entry))


def counts_for_answers(values: Sequence[Sequence[Any]], meant: str = "votes", alone: bool = False) -> bool:
    """Return True for lists of numbers that count for the answers, and are no numbers of annotators.

    Annotators who give the place of an answer agree in some row. Numbers for the answers differ and have the same sum
    in every row, such as one for the better answer, or reach beyond the places of two answers and a tie.

    Args:
        alone: True for a single row of a file whose lists count for the answers.
    """
    if meant == "truth":
        return is_one_hot(values) and (alone or len(values) >= FEWEST_ROWS)
    known = [[entry for entry in value if is_known(entry)] for value in values]
    most = max(2, *map(len, known))
    highest = max(entry for value in known for entry in value)
    differ = all(len(set(value)) == len(value) or len(value) > 2 for value in known)
    differ = differ and len({sum(value) for value in known}) == 1
    return alone or highest > most or (differ and len(values) >= FEWEST_ROWS)


def missing_marks(path: Path, numbers: Sequence[float], meant: str = "scores") -> str:
    """Return the reason why numbers are not read: one such as -1 or 99 may mark a missing number; "" for none.

    Args:
        meant: kind of the numbers; numbers of other kinds than scores and ranks have no such mark.
    """
    if meant not in ("scores", "ranks"):
        return ""
    below = {number for number in numbers if number < 0}
    signs = meant == "scores" and set(numbers) <= {-1, 0, 1}
    above = {number for number in numbers if number in MISSING_ABOVE}
    rest = [number for number in numbers if number not in MISSING_ABOVE]
    if len(below) == 1 and below <= MISSING and not signs:
        mark = below.pop()
    elif len(above) == 1 and rest and is_missing(above, span_of(path, rest, meant)):
        mark = above.pop()
    else:
        return ""
    return f"{named(path)} holds {mark:g} among {meant}, which may mark a missing {meant[:-1]}"


def span_of(path: Path, numbers: Sequence[float], meant: str) -> tuple[float, float]:
    """Return the lowest and the highest number of the first rows; counts have no highest number."""
    counts = meant not in ("scores", "ranks") or bool(set(words(path)) & UNBOUNDED)
    return min(numbers, default=0), math.inf if counts else max(numbers, default=math.inf)


def is_missing(numbers: Collection[float], span: tuple[float, float]) -> bool:
    """Return True if a number may mark a missing score or rank, in a file whose first rows have none below 0.

    Args:
        span: lowest and highest number of the first rows.
    """
    lowest, highest = span
    marks = MISSING | MISSING_ABOVE if highest <= WIDEST_SCALE else MISSING
    return lowest >= 0 and any(number in marks for number in numbers)


def numbered(merits: Sequence[float | None]) -> Verdict | None:
    """Return the verdict of a number for each answer; None without any number."""
    if not any(map(is_known, merits)):
        return None
    # The constant itself, and no other NaN: verdicts of two labels are compared.
    return Verdict(tuple(float(merit) if merit is not None and is_known(merit) else math.nan for merit in merits))


def is_one_hot(values: Sequence[Sequence[Any]]) -> bool:
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
    if mixed(said):
        return replace(label, problem=f"{named(path)} has votes in words, and in numbers too: {shown}")
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
                return Unknown(quoted(entry), doubt=meant is not None or not isinstance(entry, str))
            for place in range(len(support)) if side == TIE else [side]:
                support[place] += 1 / len(support) if side == TIE else 1.0
        return Verdict(tuple(support))

    return replace(label, read=read)


def kind_of_numbers(
    parts: Sequence[str], values: Sequence[Any], stem: Collection[str] = (), wanted: bool = False
) -> str:
    """Return the kind of a label with a number for each answer; "" if the name does not say that more is better.

    Args:
        parts: words of the name, without the marks of the answers.
        stem: words of the names of the answers.
        wanted: True if the user called the column the label, which vouches for unknown words.
    """
    told = set(parts)
    truth = all(isinstance(value, bool) or value in (0, 1) for value in values)
    # Of faults, of lengths and of what nobody knows, nothing says that the higher is the better.
    if speaks_against(parts) or (not wanted and (told & MEASURES or strange(parts, stem))):
        return ""
    if told & RANK:
        # A truth value is a number in Python, and no rank.
        if any(isinstance(value, bool) for value in values):
            return ""
        # Of the score of a rank nothing says whether the lowest or the highest is the best.
        return "" if told & SCORE else "ranks"
    if truth and told & (LABEL | CORRECT | SCORE):
        return "truth"
    votes = told & BALLOTS or (told & SHARES and told & LABEL)
    if votes and not told & SCORE and all(value >= 0 for value in values):
        return "votes"
    if not wanted and may_be_marks(told, values):
        return ""
    # A bare count or weight says nothing of the worth.
    return "scores" if wanted or (told & SCORE and not told & (VOTES - BALLOTS - SCORE)) else ""


def may_be_marks(parts: Collection[str], values: Sequence[Any]) -> bool:
    """Return True for numbers from 1 to 6 under the name of a grade alone: of school marks, 1 may be the best."""
    numbers = [number for value in values if (number := number_of(value)) is not None]
    graded = set(parts) & SCORE and set(parts) & SCORE <= SCHOOL
    return bool(graded and numbers) and 1 <= min(numbers) <= max(numbers) <= LAST_MARK


def number_of(value: Any) -> float | None:
    """Return a number, also one written as text; None for anything else."""
    if isinstance(value, bool | int | float):
        return float(value) if _is_finite(value) else None
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    return None
