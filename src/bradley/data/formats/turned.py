"""Columns that say that the two answers were exchanged, such as `swapped` and `presentation_order`.

The label of such a file may name the answers as they were shown, and not as the columns hold them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .base import FUNCTION, Refused, option
from .labels import values_of
from .layout import LONG, Layout, Path, covered, named, words
from .ties import is_true
from .words import SHOWN, TURNED

ALWAYS = "if the names of the answers hold in every row"
"""Condition for leaving such a column out beside answers that are read by their names."""
AS_COLUMNS = "if the label names the answers as the columns do"
"""Condition for leaving such a column out beside a label."""
ORDERS = ({"ab", "ba"}, {"12", "21"}, {"01", "10"}, {"afirst", "bfirst"}, {"lr", "rl"})
"""Values of such a column in letters and digits alone."""


def check_turned(layout: Layout, used: set[Path], condition: str) -> None:
    """Raise `Refused` for a column that says that the answers of some rows were exchanged.

    Args:
        used: columns that are read.
        condition: words for the case in which the column may be left out.
    """
    for path, column in layout.columns.items():
        values = [value for value in column if value is not None and value not in ("", [])]
        if covered(path, used) or not (_is_turned(path, values) or _is_order(path, values)):
            continue
        shown = values_of(Counter(map(str, values)))
        raise Refused(
            f"{named(path)} may say that the two answers were exchanged: {shown}",
            f"{condition}: {option('ignore', named(path))}; or use {FUNCTION}",
        )


def _is_turned(path: Path, values: Sequence[Any]) -> bool:
    """Return True for truth values of which one is true, under a name such as swapped."""
    short = all(isinstance(value, str | int | float) and len(str(value)) <= LONG for value in values)
    return short and bool(TURNED & set(words(path))) and any(map(is_true, values))


def _is_order(path: Path, values: Sequence[Any]) -> bool:
    """Return True for two orders of the same answers, under a name such as presentation_order."""
    if not SHOWN & set(words(path)) or not values:
        return False
    texts = {"".join(map(str, value)) if isinstance(value, list) else value for value in values}
    if not all(isinstance(text, str) and len(text) <= LONG for text in texts):
        return False
    told = {"".join(sign for sign in text.lower() if sign.isalnum()) for text in texts}
    return len(told) > 1 and any(told <= orders for orders in ORDERS)
