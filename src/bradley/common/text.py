"""Short texts for people: an error on one line, the nearest known word, an accuracy with its interval."""

from collections.abc import Iterable
from typing import Any

from .secrets import redact

GIB = 2**30


def one_line(error: Exception, most: int = 300) -> str:
    """The message of another library's exception on one line, without secrets, cut at `most` characters."""
    return " ".join(redact(str(error)).split())[:most]


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known word that is spelled most like `word`, for a hint; "" where none is like enough (1 is equal)."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def percent(accuracy: dict[str, Any]) -> str:
    """`71.3 % [68.0, 74.5]`: an accuracy with its 95 % interval, or a dash where no judgment is decided."""
    if accuracy["value"] is None:
        return "-"
    value, low, high = (100 * accuracy[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"
