"""Pairs given as token ids: no template rewrites the ids, and no token is added."""

from ...records import Comparison, Message, Rejected, Response
from .. import rows
from ..rows import Row, RowPlace
from .base import Format, shared
from .pairs import SAID, pair

NAMES = (
    ("chosen_ids", "rejected_ids"),
    ("chosen_input_ids", "rejected_input_ids"),
    ("input_ids_chosen", "input_ids_rejected"),
)
"""TRL's names for the two sides, now and in older releases."""


def convert_ids(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert token ids of a chosen and a rejected text, with or without the prompt's ids.

    Without `prompt_ids`, both texts are whole. Their longest common beginning is the prompt, but each side keeps at
    least its last id. With `prompt_ids`, either both sides begin with the prompt, and the repetition is cut, or neither
    side does, and both are responses alone.

    Raises:
        DataError: ids that are no whole numbers from 0 on, or prompt ids at the beginning of a single side.
    """
    better, worse = next((names for names in NAMES if names[0] in row), NAMES[0])
    chosen, rejected = token_ids(row, better, at), token_ids(row, worse, at)
    # The score is read at a response's last token, so the split never takes the last id of a side.
    if row.get("prompt_ids") is None:
        at.notes["inferred_prompts"] += 1
        cut = shared(chosen[:-1], rejected[:-1])
        prompt, chosen, rejected = chosen[:cut], chosen[cut:], rejected[cut:]
    else:
        prompt = token_ids(row, "prompt_ids", at)
        chosen, rejected = _after(prompt, chosen, rejected, at)
    if not chosen or not rejected:
        return Rejected(at.row, "no_tokens", f"{better if not chosen else worse} holds nothing besides the prompt")
    sides = (Response((ids_message(chosen),)), Response((ids_message(rejected),)))
    return pair(row, (ids_message(prompt),) if prompt else (), sides, at)


def token_ids(row: Row, key: str, at: RowPlace) -> list[int]:
    """Return the token ids under `key`; raise `DataError` for anything but whole numbers from 0 on."""
    ids = rows.field(row, key, at, "a list of token ids")
    if not isinstance(ids, list):
        raise at.fault(f"{rows.kind(ids)} in {key}", "a list of token ids")
    for value in ids:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise at.fault(f"{rows.quoted(value)} in {key}", "token ids, whole numbers from 0 on")
    return ids


def _after(prompt: list[int], chosen: list[int], rejected: list[int], at: RowPlace) -> tuple[list[int], list[int]]:
    """Cut a prompt repeated by both sides."""
    start = len(prompt)
    repeats = [side[:start] == prompt for side in (chosen, rejected)]
    # With a repetition in a single side, nobody can tell whether the other side is whole or cut.
    if repeats[0] != repeats[1]:
        raise at.fault("prompt_ids that only one side begins with", "them in front of both sides or of none")
    return (chosen[start:], rejected[start:]) if repeats[0] else (chosen, rejected)


def ids_message(ids: list[int]) -> Message:
    """Return a message of token ids."""
    # As decimal text, ids pass through hashes, filters and the table like the words of any message.
    return Message("ids", " ".join(map(str, ids)))


IDS = Format(
    (*(name for names in NAMES for name in names), "prompt_ids", *SAID),
    lambda row: any(better in row and worse in row for better, worse in NAMES),
    convert_ids,
    '{"chosen_ids": [token ids], "rejected_ids": [token ids], "prompt_ids": (or none)}',
    no_labels=("prompt", "chosen", "rejected"),
)
