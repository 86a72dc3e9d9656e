"""Columns that may be a label though nobody understands the values: by the name, or by what the values look like.

Beside two answers that the user named, such a column is never passed over: the first answer would count as the better
one in every row. A refusal names such columns, and prints no line that leaves them unread.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .judges import verdicts
from .labels import ABOUT, DETAILS, Answers, Label, side_marks, values_of
from .layout import LONG, MARKS, Layout, Path, covered, named, words
from .names import NEUTRAL
from .words import CORRECT, LABEL, MEASURES, RANK, REMARKS, SCORE, STRENGTH, TIES, VOTES

WORTH = LABEL | SCORE | RANK | VOTES | CORRECT | STRENGTH | TIES | {"p"}
"""Words in the name of a column that judges the answers."""
IDENTITY = {"id", "ids", "uid", "uuid", "key", "hash"}
FEW = 6
"""Most different values of a column that is called a label and must not be left out lightly."""
WIDEST_SCALE = 10
"""Largest number of a scale of whole numbers, such as 1 to 7."""
TWO_NUMBERS = re.compile(r"\(?\s*\d+(\.\d+)?\s*(/|:|-|,|;|\||vs\.?|to)\s*\d+(\.\d+)?\s*\)?", re.IGNORECASE)
"""A number for each answer in one text, such as 4/5."""


def find_suspects(layout: Layout, answers: Answers, used: set[Path]) -> list[Label]:
    """Return the columns that may be labels of the answers and have no reading, those with the name of a label first.

    Args:
        used: columns that hold answers and parts of the prompt.
    """
    found = []
    for path, values in layout.columns.items():
        told = [value for value in values if value is not None and value not in ("", [])]
        counts = Counter(str(value) for value in told)
        if covered(path, used) or len(counts) < 2:
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


def may_judge(path: Path, values: Sequence[Any], answers: Answers) -> bool:
    """Return True for values that may say which answer is better.

    Args:
        values: values of the column, without nulls and empty ones.
    """
    parts = set(words(path))
    about = parts & (ABOUT | MEASURES)
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
    if _speaks_of_both(values, answers):
        return True
    numbers = [value for value in values if isinstance(value, int | float)]
    return len(numbers) == len(values) and (bool(parts & side_marks(answers)) or _on_a_scale(numbers))


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
