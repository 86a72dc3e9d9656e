"""Words of a judge: a verdict at the end of a long text, and a short remark that prefers one of two answers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..rows import quoted
from .labels import Answers, said_of, values_of
from .layout import LONG, words
from .words import AGAINST, FAULTS, NOT, TURNS

UNCLEAR = -2
"""Stands for a side that is named in a way that may mean the other side."""
VERDICT = re.compile(r"\[\[\s*(A|B|C|\d|tie)[^\]\[]{0,20}\]\]\W{0,5}\Z", re.IGNORECASE)
"""A verdict at the end of the text of a judge, such as [[A]]."""
TURNING = FAULTS | NOT | AGAINST | TURNS
"""Words by which a remark may mean the other answer."""
THING = r"(?:response|answer|assistant|model|option|output|completion|summary|candidate|choice|reply|text|one)"
PREFERS = re.compile(
    r"\b(?:prefer\w*|better|best|superior|wins?|won|winner|winning|favou?r\w*|choose|chose|pick\w*|select\w*"
    r"|like|think|say|take|go|vote|worse|worst|reject\w*)\b",
    re.IGNORECASE,
)
"""Words of somebody who prefers one of several answers, or calls one the worse."""
SPOKEN = re.compile(
    # A letter is a side behind a word for an answer, or as a word of its own that no noun follows: "A" begins phrases.
    rf"\b(?i:{THING})\s+(?:number\s+|no\.\s*|#)?(?P<after>(?i:[a-b]|[1-2]|one|two))\b"
    r"|(?<![\w'])(?P<letter>B|A(?=\s*(?:$|[.,;:!?)>]|is\b|was\b|wins?\b|won\b|over\b|than\b|because\b|since\b|as\b)))\b"
    rf"|\b(?P<order>(?i:first|second|former|latter))(?:\s+{THING}|\s*(?:$|[.,;:!?)]|is\b|was\b|wins?\b|won\b))"
    r"|\b(?P<place>(?i:left|right))\s*(?:$|[.,;:!?)]|is\b|was\b|wins?\b|won\b)",
)
"""A side named in the middle of other words."""
NEGATED = re.compile(r"n['\u2019]t\b")
FIRST = {"a", "1", "one", "first", "former", "left"}
"""Words for the first of two answers; the others of `SPOKEN` mean the second."""


def verdict_in(text: str, answers: Answers) -> int | None:
    """Return the place of the answer that a long text calls the better one at its end, or `TIE`; None without one."""
    found = VERDICT.search(text[-LONG:]) if len(text) > LONG and "]]" in text[-LONG:] else None
    if found is None:
        return None
    said = said_of(found[1], answers)
    if said is None or (said.side is None and not said.digit):
        return None
    return said.side if said.side is not None else (said.digit or 0) - 1


def verdicts(values: Sequence[Any]) -> Counter[str]:
    """Count the verdicts at the end of texts; nothing unless every text is longer than a label, and ends in one."""
    texts = [value for value in values if isinstance(value, str) and len(value) > LONG]
    found = [match[0].strip() for text in texts if (match := VERDICT.search(text[-LONG:]))]
    return Counter(found) if found and len(found) == len(values) and len(set(found)) > 1 else Counter()


def ignored_verdicts(columns: Mapping[str, Sequence[Any]]) -> str:
    """Say which columns left out on purpose hold texts that end in a verdict; "" for none."""
    found = [(name, verdicts(values)) for name, values in columns.items()]
    told = [f"{quoted(name, str)} ({values_of(counts)})" for name, counts in found if counts]
    return f"left out, and ends in verdicts of a judge: {', '.join(told)}" if told else ""


def spoken_side(text: str, answers: Answers) -> int | None:
    """Return the place of the one answer that a short remark prefers, such as "I prefer B"; None for other words.

    A remark that names both answers, or has a word that may turn the meaning round, is `UNCLEAR`.
    """
    if not PREFERS.search(text):
        return None
    sides = set()
    for found in SPOKEN.finditer(text[:1].upper() + text[1:]):
        word = next(word for word in found.groups() if word).lower()
        said = said_of(word, answers) if len(word) == 1 and not word.isdecimal() else None
        sides.add(said.side if said and said.side in (0, 1) else int(word not in FIRST))
    if not sides:
        return None
    if len(sides) > 1 or set(words((text,))) & TURNING or NEGATED.search(text):
        return UNCLEAR
    return sides.pop()
