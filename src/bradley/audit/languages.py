"""Languages by script: the writing system of most letters of a text, from Unicode.

The script is exact for every text with letters, costs nothing, and needs no model. Languages of one script, such as
English and German, are not told apart: guesses of the language of a short prompt are often wrong, and a wrong figure
is worse than a coarse one.
"""

import unicodedata
from collections import Counter
from functools import cache

MOST_CHARACTERS = 2000
"""Most characters of a text that are read."""
NONE = "none"
"""Script of a text without letters."""
NAMES = {"cjk": "Han", "hiragana": "Japanese", "katakana": "Japanese", "hangul": "Korean"}
"""First word of a letter's name in Unicode -> script, where the two differ."""
LEAST_KANA = 0.05
"""Least share of kana among the letters by which a text with Han characters is Japanese."""
SIGNS = frozenset({"modifier", "mathematical", "fullwidth", "halfwidth", "double-struck", "script", "feminine"})
"""First words of the names of letters that belong to no script of their own."""


def script_of(text: str) -> str:
    """Return the script of most letters of a text: `Latin`, `Han`, `Japanese`, `Cyrillic`, ..., or `none`.

    Example:
        script_of("Привет, world")  # "Cyrillic"
    """
    head = text[:MOST_CHARACTERS]
    if head.isascii():
        return "Latin" if any(map(str.isalpha, head)) else NONE
    counts = Counter(map(_script, head))
    counts.pop(NONE, None)
    if not counts:
        return NONE
    if counts["Japanese"] >= LEAST_KANA * counts.total():
        counts["Japanese"] += counts.pop("Han", 0)
    # The first of equally frequent scripts by name, so that the order of the letters is no difference.
    return min(counts, key=lambda script: (-counts[script], script))


@cache
def _script(letter: str) -> str:
    """Script of a character."""
    if not letter.isalpha():
        return NONE
    words = unicodedata.name(letter, "").lower().split()
    first = next((word for word in words if word not in SIGNS), "")
    return NAMES.get(first.partition("-")[0], first.capitalize()) if first else NONE
