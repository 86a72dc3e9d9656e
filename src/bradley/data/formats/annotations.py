"""Annotations: a list of objects in each row, one for each annotator, with a label somewhere inside."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..rows import Row
from .labels import BETTER, Answers, Label, Unknown, Verdict
from .layout import Layout, Path, at_path, covered, named, words
from .names import NEUTRAL
from .orders import order_of
from .ties import is_tie_name, is_true
from .words import GOOD, LABEL, TIE, meaning, sense

ABOUT = {"id", "name", "type", "user", "by", "annotator", "worker", "created", "updated", "time", "status", "project"}
"""Words in the names of an annotation's fields that say nothing about the sides."""
SKIPPED = {"discarded", "draft", "pending", "cancelled", "canceled", "skipped"}
"""Words for the state of an annotation that does not count."""
UNCLEAR = -2
"""Stands for a side that is named in a way that may mean the other side."""


def find_annotations(layout: Layout, answers: Answers, used: set[Path], wanted: Path | None = None) -> list[Label]:
    """Return the labels inside lists of annotations; each annotation is a vote."""
    if not answers.names:
        return []
    found = []
    for path in layout.of_kind("objects"):
        if covered(path, used) or (wanted is not None and path != wanted):
            continue
        lists = [at_path(row, path) or [] for row in layout.rows]
        seen = [votes_of(value, answers) for value in lists if value]
        parts = set(words(path))
        tier = 0 if wanted is not None or parts & LABEL else 2
        aspects = len(parts - NEUTRAL - set(answers.stem))
        if any(seen) and sense(words(path)) < 1:
            problem = f"{named(path)} may say which answer is the worse"
            found.append(Label((path,), "votes", None, tier, aspects, problem))
        elif None in seen and (tier == 0 or any(set(_sides(value, answers)) for value in lists)):
            problem = f"{named(path)} holds annotations in which no side was found"
            found.append(Label((path,), "votes", None, tier, aspects, problem))
        elif any(seen) and None not in seen:
            found.append(Label((path,), "votes", _reader(path, answers), tier, aspects, shown=_shown(path, answers)))
    return found


def _reader(path: Path, answers: Answers) -> Any:
    """Return the function that reads the votes of a row's annotations."""

    def read(row: Row) -> Verdict | Unknown | None:
        entries = at_path(row, path)
        if not isinstance(entries, list) or not entries:
            return None
        votes = votes_of(entries, answers)
        if votes is None:
            return Unknown(f"annotations without a side in {named(path)}")
        if not votes:
            return None
        support = [votes[side] + votes[TIE] / len(answers.names) for side in range(len(answers.names))]
        return Verdict(tuple(support))

    return read


def _shown(path: Path, answers: Answers) -> Any:
    """Return the function that writes the first vote of a row, for counts."""

    def shown(row: Row) -> str:
        votes = votes_of(at_path(row, path) or [], answers)
        if not votes:
            return ""
        most = votes.most_common(1)[0][0]
        return "tie" if most == TIE else named(answers.names[most])

    return shown


def votes_of(entries: list[Any], answers: Answers) -> Counter[int] | None:
    """Count the votes of a list of annotations; None if an annotation that counts has no side or several."""
    votes: Counter[int] = Counter()
    for entry in entries:
        if not isinstance(entry, dict):
            return None
        if entry.get("was_cancelled") is True or str(entry.get("status")).lower() in SKIPPED:
            continue
        sides = set(_sides(entry, answers))
        # Of a tie the annotation may name a side as well, which was chosen by force.
        sides = {TIE} if TIE in sides and UNCLEAR not in sides else sides
        if len(sides) != 1 or UNCLEAR in sides:
            return None
        votes[sides.pop()] += 1
    return votes


def _sides(value: Any, answers: Answers) -> Iterator[int]:
    """Yield the sides that the texts and the ranked names inside an annotation mean, and `UNCLEAR` for a doubt."""
    if isinstance(value, str):
        said = meaning(value, answers.names, answers.marks)
        if said is not None and said.side is not None:
            yield said.side
    elif isinstance(value, dict):
        orders = {key: order_of(inner, value, answers) for key, inner in value.items()}
        if any(isinstance(verdict, Verdict) for verdict in orders.values()):
            for key, verdict in orders.items():
                if isinstance(verdict, Verdict):
                    yield _first(verdict.merits) if sense(words((str(key),))) == 1 else UNCLEAR
        else:
            for key, inner in value.items():
                if not ABOUT & set(words((str(key),))):
                    yield from _of_field(str(key), inner, answers)
    elif isinstance(value, list):
        for inner in value:
            yield from _sides(inner, answers)


def _of_field(key: str, value: Any, answers: Answers) -> Iterator[int]:
    """Yield the sides that a field of an annotation means: of `worse` the other side."""
    parts, meant = set(words((key,))), sense(words((key,)))
    if isinstance(value, bool | int | float):
        if is_tie_name((key,)) and is_true(value) is not None:
            yield from [TIE] if is_true(value) else []
        # A truth value says of the side beside it whether the side is meant, and may turn the meaning round.
        elif (meant < 1 or parts & (BETTER | GOOD)) and value in (0, 1):
            yield UNCLEAR
        return
    sides = list(_sides(value, answers))
    for side in sides:
        if meant == 1 or side == TIE:
            yield side
        elif meant == -1 and len(answers.names) == 2 and side != UNCLEAR:
            yield 1 - side
        else:
            yield UNCLEAR


def _first(merits: tuple[float, ...]) -> int:
    """Return the side with the highest merit, `TIE` for several."""
    return TIE if merits.count(max(merits)) > 1 else merits.index(max(merits))
