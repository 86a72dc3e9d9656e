"""HelpSteer: two responses and the strength of the preference, from -3 (the first) to 3 (the second)."""

import re
from collections.abc import Sequence

from ...records import Comparison, Judgment, Message, Rejected, Response
from .. import rows
from ..rows import Row, RowPlace
from .base import FUNCTION, Format, Refused, comparison, has
from .turns import Turns, turns

MARKED_TURN = re.compile(r"\n<extra_id_1>(Assistant|User)\n")
"""Marker between the turns of a prompt in HelpSteer2."""
COLUMNS = {
    "helpsteer2": ("preference_strength", "response_2"),
    "helpsteer3": ("overall_preference", "response2"),
}
"""Format -> the column of the strengths, and the answer that a positive strength prefers."""
STRONGEST = 3
"""Largest strength of a preference."""


def convert_helpsteer2(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a row of HelpSteer2-Preference (Wang et al. 2024). A prompt of several turns marks each but the first."""
    first, *marked = MARKED_TURN.split(rows.text(row, "prompt", at))
    roles = {"User": "user", "Assistant": "assistant"}
    later = (Message(roles[name], text) for name, text in zip(marked[::2], marked[1::2], strict=True))
    prompt = (Message("user", first), *later)
    answers = [rows.text(row, key, at) for key in ("response_1", "response_2")]
    if prompt[-1].role != "user":
        return Rejected(at.row, "irregular", "the prompt ends with a turn of the assistant")
    return _by_strength(row, "preference_strength", prompt, answers, at)


def convert_helpsteer3(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a row of HelpSteer3-Preference (Wang et al. 2025); `overall_preference` is the strength."""
    context = rows.field(row, "context", at, "messages")
    if not isinstance(context, list):
        raise at.fault(f"{rows.kind(context)} in context", "messages")
    prompt = turns(context, "user", "prompt", at)
    answers = [rows.text(row, key, at) for key in ("response1", "response2")]
    return _by_strength(row, "overall_preference", prompt, answers, at)


def _by_strength(row: Row, key: str, prompt: Turns, answers: list[str], at: RowPlace) -> Comparison | Rejected:
    """Return the comparison of two answers, judged by the strength of the row.

    The strength becomes margin or weight by `strength_as`. A strength of 0 is a tie or no judgment by `equal_scores`.
    """
    # `number_between` passes null, and a missing strength must stop the run, not count as a tie.
    rows.field(row, key, at, "a number")
    strength = rows.number_between(row, key, -STRONGEST, STRONGEST, at) or 0.0
    if not strength and at.settings.equal_scores == "skip":
        return Rejected(at.row, "no_judgment", f"{key} is 0")
    better = 1 if strength > 0 else 0
    probability = 1.0 if strength else 0.5
    if at.settings.strength_as == "margin":
        judgment = Judgment(better, 1 - better, probability, margin=abs(strength))
    else:
        # A tie has the strength 0, and a weight must be positive.
        judgment = Judgment(better, 1 - better, probability, weight=abs(strength) or 1.0)
    responses = [Response((Message("assistant", answer),)) for answer in answers]
    return comparison(prompt, responses, [judgment], at)


def check_signs(rows_: Sequence[Row], format: str) -> None:
    """Raise `Refused` for strengths without a sign: nothing says which answer a positive number prefers.

    Args:
        rows_: first rows.
        format: key of the format that the rows fit; only formats of strengths are checked.
    """
    if format not in COLUMNS:
        return
    key, second = COLUMNS[format]
    numbers = [row.get(key) for row in rows_]
    told = [number for number in numbers if isinstance(number, int | float) and not isinstance(number, bool)]
    if any(number > 0 for number in told) and not any(number < 0 for number in told):
        raise Refused(
            f"{key} has no negative number: a positive number may prefer {second}, or say how strong a preference is",
            f"if every positive number prefers {second}: --data.format {format}; or use {FUNCTION}",
            undecided=True,
        )


HELPSTEER2 = Format(
    ("prompt", "response_1", "response_2", "preference_strength"),
    has("response_1", "response_2", "preference_strength"),
    convert_helpsteer2,
    '{"prompt": ..., "response_1": ..., "response_2": ..., "preference_strength": -3 (the first) to 3}',
    settings=("strength_as",),
    remarks=("preference_elaboration", "three_most_similar_preferences", "all_preferences_unprocessed"),
)
HELPSTEER3 = Format(
    ("context", "response1", "response2", "overall_preference"),
    has("response1", "response2", "overall_preference"),
    convert_helpsteer3,
    '{"context": messages, "response1": ..., "response2": ..., "overall_preference": -3 (the first) to 3}',
    settings=("strength_as",),
    remarks=("individual_preference",),
)
