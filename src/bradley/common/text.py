"""Short texts for messages: an error on a line, the nearest known word, an accuracy with the confidence interval."""

from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import category

from .secrets import redact

GIB = 2**30
MOST_QUOTED = 100
"""Longest quotation of a given value in a message, in characters."""
LONGEST_GUESSED = 100
"""Longest word with a suggestion, in characters; no known word is nearly as long."""
KEPT = "\n\t\u200c\u200d"
ESCAPED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of Unicode that are escaped on a page: control, format, surrogate, private and unassigned characters."""


def one_line(found: Exception | str, most: int = 300) -> str:
    """Text of another program, or message of an exception, on one line, without secrets, cut to `most` characters."""
    return " ".join(redact(str(found)).split())[:most]


def visible(text: str, keep: str = "") -> str:
    """Escape a text for a terminal, a log line or a page: control and format characters, line breaks, and backslashes.

    The result is a single line: a raw escape sequence of data, arguments or file names could rewrite the user's screen.

    Args:
        keep: characters to leave as they are. A whole message keeps backslashes: its values may be escaped already.

    Example: `visible("a\\x1b[2Jb")` is `a\\\\x1b[2Jb`.
    """
    if text.isprintable() and ("\\" in keep or "\\" not in text):
        return text
    return "".join(
        c if c in keep or (c.isprintable() and c != "\\") else c.encode("unicode_escape").decode() for c in text
    )


def message_line(text: str) -> str:
    """Escape a line of a message, so that the line stays a single one; every line on stderr passes here."""
    return visible(text, keep="\\")


def cut_middle(text: str, most: int = MOST_QUOTED) -> str:
    """Shorten a text to about `most` characters: the middle is left out, with the number of characters left out."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters left out) ... {text[-half:]}"


def quoted(value: Any, most: int = MOST_QUOTED) -> str:
    """Quote a given value in a message: on a single line, between quotation marks, and never long.

    Example: `quoted("x" * 1000, most=4)` is `'x ... (998 characters left out) ... x'`.
    """
    try:
        return visible(cut_middle(repr(value), most), keep="\\")
    # A value nested too deeply, or a number of more digits than Python prints.
    except (RecursionError, ValueError):
        return f"a value of type {type(value).__name__}"


def readable(text: str) -> str:
    """Escape a text of several lines for a page: control and format characters, but no line break, tab or backslash.

    Zero-width joiners stay: some scripts and emoji need the joiners, and joiners move no text. A second call changes
    nothing.
    """
    return "".join(c if c in KEPT or category(c) not in ESCAPED else visible(c) for c in text)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Find the known word most similar in spelling to `word`, for a hint.

    Args:
        cutoff: minimum similarity, from 0 to 1 (equal words).

    Returns:
        The word, or "" if no known word is similar enough.
    """
    # A comparison costs time by both lengths, and a word on the command line may be of any length.
    if len(word) > LONGEST_GUESSED:
        return ""
    # Imported here, because only errors need the module.
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def and_more(names: Sequence[str], shown: int) -> str:
    """Join the first `shown` names, and count the rest: `and_more(["a", "b", "c"], 2)` is `a, b and 1 more`."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def percent_interval(accuracy: dict[str, Any]) -> str:
    """Format an accuracy with the 95 % interval: `71.3 % [68.0, 74.5]`, or a dash if no judgment is decided."""
    if accuracy["value"] is None:
        return "-"
    value, low, high = (100 * accuracy[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"
