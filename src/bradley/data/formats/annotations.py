"""Annotations: a list of objects in each row, one for each annotator, with a label somewhere inside."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..rows import Row
from .labels import BETTER, Answers, Label, Unknown, Verdict, side_marks
from .layout import WORD, Layout, Path, at_path, covered, named, words
from .names import NEUTRAL, names_judge, speaks_against, strange, unclear
from .orders import order_of
from .places import AS_NAMED, letters_of
from .ties import is_tie, is_tie_name
from .turned import IN, MOST_ASKED, OUT, is_open_flag, left_out, truth_of
from .words import AGREES, DISAGREES, GOOD, LABEL, LOSER, ORDER, RANK, REMARKS, SHOWN, TIE, meaning, sense

ABOUT = {"id", "name", "type", "user", "by", "annotator", "worker", "created", "updated", "time", "status", "project"}
"""Words in the names of an annotation's fields that say nothing about the sides."""
SECONDS = AGREES | {"correct", "right"}
"""Words of somebody who agrees with the choice of another annotator."""
DEEPEST_FIELD = 40
"""Most levels of an annotation that are looked at."""
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
        by = annotator_key(lists)
        seen = [votes_of(value, answers, by) for value in lists if value]
        parts = set(words(path))
        tier = 0 if wanted is not None or parts & LABEL else 2
        aspects = len(parts - NEUTRAL - set(answers.stem))
        if any(seen) and (sense(words(path)) < 1 or strange(words(path), answers.stem)):
            problem = f"{named(path)} may say which answer is the worse"
            found.append(Label((path,), "votes", None, tier, aspects, problem))
        elif None in seen and (tier == 0 or any(set(_sides(value, answers)) for value in lists)):
            problem = f"{named(path)} holds annotations in which no side was found{_or_two(by)}"
            found.append(Label((path,), "votes", None, tier, aspects, problem))
        elif any(seen) and None not in seen:
            read, shown = _reader(path, answers, by), _shown(path, answers, by)
            found.append(Label((path,), "votes", read, tier, aspects, shown=shown))
    return found


def annotator_key(lists: Sequence[Any]) -> str:
    """Return the key that names the annotator of an annotation; "" for none.

    A key with a single value for all annotations of most rows, such as a team, names no annotator.
    """
    rows = [[entry for entry in value if isinstance(entry, dict)] for value in lists if isinstance(value, list)]
    for key in dict.fromkeys(key for row in rows for entry in row for key in entry if names_judge(str(key))):
        told = [[entry[key] for entry in row if isinstance(entry.get(key), str | int)] for row in rows]
        several = [values for values in told if len(values) > 1]
        if 2 * sum(len(set(values)) > 1 for values in several) > len(several):
            return str(key)
    return ""


def _or_two(by: str) -> str:
    """Write the other reason why annotations are not read: two of one annotator that differ."""
    return f", or two of one {by} that differ" if by else ""


def _reader(path: Path, answers: Answers, by: str) -> Any:
    """Return the function that reads the votes of a row's annotations."""

    def read(row: Row) -> Verdict | Unknown | None:
        entries = at_path(row, path)
        if not isinstance(entries, list) or not entries:
            return None
        votes = votes_of(entries, answers, by)
        if votes is None:
            return Unknown(f"annotations without a side{_or_two(by)} in {named(path)}")
        if not votes:
            return None
        support = [votes[side] + votes[TIE] / len(answers.names) for side in range(len(answers.names))]
        return Verdict(tuple(support))

    return read


def _shown(path: Path, answers: Answers, by: str) -> Any:
    """Return the function that writes the first vote of a row, for counts."""

    def shown(row: Row) -> str:
        votes = votes_of(at_path(row, path) or [], answers, by)
        if not votes:
            return ""
        most = votes.most_common(1)[0][0]
        return "tie" if most == TIE else named(answers.names[most])

    return shown


def votes_of(entries: list[Any], answers: Answers, by: str = "") -> Counter[int] | None:
    """Count the votes of a list of annotations; None if an annotation that counts has no side or several.

    Args:
        by: key that names the annotator, of whom a second equal vote is a repeat, and another one gives None.
    """
    votes: Counter[int] = Counter()
    told: dict[Any, int] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            return None
        if _left_out(entry):
            continue
        sides = set(_sides(entry, answers))
        # Of a tie the annotation may name a side as well, which was chosen by force.
        sides = {TIE} if TIE in sides and UNCLEAR not in sides else sides
        if len(sides) != 1 or UNCLEAR in sides:
            return None
        side, person = sides.pop(), entry.get(by) if by else None
        if not isinstance(person, str | int):
            votes[side] += 1
        elif told.setdefault(person, side) != side:
            return None
    votes.update(told.values())
    return votes


def _left_out(entry: Row) -> bool:
    """Return True for an annotation that is marked as one that does not count."""
    return any(left_out((str(key),), value) for key, value in entry.items())


def _sides(value: Any, answers: Answers, depth: int = 0) -> Iterator[int]:
    """Yield the sides that the texts and the ranked names inside an annotation mean, and `UNCLEAR` for a doubt."""
    if depth > DEEPEST_FIELD:
        yield UNCLEAR
    elif isinstance(value, str):
        said = meaning(value, answers.names, answers.marks)
        if said is not None and said.side is not None:
            yield said.side
    elif isinstance(value, dict):
        yield from _of_object(value, answers, depth)
    elif isinstance(value, list):
        for inner in value:
            yield from _sides(inner, answers, depth + 1)


def _of_object(value: Row, answers: Answers, depth: int) -> Iterator[int]:
    """Yield the sides that the fields of an object mean; a question for the worse answer puts all in doubt."""
    if any(_asks_for_the_worse(str(key), inner, answers) for key, inner in value.items()):
        yield UNCLEAR
    ranks = any(RANK & set(words((str(key),))) and isinstance(inner, list) for key, inner in value.items())
    ordered = False
    for key, inner in value.items():
        parts = set(words((str(key),)))
        # Two names without ranks are an order only under the name of one: both may be chosen.
        clear = ranks or parts & (RANK | ORDER | {"value", "to"}) - SHOWN or len(answers.names) > 2
        verdict = order_of(inner, value, answers) if clear and not parts & SHOWN else None
        if isinstance(verdict, Verdict):
            ordered = True
            yield UNCLEAR if _unclear(str(key), answers) or sense(words((str(key),))) < 1 else _first(verdict.merits)
    for key, inner in value.items():
        if not ordered and not ABOUT & set(words((str(key),))):
            yield from _of_field(str(key), inner, answers, depth)


def _asks_for_the_worse(key: str, value: Any, answers: Answers) -> bool:
    """Return True for a text such as a question or a name of a task with a word for the worse answer."""
    if not isinstance(value, str) or REMARKS & set(words((key,))) or not 1 < len(value) <= MOST_ASKED:
        return False
    parts = tuple(word.lower() for word in WORD.findall(value))
    if not set(parts) & LOSER and not speaks_against(parts):
        return False
    return meaning(value, answers.names, answers.marks) is None


def _unclear(key: str, answers: Answers) -> bool:
    """Return True for the name of a field that may mean anything but the better or the worse answer."""
    return bool(unclear((key,), answers.stem, side_marks(answers), wanted=False))


def _of_field(key: str, value: Any, answers: Answers, depth: int) -> Iterator[int]:
    """Yield the sides that a field of an annotation means: of `worse` the other side."""
    parts, meant, truth = set(words((key,))), sense(words((key,))), truth_of(value)
    if parts & SHOWN and not parts & RANK:
        # Shown in another order, the side that is named may be the other one.
        yield from [] if letters_of(value) in AS_NAMED or truth is False else [UNCLEAR]
        return
    if is_open_flag((key,), value):
        yield UNCLEAR
        return
    if truth is not None and parts & (OUT | IN | SECONDS | DISAGREES):
        against = bool(parts & (OUT | DISAGREES))
        yield from [UNCLEAR] if truth == against else []
        return
    if isinstance(value, bool | int | float):
        if is_tie_name((key,)) and is_tie(value) is not None:
            yield from [TIE] if is_tie(value) else []
        # A truth value says of the side beside it whether the side is meant, and may turn the meaning round.
        elif (meant < 1 or parts & (BETTER | GOOD)) and value in (0, 1):
            yield UNCLEAR
        return
    if parts & REMARKS:
        return
    sides = list(_sides(value, answers, depth + 1))
    doubt = bool(sides) and _unclear(key, answers)
    for side in sides:
        if side == UNCLEAR or (doubt and side != TIE):
            yield UNCLEAR
        elif meant == 1 or side == TIE:
            yield side
        elif meant == -1 and len(answers.names) == 2:
            yield 1 - side
        else:
            yield UNCLEAR


def _first(merits: tuple[float, ...]) -> int:
    """Return the side with the highest merit, `TIE` for several."""
    return TIE if merits.count(max(merits)) > 1 else merits.index(max(merits))
