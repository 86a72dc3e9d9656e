"""Number of the judged exchange in conversations of several exchanges, such as `turn` 1 and 2 of MT-Bench.

The number counts from 0 or from 1. The first rows decide: a 0 stands for the first exchange, and the number of the last
exchange, counted from 1, for the last.
"""

from collections import Counter
from typing import Any

from ..rows import Row, RowPlace, quoted
from .answers import Given
from .base import FUNCTION, Refused, option
from .layout import Layout, Path, at_path, named, words
from .messages import is_turns, normal
from .turns import Turns

NUMBERED = ({"turn"}, {"turn", "index"}, {"turn", "idx"}, {"turn", "number"}, {"judged", "turn"})
"""Words of the name of a column with the number of the judged exchange."""
MOST_VALUES = 4


def find_turn(layout: Layout, given: Given) -> tuple[Path | None, int]:
    """Return the column with the number of the judged exchange, and the number of the first exchange.

    Returns:
        None and 1 for answers that are no conversations of several exchanges, and for files without such a column.

    Raises:
        Refused: the numbers may count from 0 or from 1, or count no exchanges.
    """
    paths = [path for path in layout.columns if set(words(path[-1:])) in NUMBERED and len(path) == 1]
    if not paths or not all(layout.kinds.get(path) == "turns" for path in given.answers.paths):
        return None, 1
    path = paths[0]
    rows = [(number, _exchanges(given.get(row))) for row in layout.rows if (number := at_path(row, path)) is not None]
    judged = [(whole(number), count, number) for number, count in rows if count > 1]
    if not judged:
        return None, 1
    fits = [first for first in (0, 1) if all(n is not None and first <= n < count + first for n, count, _ in judged)]
    shown = " and ".join(list(Counter(quoted(number, str) for *_, number in judged))[:MOST_VALUES])
    own = f"cut the conversations in a function of your own: {FUNCTION}"
    if not fits:
        hint = f"if the whole conversation is judged: {option('ignore', named(path))}; or {own}"
        raise Refused(f"{named(path)} holds {shown}, which numbers no exchange of the conversations", hint)
    if len(fits) == 2:
        raise Refused(f"{named(path)} holds {shown}, and may count from 0 or from 1", own, undecided=True)
    return path, fits[0]


def whole(number: Any) -> int | None:
    """Return a whole number, also one written as text or with a fraction of 0; None for any other value."""
    if isinstance(number, str) and number.strip().isdecimal() and len(number) < 10:
        return int(number)
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number // 1:
        return None
    return int(number)


def _exchanges(answers: list[Any]) -> int:
    """Count the turns of the assistant in the longest of some conversations."""
    told = [normal(answer) for answer in answers]
    return max((sum(turn.get("role") == "assistant" for turn in turns) for turns in told if is_turns(turns)), default=0)


def until_judged(sides: list[Turns], row: Row, path: Path, first: int, at: RowPlace) -> list[Turns]:
    """Return conversations up to the judged exchange of a row; whole conversations for a row without a number.

    Raises:
        DataError: a number of no exchange.
    """
    value = at_path(row, path)
    longest = max(sum(turn.role == "assistant" for turn in side) for side in sides)
    # A number beside a single exchange says where the exchange stood before, and cuts nothing.
    if value is None or longest < 2:
        return sides
    number = whole(value)
    if number is None or not first <= number < longest + first:
        found = f"{quoted(value)} as {named(path)}"
        raise at.fault(found, f"a number from {first} to {longest + first - 1}, as the first rows count")
    return [until_exchange(side, number - first + 1) for side in sides]


def until_exchange(side: Turns, number: int) -> Turns:
    """Return a conversation up to the assistant's turn of this number, from 1."""
    places = [place for place, turn in enumerate(side) if turn.role == "assistant"]
    return side[: places[number - 1] + 1] if 0 < number <= len(places) else side
