"""Texts of a row, and the texts of a comparison that the model reads.

A text that a single answer quotes is unread, because the other answers are judged without the text.
"""

import json
from typing import Any

from ...records import Comparison
from ..rows import Foreign
from .instructions import is_attached
from .layout import LONG, Path
from .messages import BESIDE, CALLS, WHAT, is_message, is_told
from .parts import may_be_part, named_part
from .repeats import LONGEST_CHOICE, compares, stands, stands_apart, strings

FEWEST_BLANKS = 5
"""Fewest blanks of a long text that is free text, and no address, hash or key."""


class Told:
    """Texts of a comparison that the model reads."""

    def __init__(self, result: Comparison) -> None:
        self.asked = [turn.content for turn in result.prompt if turn.role != "system"]
        self.prompt = "\n".join(turn.content for turn in result.prompt)
        self.answers = [response.text for response in result.responses]
        self.turns = {turn.content.strip() for response in result.responses for turn in response.messages}
        self.turns.update(answer.strip() for answer in self.answers)

    def holds(self, names: Path, value: Any) -> bool:
        """Return True if the model reads every text of a column, whichever answer is judged.

        Args:
            names: names above the value.
        """
        if isinstance(value, Foreign):
            return False
        # Turns may end with an answer, and repeat the conversation.
        part = named_part(names) and not are_turns(value)
        # A text called context that equals one answer is still no context for the other.
        as_answer = not (isinstance(value, str) and may_be_part(names[-1]))
        # An answer may look like a list of texts, and be read as the text that the answer is.
        if isinstance(value, str) and self._holds(value.strip(), part, as_answer):
            return True
        return all(self._holds(text.strip(), part, as_answer) for text in strings(value))

    def quoted(self, text: str) -> bool:
        """Return True for a text that stands in an answer."""
        return any(stands(text.strip(), answer) for answer in self.answers)

    def _holds(self, text: str, part: bool, as_answer: bool) -> bool:
        """Return True for a text in the prompt or in every answer, or for an answer itself if `as_answer`."""
        holds = stands_apart if part else stands  # No word of a question is a context.
        return (
            holds(text, self.prompt)
            or (as_answer and text in self.turns)
            or all(holds(text, answer) for answer in self.answers)
        )


def kind_of(value: Any) -> str:
    """Name the kind of a value that is not read."""
    if isinstance(value, str):
        return "text"
    return "messages" if are_turns(value) else "list" if isinstance(value, list) else "object"


def are_turns(value: Any) -> bool:
    """Return True for a list that begins with a message or holds pairs with speakers, and for a message."""
    return is_told(value) or is_turn(value[0] if isinstance(value, list) and value else value)


def is_turn(value: Any) -> bool:
    """Return True for a message with words or calls; a role alone may as well be an instruction."""
    return is_message(value) and any(value.get(name) is not None for name in (*WHAT, *BESIDE))


def are_attached(key: str, value: Any) -> bool:
    """Return True for calls of functions, and for a list of attachments, by paths, addresses or objects."""
    listed = isinstance(value, list) and any(entry not in (None, "", {}) for entry in value)
    return bool(value) if key in CALLS else listed and is_attached(key)


def is_filled(value: Any) -> bool:
    """Return True for a text that is not blank, for a value without a JSON form, and for a list with one of these."""
    if isinstance(value, list):
        return any(map(is_filled, value))
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, Foreign)


def held_in(text: str) -> Any:
    """Return the list or object that a text holds as JSON; None for any other text."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return value if isinstance(value := json.loads(text), list | dict) else None
    except (ValueError, RecursionError):
        return None


def repeats_answers(value: Any, told: Told) -> bool:
    """Return True for a text or a conversation that repeats every answer, such as the prompt of a judge."""
    if isinstance(value, str):
        return _all_stand(value, told) or compares(value, told.asked, told.answers)
    return are_turns(value) and any(compares(text, told.asked, told.answers) for text in strings(value))


def _all_stand(text: str, told: Told) -> bool:
    """Return True for a text with every answer, each longer than a choice of a question."""
    return all(len(answer.strip()) >= LONGEST_CHOICE and answer.strip() in text for answer in told.answers)


def is_free(value: Any) -> bool:
    """Return True for a long text of words; JSON is looked into instead."""
    if not isinstance(value, str) or len(value) <= LONG or held_in(value) is not None:
        return False
    return value.count(" ") >= FEWEST_BLANKS or not value.isascii()
