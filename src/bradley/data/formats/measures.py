"""Numbers for the answers: what the numbers measure, numbers that count against an answer, and a second set of numbers.

The highest number is the best only if nothing beside says otherwise. The name of a measure such as perplexity, dislikes
beside likes, and ranks that contradict the scores leave the meaning open.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..rows import Row
from .base import FUNCTION, Refused, option
from .labels import Label, Verdict, values_of
from .layout import LONG, Layout, Path, covered, leaves, marks_of, named, words
from .names import ASPECTS
from .ratings import is_known
from .turned import ASKED, FOR_WORSE, MOST_ASKED
from .words import AGREES, DISAGREES, FAULTS, RANK, SCORE, VOTES

NUMBERS = ("scores", "votes", "ranks")
"""Kinds of labels with a number for each answer."""
MEASURE = ASKED | {"metrics", "measure", "measurement", "unit", "units", "scale", "scoring"}
"""Words in the name of a column that says what a number measures."""
KIND = {"name", "type", "kind", "method"}
"""Words in the name of a column that says what a number measures, beside a word for the number, as in score_type."""
PRAISE = {
    *("like", "likes", "liked", "upvote", "upvotes", "upvoted", "up", "ups", "good", "positive", "pos", "plus"),
    *("reward", "rewards", "bonus", "for", "favor", "favour", "pro", "pros", "yes", "accept", "accepts", "accepted"),
    *("win", "wins", "won", "correct", "right", "pass", "passed", "votes", "vote", "helpful", "safe", *AGREES),
}
BLAME = {
    *("dislike", "dislikes", "disliked", "downvote", "downvotes", "downvoted", "down", "downs", "bad", "negative"),
    *("neg", "minus", "penalty", "penalties", "cost", "costs", "against", "con", "cons", "no", "reject", "rejects"),
    *("rejected", "loss", "losses", "loses", "lost", "incorrect", "wrong", "fail", "fails", "failed", "unhelpful"),
    *("unsafe", *DISAGREES),
}
"""Words for a number that counts for an answer, and for one that counts against the answer."""
COUNTING = {"n", "num", "number", "count", "counts", "total", "of"}
"""Words of such names that do not say for what the number counts."""
FEWEST_AGAINST = 4
"""Fewest pairs of answers told apart by two sets of numbers before the two are compared."""
NOTE = {"note", "notes", "legend", "meaning", "scale", "convention", "direction"}
"""Words in the name of a column with a note about the numbers."""
BEST = re.compile(
    r"(\d+)[\s=:(]*(?:is|means)?\s*(?:the\s+)?best\b|\bbest[\s=:(]*(?:is|means)?\s*(?:the\s+)?(\d+)", re.IGNORECASE
)
DIGITS = re.compile(r"\d+")
LOWEST, HIGHEST = {"lower", "lowest", "smaller", "smallest"}, {"higher", "highest", "larger", "largest", "greater"}
PRAISED, DISPRAISED = {"better", "best", "wins", "good", "preferred"}, {"worse", "worst", "bad", "not"}
"""Words by which the lowest or the highest number is the best."""
Entries = Callable[[Row], list[Any]]
"""Returns the objects of a row that hold the answers."""
Columns = Mapping[Path, Sequence[Any]]


def check_measures(layout: Layout, label: Label, used: set[Path], inside: Columns | None = None) -> None:
    """Raise `Refused` for a column by which the numbers of a label may not mean that the highest is the best.

    Args:
        used: columns that are read.
        inside: columns inside the objects of the answers.
    """
    if label.kind not in NUMBERS:
        return
    read = {*used, *label.paths}
    columns = {path: values for path, values in layout.columns.items() if not covered(path, read)}
    for path, values in (columns | dict(inside or {})).items():
        if speaks_of_scale(path) and any(contradicts(path, value, label.kind) for value in values):
            told = values_of(Counter(value for value in values if isinstance(value, str)))
            said, read_so = ("higher", "lower") if label.kind == "ranks" else ("lower", "higher")
            raise Refused(
                f"{named(path)} may say that {said} numbers are better in {label.name}: {told}",
                f"if {read_so} numbers are better: {option('ignore', named(path))}; or use {FUNCTION}",
            )
    if label.kind not in NUMBERS[:2]:
        return
    own = _counted(label.paths[0])
    against = [path for path, values in (columns | dict(inside or {})).items() if _opposes(path, values, own)]
    if against:
        names = list(map(named, against))
        # Votes for minus against, the share of the votes, and the votes for alone put answers in different orders.
        raise Refused(
            f"{label.name} and {' and '.join(names)} may count for and against an answer",
            f"if {label.name} alone says which answer is better: {option('ignore', *names)}; or use {FUNCTION}",
        )


def names_measure(path: Path) -> bool:
    """Return True for the name of a column that says what the numbers beside measure."""
    last = set(words(path[-1:]))
    return bool(last & MEASURE or (last & KIND and set(words(path)) & (SCORE | RANK | VOTES)))


def speaks_of_scale(path: Path) -> bool:
    """Return True for the name of a measure, and of a note about numbers, such as rank_note and scale."""
    return names_measure(path) or bool(set(words(path[-1:])) & NOTE)


def contradicts(path: Path, value: Any, kind: str) -> bool:
    """Return True for a text by which the numbers of a label are read the wrong way round.

    Args:
        kind: kind of the label; of ranks the lowest is read as the best, and of other numbers the highest.
    """
    if best := best_end(value):
        return best == ("highest" if kind == "ranks" else "lowest")
    return kind != "ranks" and names_measure(path) and is_reversed(value)


def best_end(value: Any) -> str:
    """Return "lowest" or "highest" for a short text that says which number is the best; "" for any other value.

    A number called the best is compared with the other numbers of the text; alone, 0 and 1 begin a scale.
    """
    if not isinstance(value, str) or len(value) > LONG:
        return ""
    if found := BEST.search(value):
        best = float(found[1] or found[2])
        others = [number for number in map(float, DIGITS.findall(value)) if number != best]
        below, above = any(number < best for number in others), any(number > best for number in others)
        if below != above or not others:
            return "lowest" if above or (not others and best <= 1) else "highest"
        return ""
    said = set(words((value,)))
    low, high = bool(said & LOWEST), bool(said & HIGHEST)
    return ("lowest" if low else "highest") if low != high and said & PRAISED and not said & DISPRAISED else ""


def is_reversed(value: Any) -> bool:
    """Return True for the name of a measure of which the lowest number is the best, such as perplexity."""
    return isinstance(value, str) and len(value) <= MOST_ASKED and bool(set(words((value,))) & (FAULTS | FOR_WORSE))


def _counted(path: Path) -> set[str]:
    """Return the words of a name that say for what a number counts, without the marks of the sides."""
    return {word for word in words(path) if not marks_of(word)} - COUNTING


def _opposes(path: Path, values: Sequence[Any], own: set[str]) -> bool:
    """Return True for numbers under the name of a label of which the words for praise are replaced by blame."""
    parts = _counted(path)
    if not parts & BLAME or parts - BLAME - PRAISE != own - PRAISE - BLAME:
        return False
    numbers = [value for value in values if value not in (None, "")]
    return any(numbers) and all(is_known(value) for value in numbers)


def own_path(label: Label) -> Path:
    """Return the path of a label inside objects, without the sign for any object."""
    return tuple(name for name in label.paths[0] if name != "*")


def inside_of(rows: Sequence[Row], entries: Entries | None, before: Path) -> dict[Path, list[Any]]:
    """Return the columns inside the objects of the answers, with all values of the rows.

    Args:
        before: names above the keys of the objects.
    """
    found: dict[Path, list[Any]] = {}
    for row in rows if entries else ():
        for entry in entries(row) if entries else ():
            for key, value in leaves(entry) if isinstance(entry, dict) else ():
                found.setdefault((*before, *key), []).append(value)
    return found


def measures_inside(rows: Sequence[Row], label: Label, entries: Entries | None) -> list[Callable[[Row], None]]:
    """Return the checks that objects of later rows hold no other measure, and no new number against an answer.

    Args:
        rows: first rows, which were checked together.
    """
    if entries is None or label.kind not in NUMBERS or "*" not in label.name:
        return []
    before = label.paths[0][: label.paths[0].index("*")]
    known = {key for row in rows for entry in entries(row) if isinstance(entry, dict) for key in entry}
    named_so = [path[len(before) :] for path in inside_of(rows, entries, before) if speaks_of_scale(path)]
    told: set[Any] = set()

    def check(row: Row) -> None:
        for entry in entries(row):
            if not isinstance(entry, dict):
                continue
            new = entry.keys() - known
            if new or (named_so and _is_new(entry, named_so, told)):
                check_measures(Layout([]), label, set(), inside_of([row], entries, before))

    return [check]


def _is_new(entry: Row, paths: Sequence[Path], told: set[Any]) -> bool:
    """Return True for an object with a measure that no earlier object had."""
    found = {value for path, value in leaves(entry) if path in paths and isinstance(value, str)} - told
    told |= found
    return bool(found)


def check_agreement(rows: Sequence[Row], label: Label, others: Sequence[Label]) -> None:
    """Raise `Refused` for ranks or scores that contradict the numbers of a label wherever both tell answers apart.

    Truth values such as correct, which name the better answers, contradict in no row.

    Args:
        rows: first rows.
        others: other labels of the same answers.
    """
    for other in comparable(label, others):
        told = [agrees for row in rows for agrees in _agreements(label, other, row)]
        outer = "*" not in other.name
        if other.kind == "truth" and outer and False in told:
            raise _contradicted(label, other, "some")
        if other.kind != "truth" and len(told) >= FEWEST_AGAINST and not any(told):
            raise _contradicted(label, other, "all")


def comparable(label: Label, others: Sequence[Label]) -> list[Label]:
    """Return the labels that should order the answers as the numbers of a label do, and name no aspect."""
    found = [other for other in others if other.read and not other.problem and other.kind in (*NUMBERS, "truth")]
    whole = [other for other in found if not set(words(other.paths[0])) & ASPECTS]
    return whole if label.kind in ("scores", "ranks") else []


def _contradicted(label: Label, other: Label, many: str) -> Refused:
    """Return the error for two labels that order the answers differently."""
    lines = [option("ignore", one.name.replace(".*", "")) for one in (other, label)]
    return Refused(
        f"{label.name} and {other.name} say the opposite of {many} pairs of answers",
        f"leave out the wrong one: {lines[0]}, or {lines[1]}; or use {FUNCTION}",
    )


def _agreements(label: Label, other: Label, row: Row) -> Iterator[bool]:
    """Yield for each pair of answers told apart by two labels: True if both prefer the same answer."""
    first, second = label.read and label.read(row), other.read and other.read(row)
    if not isinstance(first, Verdict) or not isinstance(second, Verdict) or len(first.merits) != len(second.merits):
        return
    for one, two in itertools.combinations(zip(first.merits, second.merits, strict=True), 2):
        agreement = (one[0] - two[0]) * (one[1] - two[1])
        # A number that is missing is NaN, and tells no answers apart.
        if agreement > 0 or agreement < 0:
            yield agreement > 0


def truths_agree(label: Label, others: Sequence[Label]) -> list[Callable[[Row], None]]:
    """Return the checks that truth values beside the numbers of a label contradict the numbers in no later row."""
    truths = [other for other in comparable(label, others) if other.kind == "truth" and "*" not in other.name]

    def check(row: Row) -> None:
        for other in truths:
            if not all(_agreements(label, other, row)):
                raise _contradicted(label, other, "some")

    return [check] if truths else []
