"""Labels with a column for each answer: scores, ranks, truth values, votes and outcomes."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..rows import Row, quoted
from .labels import DETAILS, Answers, Label, Unknown, Verdict, values_of
from .layout import Family, Layout, Path, at_path, covered, named, words
from .names import ASPECTS, NEUTRAL, VERBS, numbers_unclear, speaks_against, strange
from .orders import is_permutation
from .ratings import (
    CLOSE,
    counts_for_answers,
    is_missing,
    is_one_hot,
    kind_of_numbers,
    missing_marks,
    number_of,
    numbered,
    span_of,
)
from .ties import is_tie, tie_columns
from .words import (
    BALLOTS,
    CORRECT,
    FAULTS,
    LABEL,
    LOSER,
    MEASURES,
    NOT,
    PEOPLE,
    RANK,
    REMARKS,
    SCORE,
    SHARES,
    VOTES,
    is_open,
    sense,
    truth_in,
)

RATING = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/|out of)\s*(\d+(?:\.\d+)?)\s*", re.IGNORECASE)
"""A rating with the end of the scale, such as 4/10."""
WORTHS = {
    **dict.fromkeys(("good", "better", "preferred", "chosen", "winner", "win", "correct", "accepted", "pass"), 1.0),
    **dict.fromkeys(("bad", "worse", "rejected", "loser", "loss", "lose", "wrong", "incorrect", "fail"), 0.0),
}
"""Words about one answer that mean nothing but the better or the worse one."""
SIDES = ("chosen", "rejected")
"""Words for the two answers of a pair of which one is the better by its name."""
DIFFERENCE = {"minus", "diff", "difference", "delta", "gap", "vs", "margin", "advantage"}
"""Words in the name of a difference of the two sides."""
LIKELY = {"p", "prob", "probability", "probabilities"}
"""Words in the name of the probability that one side is the better one."""
COUNT = "count of"
"""First word of what is counted for each side, which says nothing of one side alone."""
COUNTERS = {"n", "num", "number", "count", "counts", "total", "prefer", "prefers", "preferring", "votes", "vote"}
BESIDE_COUNTERS = {"of", "for", "the", "wins", "win", "preferred", *PEOPLE, *(f"{word}s" for word in PEOPLE)}
"""Words in the name of the number of people that prefer one side."""
OF_VOTES = {"win", "wins", "won", "vote", "votes", "preference", "preferred", "prefer", "pref"}
"""Words by which a share is the share of the votes for one side."""
LIKELY_ALONE = LIKELY | {"of", "the", "human", "is", "better", "preferred", "preference", "pref", "correct", "true"}
"""Words in the name of the probability that the better answer by its name is the better one."""
FACTS = CORRECT | ASPECTS | {"ok", "safe", "valid", "acceptable", "better", "best", "label", "labels", "verdict"}
"""Words in the name of what is said of one side alone, such as chosen_is_correct."""
NONE_OF_WORTH = (
    MEASURES | DETAILS | SCORE | RANK | VOTES - {"prob", "probability"} | REMARKS | {"log", "model", "source"}
)
"""Words that make of such a name the name of a measure, which may differ from the judgment."""


def per_side(layout: Layout, family: Family, answers: Answers, wanted: bool = False) -> Label | None:
    """Return the label of columns that hold a number for each side."""
    parts, count = set(family.stem), len(answers.names)
    if len(family.paths) != count or not answers.names or not _same_marks(family, answers):
        return None
    cells = [value for path in family.paths for value in layout.columns[path] if value not in (None, "")]
    worth = _worth(cells)
    values = [worth(value) for value in cells]
    if not values or any(value is None for value in values):
        return None
    # One of two truth values says which side is the worse; of numbers under such a name nothing says the meaning.
    worse = sense(family.stem) == -1
    own = [word for word in family.stem if word not in LOSER] + ["winner"] if worse else family.stem
    meant = kind_of_numbers(own, values, answers.stem, wanted)
    if meant == "ranks" and (worth is not number_of or any(isinstance(value, bool) for value in cells)):
        told = values_of(Counter(map(str, cells)))
        problem = f"{', '.join(map(named, family.paths))} hold no ranks, of which the lowest is the best: {told}"
        return Label(family.paths, "scores", None, 0, problem=problem)
    meant = "" if worse and (meant != "truth" or count > 2) else meant
    ties = tie_columns(layout, set(family.paths), family.stem) if meant == "truth" else ()
    aspects = len(parts - NEUTRAL - CORRECT - set(answers.stem))
    rows = [
        [worth(at_path(row, path)) or 0 for path in family.paths]
        + [float(is_tie(at_path(row, path)) or False) for path in ties]
        for row in layout.rows
    ]
    clear = not speaks_against(family.stem) and not worse and not parts & (MEASURES | VOTES - BALLOTS)
    clear = clear and (wanted or not strange(family.stem, answers.stem))
    if not meant and parts & LABEL and family.kind != "digit" and clear:
        # A number for each side under the name of a label is the share, or the worth, of the side.
        meant = "votes" if all(min(row) >= 0 and abs(sum(row) - 1) < CLOSE for row in rows) else "scores"
    # Numbered columns with the name of a label may as well hold the labels of numbered annotators.
    judges = bool(parts & LABEL) and family.kind == "digit" and meant in ("truth", "") and not is_one_hot(rows)
    judges |= _are_places(family, values) or _of_judges(family)
    # The vote of the first annotator, or the votes for the first answer.
    cells = [[number or 0 for number in row] for row in rows]
    judges |= family.kind == "digit" and "vote" in parts and meant == "votes" and not counts_for_answers(cells)
    if wanted and meant == "scores" and (problem := _may_be_ranks(family, cells, parts)):
        return Label(family.paths, "ranks", None, 0, aspects, problem)
    if not meant or judges:
        problem = numbers_unclear(family.paths, family.stem)
        differ = len({str(row) for row in rows}) > 1 and (
            wanted or not parts & MEASURES or bool((parts & FAULTS) - MEASURES)
        )
        return Label(family.paths, "scores", None, 0 if judges else 2, aspects, problem) if differ else None
    outcome = meant == "truth" and bool(parts & LABEL) and count == 2
    numbers = [value for value in values if value is not None]
    if problem := missing_marks(family.paths[0], numbers, meant):
        return Label(family.paths, "scores", None, 0 if count > 2 else 1, aspects, problem)
    span = span_of(family.paths[0], numbers, meant)

    def read(row: Row) -> Verdict | Unknown | None:
        cells = [at_path(row, path) for path in family.paths]
        found = [worth(value) for value in cells]
        if worth is not number_of and (odd := [one for one in cells if one not in (None, "") and worth(one) is None]):
            return Unknown(quoted(odd[0]), doubt=not isinstance(odd[0], str))
        if any(number is None for number in found) and count <= 2:
            return None
        if any(is_tie(at_path(row, path)) for path in ties):
            return Verdict((0.0,) * count)
        sign = -1.0 if meant == "ranks" or worse else 1.0
        known = [number for number in found if number is not None]
        if is_missing(known, span):
            return Unknown(quoted(known), doubt=True)
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


def _worth(cells: Sequence[Any]) -> Callable[[Any], float | None]:
    """Return the function that reads a cell of one side: a number, a rating such as 4/10, or a word such as good.

    Ratings have one scale in all cells, and of words both kinds are among the cells.
    """
    texts = [cell for cell in cells if isinstance(cell, str)]
    if not texts or len(texts) < len(cells):
        return number_of
    scales = {found[2] if (found := RATING.fullmatch(text)) else "" for text in texts}
    if len(scales) == 1 and (scale := scales.pop()):
        return lambda cell: _of_scale(cell, scale)
    if {_of_word(text) for text in texts} == {0.0, 1.0}:
        return _of_word
    return number_of


def _of_scale(cell: Any, scale: str) -> float | None:
    """Return the number of a rating such as 4/10; None for a rating of another scale, and anything else."""
    found = RATING.fullmatch(cell) if isinstance(cell, str) else None
    return float(found[1]) if found and found[2] == scale and float(found[1]) <= float(scale) else None


def _of_word(cell: Any) -> float | None:
    """Return 1 for a word of praise, and 0 for the opposite; None for anything else."""
    return WORTHS.get(cell.strip().lower()) if isinstance(cell, str) else None


def _are_places(family: Family, values: Sequence[Any]) -> bool:
    """Return True for first_choice, second_choice and the like with whole numbers, which may be places of answers."""
    whole = all(value == int(value) for value in values) and any(value > 1 for value in values)
    bare = all(value in (0, 1) for value in values) and not set(family.stem) & VERBS
    return family.kind == "ordinal" and bool(set(family.stem) & (LABEL | RANK)) and (whole or bare)


def _may_be_ranks(family: Family, rows: Sequence[Sequence[float]], parts: set[str]) -> str:
    """Return the reason why numbers are no scores: every row is a permutation, as ranks are; "" for other numbers."""
    whole, count = [row for row in rows if 0 not in row], len(family.paths)
    if parts & (RANK | SCORE | VOTES) or not whole or not all(is_permutation(row, 1) for row in whole):
        return ""
    shown = ", ".join(map(named, family.paths))
    return f"each row of {shown} is a permutation of 1 to {count}: probably ranks, of which the lowest is the best"


def _of_judges(family: Family) -> bool:
    """Return True for names such as judge_1_score, of which the mark counts the judges."""
    return any(
        one in PEOPLE and other == mark
        for mark, path in zip(family.marks, family.paths, strict=True)
        for one, other in itertools.pairwise(words(path))
    )


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


def worth_of_side(path: Path, value: Any) -> tuple[tuple[str, ...], int, float] | None:
    """Return the name without the side, the side, and the worth from 0 to 1, of what is said of one side of a pair.

    The sides are 0 for chosen and 1 for rejected. The difference of the two sides is said of the first one.
    """
    parts = words(path)
    sides = [SIDES.index(word) for word in parts if word in SIDES]
    rest = tuple(word for word in parts if word not in SIDES)
    told = set(rest)
    if len(sides) == 2 and told & DIFFERENCE and not told & {"token", "tokens", "length", "len", "words", "chars"}:
        number = isinstance(value, int | float) and not isinstance(value, bool) and value
        return (rest, sides[0], float(value > 0)) if number else None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if len(sides) == 1 and number and told & COUNTERS and told <= COUNTERS | BESIDE_COUNTERS:
        return (COUNT, *rest), sides[0], value
    if len(sides) == 1 and number and told & SHARES and told & OF_VOTES and told <= SHARES | OF_VOTES | BESIDE_COUNTERS:
        return (rest, sides[0], float(value)) if 0 <= value <= 1 else None
    if len(sides) != 1 or told & NONE_OF_WORTH or not told & (FACTS | LIKELY):
        return None
    turned = len(told & (NOT | FAULTS)) % 2 == 1
    if told & LIKELY and isinstance(value, int | float) and not isinstance(value, bool):
        return (rest, sides[0], 1.0 - value if turned else float(value)) if 0 <= value <= 1 else None
    word = str(value).strip().lower()
    found = truth_in(value) if isinstance(value, str | bool | int | float) else None
    worth = WORTHS.get(word, None if found is None else float(found))
    return None if worth is None or not told & FACTS else (rest, sides[0], 1.0 - worth if turned else worth)


def names_probability(path: Path) -> bool:
    """Return True for the name of the probability that the better answer is the better one."""
    told = set(words(path[-1:]))
    return bool(told & LIKELY) and told <= LIKELY_ALONE


def worth_alone(path: Path, value: Any) -> float | None:
    """Return the worth from 0 to 1 of the better answer by its name, by a probability or a difference of scores.

    Anything else gives None.
    """
    told = set(words(path[-1:]))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    share = told & SHARES and told & OF_VOTES and told <= SHARES | OF_VOTES
    if share or names_probability(path):
        return float(value) if 0 <= value <= 1 else None
    signed = told & (DIFFERENCE - {"vs"}) and told & SCORE and not told & (MEASURES | set(SIDES))
    return float(value > 0) if signed and value else None


def is_open_fact(path: Path, value: Any) -> bool:
    """Return True for a cell that is neither yes nor no, under a name such as chosen_is_correct."""
    told = set(words(path))
    asks = {"is", "was"} & told and told & FACTS and not told & NONE_OF_WORTH
    return bool(asks) and is_open(value) and str(value).strip().lower() not in WORTHS
