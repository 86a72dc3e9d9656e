"""Columns that may be a label though nobody understands the values: by the name, or by what the values look like.

Beside two answers that the user named, such a column is never passed over: the first answer would count as the better
one in every row. A refusal names such columns, and prints no line that leaves them unread.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .judges import verdicts
from .labels import ABOUT, DETAILS, Answers, Label, said_of, side_marks, values_of
from .layout import LONG, MARKS, Layout, Path, covered, named, words
from .names import NEUTRAL
from .words import CORRECT, LABEL, MEASURES, RANK, REMARKS, SCORE, STRENGTH, TIES, VOTES

WORTH = LABEL | SCORE | RANK | VOTES | CORRECT | STRENGTH | TIES | {"p"}
"""Words in the name of a column that judges the answers."""
ROWS = {
    *("split", "fold", "subset", "set", "batch", "version", "round", "source", "sources", "dataset", "datasets"),
    *("category", "categories", "domain", "topic", "topics", "subject", "genre", "language", "lang", "locale"),
    *("country", "region", "difficulty", "level", "turn", "type", "kind", "task", "tasks", "section", "field", "theme"),
    *("model", "models", "author", "authors", "name", "names", "bot", "engine", "generator", "provider", "checkpoint"),
    *("license", "licence", "url", "link", "website", "site", "file", "path", "date", "day", "month", "year"),
    *("created", "timestamp", "intent", "style", "tone", "format", "persona", "gender", "age", "education", "device"),
    *("annotator", "annotators", "worker", "workers", "rater", "labeler", "labeller", "judge", "reviewer", "evaluator"),
    *("user", "project", "campaign", "experiment", "template", "tag", "tags", "origin", "origins", "script", "code"),
    *("skill", "skills", "status", "state", "mode", "method", "policy", "temperature", "corpus", "collection", "unit"),
    *("title", "modality", "hash", "group", "class", "cluster", "cohort", "stage", "phase", "part"),
}
"""Words in the name of a column that describes the rows, or says where the rows come from."""
OPPOSED = {
    *("win", "wins", "won", "loss", "loses", "lost", "w", "l", "good", "bad", "better", "worse", "top", "bottom"),
    *("ours", "baseline", "yes", "no", "true", "false", "1st", "2nd", "i", "ii", "up", "down", "positive", "negative"),
    *("pass", "fail", "keep", "replace", "right", "wrong", "correct", "incorrect", "+1", "-1", "accept", "reject"),
    *("tie", "draw", "same", "chosen", "rejected", "+", "-", "<", ">", "1", "2", "0"),
}
"""Words and signs for one of two answers, which are no names of persons, models or places."""
MOST_SHORT = 40
"""Most characters of a value that may be a word for an answer."""
IDENTITY = {"id", "ids", "uid", "uuid", "key", "hash"}
MOST_WORDS = 4
"""Most different words of a column that may be a label under any name."""
FEW = 6
"""Most different values of a column that is called a label and must not be left out lightly."""
WIDEST_SCALE = 10
"""Largest number of a scale of whole numbers, such as 1 to 7."""
TWO_NUMBERS = re.compile(r"\(?\s*\d+(\.\d+)?\s*(/|:|-|,|;|\||vs\.?|to)\s*\d+(\.\d+)?\s*\)?", re.IGNORECASE)
"""A number for each answer in one text, such as 4/5."""


def find_suspects(
    layout: Layout, answers: Answers, used: set[Path], marks: bool = False, before: Layout | None = None
) -> list[Label]:
    """Return the columns that may be labels of the answers and have no reading, those with the name of a label first.

    Args:
        used: columns that hold answers and parts of the prompt.
        marks: True to return columns with one value in some rows, which may mark these rows.
        before: first rows, if the rows are later ones.
    """
    found = _mirrored(layout, answers, used)
    mirrored = {path for label in found for path in label.paths}
    for path, values in layout.columns.items():
        told = [value for value in values if value is not None and value not in ("", [])]
        counts = Counter(str(value) for value in told)
        if covered(path, used) or path in mirrored:
            continue
        late = before is not None and not any(value not in (None, "", []) for value in before.columns.get(path, ()))
        if marks and len(counts) == 1 and (late or len(told) < len(values)) and _may_mark(path, told[0]):
            problem = f"{named(path)} marks some rows, and may say that another answer is better: {values_of(counts)}"
            found.append(Label((path,), "choice", None, 2, 0, problem))
        if len(counts) < 2:
            continue
        if ends := verdicts(told):
            problem = f"{named(path)} holds texts that end in a verdict: {values_of(ends)}"
            found.append(Label((path,), "choice", None, 0, 0, problem))
            continue
        if not may_judge(path, told, answers):
            continue
        problem = f"{named(path)} may be a label: {values_of(counts)}"
        aspects = len(set(words(path)) - NEUTRAL - set(answers.stem))
        # Few values under the name of a label are a label; many values may as well be reference answers.
        tier = 0 if set(words(path)) & LABEL and len(counts) <= FEW else 2
        found.append(Label((path,), "choice", None, tier, aspects, problem))
    return sorted(found, key=lambda label: label.tier)


def _may_mark(path: Path, value: Any) -> bool:
    """Return True for a short value under a name that describes no rows, no work of annotators and no remark."""
    about = ROWS | IDENTITY | ABOUT | MEASURES | DETAILS
    remarks = isinstance(value, str) and bool(REMARKS & set(words(path))) and len(value.split()) > 1
    short = isinstance(value, str | bool | int | float) and len(str(value)) <= MOST_SHORT
    return short and not remarks and not set(words(path)) & about


def may_judge(path: Path, values: Sequence[Any], answers: Answers) -> bool:
    """Return True for values that may say which answer is better.

    Args:
        values: values of the column, without nulls and empty ones.
    """
    parts = set(words(path))
    about = parts & (ABOUT | MEASURES) and not _opposed(values)
    pairs = all(isinstance(value, str) and TWO_NUMBERS.fullmatch(value.strip()) for value in values)
    remarks = parts & REMARKS and any(isinstance(value, str) for value in values) and not pairs
    if remarks or parts & DETAILS or (parts & IDENTITY and len(set(map(str, values))) == len(values)):
        return False
    if any(isinstance(value, str) and len(value) > LONG for value in values):
        return False
    if (parts & WORTH) - side_marks(answers) and not (about and not parts & LABEL):
        return True
    if about or pairs:
        return pairs
    if _speaks_of_both(values, answers) or _few_words(parts, values) or _lists_sides(values, answers):
        return True
    numbers = [value for value in values if isinstance(value, int | float)]
    return len(numbers) == len(values) and (bool(parts & side_marks(answers)) or _on_a_scale(numbers))


def _mirrored(layout: Layout, answers: Answers, used: set[Path]) -> list[Label]:
    """Return the columns of either side with short values that differ, under names that describe no rows."""
    found = []
    for family in layout.families:
        cells = [[layout.columns[path][n] for path in family.paths] for n in range(len(layout.rows))]
        told = [row for row in cells if None not in row and "" not in row]
        parts = set(family.stem)
        if len(family.paths) != 2 or any(covered(path, used) for path in family.paths) or not told:
            continue
        marks = {*answers.marks, "a", "0", "1", "left", "first", "one", "alpha"}
        flat = [cell for row in told for cell in row]
        short = all(isinstance(cell, str | int | float) and len(str(cell)) <= MOST_SHORT for cell in flat)
        if family.marks[0] not in marks or not short or all(first == second for first, second in told):
            continue
        count = parts and parts <= {"n", "num", "count", "counts", "number"}
        if not count and parts & (ROWS | ABOUT | MEASURES | DETAILS | REMARKS | IDENTITY):
            continue
        shown = values_of(Counter(f"{first} and {second}" for first, second in told))
        problem = f"{' and '.join(map(named, family.paths))} may be a label: {shown}"
        tier = 0 if parts & LABEL else 2
        found.append(Label(family.paths, "choice", None, tier, 0, problem))
    return found


def _opposed(values: Sequence[Any]) -> bool:
    """Return True for words of which every one means one of two answers, or a tie."""
    texts = {value.strip().lower() for value in values if isinstance(value, str)}
    return len(texts) > 1 and texts <= OPPOSED - {"1", "2", "0"}


def _few_words(parts: set[str], values: Sequence[Any]) -> bool:
    """Return True for a few repeated words or truth values, in any writing, under a name that describes no rows."""
    different = {str(value).strip().lower() for value in values}
    texts = all(isinstance(value, str | bool) and len(str(value)) <= MOST_SHORT for value in values)
    repeats = len(different) < len(values) or len(values) < FEW // 2
    if not texts or not 2 <= len(different) <= MOST_WORDS or not repeats:
        return False
    return not parts & (ROWS | IDENTITY) or _opposed(values)


def _lists_sides(values: Sequence[Any], answers: Answers) -> bool:
    """Return True for lists of words of which every one names a side, one of each annotator."""
    entries = [entry for value in values if isinstance(value, list) for entry in value]
    if not entries or not all(isinstance(value, list) for value in values):
        return False
    said = [said_of(entry, answers) if isinstance(entry, str) else None for entry in entries]
    return all(meant is not None and meant.side is not None for meant in said)


def _speaks_of_both(values: Sequence[Any], answers: Answers) -> bool:
    """Return True for a few repeated short texts, in any language, of which some name one side and some the other."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or not 2 <= len(set(texts)) <= FEW or len(set(texts)) == len(texts):
        return False
    pairs = [answers.marks[:2], ("a", "b"), ("1", "2"), *(order[:2] for order in MARKS.values())]
    marks = {mark for pair in pairs for mark in pair}
    said = [_marks_in(text, marks) for text in set(texts)]
    return any(
        all(any(mark in each and other not in each for each in said) for mark, other in (pair, pair[::-1]))
        for pair in pairs
        if len(pair) == 2
    )


def _marks_in(text: str, marks: set[str]) -> set[str]:
    """Return the marks that stand alone in a text; other writing has no blanks between a word and a mark."""
    return {mark for mark in marks if re.search(rf"(?<![a-z0-9]){re.escape(mark)}(?![a-z0-9])", text.lower())}


def _on_a_scale(numbers: Sequence[float]) -> bool:
    """Return True for repeated whole numbers of a short scale, for shares, and for numbers on both sides of zero."""
    repeats = len(set(numbers)) < len(numbers) or len(numbers) < 3
    whole = all(value == int(value) for value in numbers if abs(value) <= WIDEST_SCALE)
    small = max(map(abs, numbers)) <= WIDEST_SCALE
    return (repeats and whole and small) or (min(numbers) >= 0 and max(numbers) <= 1) or min(numbers) < 0 < max(numbers)
