"""Places at which the two answers were shown: orders such as AB and BA, sides such as left, and maps of the two.

A label of such a file may name the place of an answer, and not the column of the answer.
"""

from collections.abc import Sequence
from typing import Any

from .layout import LONG, Path, words
from .words import FILLER, LABEL, RANK, REMARKS, SHOWN, TURNED, truth_in

BY_LETTERS = (
    ("ab", "ba"),
    ("a1b2", "a2b1"),
    ("a0b1", "a1b0"),
    ("1a2b", "1b2a"),
    ("1a2b", "2a1b"),
    ("afirst", "bfirst"),
)
"""Two orders in letters and digits alone, under any name: as the columns stand, and reversed."""
BY_NUMBERS = (("12", "21"), ("01", "10"), ("lr", "rl"), ("leftright", "rightleft"), ("firstsecond", "secondfirst"))
"""Two orders under the name of a place alone."""
FIRST = (("1first", "2first"), ("0first", "1first"))
AS_NAMED = {"", "none", "ab", "12", "01", "lr", "false", "0", "no"}
"""Orders in letters and digits alone by which the answers were shown in the order of the columns."""
ARRANGED = {
    *("layout", "arrangement", "arranged", "permutation", "permuted", "perm", "shuffle", "shuffled", "randomized"),
    *("randomised", "randomization", "mapping", "map", "counterbalanced"),
}
"""Words in the name of a column that says how the answers were arranged."""
PLACES = {"left", "right", "top", "bottom"}
"""Words for the place of an answer on a screen."""
OF_PLACES = PLACES | {"a", "b", "1", "2", "on", "is", "was", "at", "the", "side", "shown", "displayed"}
MOST_LISTED = 4
"""Most entries of a list that is an order of two answers."""
MARKS = {"a", "b", "0", "1", "2", "first", *PLACES}
"""Words for one of two answers, or for one of two places."""


def letters_of(value: Any) -> str:
    """Return the letters and digits of a cell with an order, in small letters; of "Response 2 first", 2first."""
    shown = "".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    parts = words((shown,))
    if "first" in parts:
        rest = [word for word in parts if word not in FILLER | SHOWN | {"first"}]
        return f"{rest[0]}first" if len(rest) == 1 and rest[0] in MARKS else ""
    return "".join(filter(str.isalnum, shown.lower()))


def says_order(path: Path, values: Sequence[Any], *, late: bool = False) -> bool:
    """Return True for a column by which the two answers were shown in two orders.

    Args:
        values: filled values of the column.
        late: True for rows after the first ones, of which a single reversed order is enough.
    """
    parts = set(words(path))
    if not values or parts & (REMARKS | LABEL | RANK) - {"choice"}:
        return False
    # A sign such as that of A>B compares answers, and shows no order on a screen.
    if any(isinstance(value, str) and {"<", ">"} & set(value) for value in values):
        return False
    named = bool(parts & (SHOWN | ARRANGED))
    if all(isinstance(value, str) or _lists_marks(value) for value in values) and _in_two_orders(values, named, late):
        return True
    if not all(isinstance(value, str | int | float) and len(str(value)) <= LONG for value in values):
        return False
    return len({str(value) for value in values}) == 2 and _asks_for_place(parts) and _are_places(parts, values)


def _lists_marks(value: Any) -> bool:
    """Return True for a short list of texts and numbers."""
    return isinstance(value, list) and len(value) <= MOST_LISTED and all(isinstance(one, str | int) for one in value)


def _in_two_orders(values: Sequence[Any], named: bool, late: bool) -> bool:
    """Return True for texts or lists that say two orders of the answers."""
    if any(len(str(value)) > LONG for value in values):
        return False
    told = {letters_of(value) for value in values}
    orders = (*BY_LETTERS, *FIRST, *(BY_NUMBERS if named else ()))
    if any(told == set(pair) or (late and told == {pair[1]} and pair in BY_LETTERS) for pair in orders):
        return True
    # Two names in both orders, such as "x,y" and "y,x".
    pairs = {words(("".join(map(str, value)) if isinstance(value, list) else value,)) for value in values}
    return named and any(len(pair) == 2 and pair[0] != pair[1] and pair[::-1] in pairs for pair in pairs)


def _asks_for_place(parts: set[str]) -> bool:
    """Return True for a name that asks where an answer was shown, such as pair_order, a_shown_first and left."""
    if parts & ARRANGED or (parts & PLACES and parts <= OF_PLACES):
        return True
    shown = parts & (SHOWN - TURNED)
    return bool("order" in shown or (shown and parts & MARKS))


def _are_places(parts: set[str], values: Sequence[Any]) -> bool:
    """Return True for truth values, for two places, and for words that name two answers."""
    if all(isinstance(value, int | float) for value in values):
        return set(values) in ({0, 1}, {1, 2})
    texts = {value.strip().lower() for value in values if isinstance(value, str)}
    if len(texts) < 2 or not all(isinstance(value, str) for value in values):
        return False
    if all(truth_in(text) is not None for text in texts):
        return True
    marks = {"".join(word for word in words((text,)) if word not in FILLER) for text in texts}
    # Of names such as left and shown_left, the check of the places that hold an answer speaks.
    return (
        bool(parts & MARKS)
        and not parts <= OF_PLACES
        and marks in ({"a", "b"}, {"0", "1"}, {"1", "2"}, {"left", "right"}, {"first", "second"})
    )
