"""Earlier turns in columns of their own, numbered in order: user_1, assistant_1, user_2."""

import re
from collections.abc import Iterable

from .layout import Layout, Path, marks_of, words
from .messages import SPEAKERS

SPOKEN_BY = {**SPEAKERS, "ai": "assistant", "query": "user", "question": "user", "reply": "assistant"}
"""Word in the name of a numbered turn -> the role."""
BESIDE = {"turn", "message", "msg", "text", "content", "utterance"}
"""Words in the name of a numbered turn that say nothing of the speaker."""

MODEL = re.compile(r"(?:chat)?gpt[-_]?[345]", re.IGNORECASE)
"""Names such as gpt4, which are no turns."""


def numbered_turn(name: str) -> tuple[str, int] | None:
    """Return the role and the number in the name of a numbered turn; None for other names, `turn_1` included."""
    parts = words((name,))
    numbers = [number for word in parts for kind, number in marks_of(word) if kind == "digit"]
    said = [SPOKEN_BY[word] for word in parts if word in SPOKEN_BY and word not in BESIDE]
    if len(numbers) != 1 or len(said) != 1 or said[0] not in ("user", "assistant"):
        return None
    # A model has the name of a speaker, and a number of its own.
    if MODEL.fullmatch(name):
        return None
    rest = [word for word in parts if word not in SPOKEN_BY and word not in BESIDE and not word.isdecimal()]
    return None if rest else (said[0], numbers[0])


def is_numbered(name: str) -> bool:
    """Return True for the name of a numbered turn, with a speaker or without, such as turn_2."""
    if numbered_turn(name) is not None:
        return True
    parts = words((name,))
    return len(parts) == 2 and parts[0] in {"turn", "message", "msg", "utterance"} and parts[1].isdecimal()


def find_numbered(layout: Layout, free: Iterable[Path]) -> tuple[tuple[str, Path], ...]:
    """Return role and column of turns that are numbered throughout; none unless user and assistant take turns.

    The first turn is the user's. Each number stands for one exchange, or for one turn.
    """
    found: dict[tuple[int, int], tuple[str, Path]] = {}
    for path in free:
        turn = numbered_turn(path[0]) if len(path) == 1 and layout.kinds[path] == "text" else None
        if turn is None:
            continue
        place = (turn[1], int(turn[0] == "assistant"))
        if place in found:
            return ()
        found[place] = (turn[0], path)
    order = tuple(found[place] for place in sorted(found))
    roles = [role for role, _ in order]
    wanted = ["user" if place % 2 == 0 else "assistant" for place in range(len(order))]
    numbers = sorted({number for number, _ in found})
    follows = numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else False
    return order if len(order) > 1 and roles == wanted and follows else ()


def only_turns(layout: Layout, paths: Iterable[Path]) -> bool:
    """Return True for columns that are all earlier turns of one conversation, and so no answers to compare."""
    return set(paths) <= {path for _, path in find_numbered(layout, layout.columns)}
