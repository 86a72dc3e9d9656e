"""Transcripts: a conversation written in one text, and the prompt that is such a text."""

import re

from ...records import Message
from ..rows import RowPlace
from .turns import Turns

TRANSCRIPT_TURN = re.compile(r"\n\n(Human|Assistant): ?")
ROLES = {"Human": "user", "Assistant": "assistant"}
TAG = r"<[^<>\s]{1,24}>"
"""Mark of a model in front of a name or behind, such as <|im_start|>."""
OTHER_BEGINNING = re.compile(
    rf"\s*(?:{TAG}\s*){{0,3}}(?:\[INST\]"
    rf"|\W{{0,6}}(?:human|user|question|q|instruction|system)(?:{TAG}|\W{{0,4}}[:>\n]))",
    re.IGNORECASE,
)
OTHER_END = re.compile(
    rf"(?:\[/INST\]|[\n>]\W{{0,6}}(?:assistant|ai|bot|gpt|answer|a|response|model)(?:{TAG}\W{{0,6}}|\W{{1,6}}))\s*$",
    re.IGNORECASE,
)
"""Marks of a transcript in a form that is not read as turns: the user's name first, and the assistant's name last."""
LONGEST_MARK = 80
"""Characters at either end of a text in which such a mark stands."""


def transcript(text: str) -> Turns:
    """Return the turns of an Anthropic transcript; none for a transcript that does not begin with the human."""
    before, *parts = TRANSCRIPT_TURN.split(text)
    if before or not parts or parts[0] != "Human":
        return ()
    return tuple(Message(ROLES[name], content) for name, content in zip(parts[::2], parts[1::2], strict=True))


def asked(text: str, at: RowPlace) -> Turns:
    """Return the turns of a prompt that is a transcript, without an empty last turn of the assistant.

    Any other text gives no turns. Transcripts are counted as "transcripts", those of another form as
    "other_transcripts".
    """
    if not text.startswith("\n\nHuman:"):
        if OTHER_BEGINNING.match(text[:LONGEST_MARK]) and OTHER_END.search(text[-LONGEST_MARK:]):
            at.notes["other_transcripts"] += 1
        return ()
    found = transcript(text)
    if found and found[-1].role == "assistant" and not found[-1].content.strip():
        found = found[:-1]
    if not found or found[-1].role != "user":
        return ()
    at.notes["transcripts"] += 1
    return found


def answer(text: str, prompt: str) -> str:
    """Return the answer to a transcript without the blank that belongs to the assistant's marker."""
    # Written again by `raw`, prompt and answer are then the text of the row, to the byte.
    return text[1:] if text.startswith(" ") and not prompt.endswith(" ") else text
