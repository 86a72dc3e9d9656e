"""What formats are made of: the entry of the table, the reasons, and how the parts of a row become a comparison."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ...records import Comparison, Judgment, Message, Rejected, Response, prompt_key
from ..rows import Row, RowPlace
from .turns import Turns, check_order

Numbered = Iterable[tuple[int, Row | Comparison | Rejected]]
"""Rows with their place in the file from 1; what a user's function left out stands among them as `Rejected`."""
NUL = chr(0)

REASONS = {
    "irregular": "turns that do not end with one turn of the assistant on each side, after a prompt that both share",
    "one_response": "fewer than two completions",
    "missing_score": "a completion without rank and score",
    "no_tokens": "a response without a token id of its own",
    "no_judgment": "nothing is preferred: equal ranks or scores, a tie, no votes, nothing chosen or nothing rejected",
    "bad_characters": "NUL, or half of a surrogate pair, which no tokenizer reads",
    "score_ratio": "two scores that differ by less than data.min_score_ratio",
    "left_out": "the function of data.format returned None",
}
"""Why a well-shaped row is not used: the reason words of `Rejected`."""
ASKED_FOR = frozenset({"score_ratio", "left_out"})
"""The reasons that a user asked for, by a setting or a function of their own: such rows are counted, but not lost."""


class Format(NamedTuple):
    """One shape of rows.

    Attributes:
        fields: keys that the format reads, which become no tags.
        matches: whether a row looks like this shape.
        convert: the comparison of a row (without id, source and tags), or why it is none.
        looks: the shape, as hints print it.
        settings: what `convert` reads of min_score_ratio, strength_as and votes.
        no_labels: keys that it does not read and that are no labels to report by, such as times.
        own_id: the id that a row brings, a string or an integer.
    """

    fields: tuple[str, ...]
    matches: Callable[[Row], bool]
    convert: Callable[[Row, RowPlace], Comparison | Rejected]
    looks: str
    settings: tuple[str, ...] = ()
    no_labels: tuple[str, ...] = ()
    own_id: Callable[[Row], Any] = lambda row: row.get("id")


def has(*keys: str) -> Callable[[Row], bool]:
    """Whether a row has all of these keys."""
    return lambda row: all(key in row for key in keys)


def comparison(
    prompt: Turns,
    responses: Sequence[Response],
    judgments: Sequence[Judgment],
    at: RowPlace,
    *,
    rank: tuple[float, ...] | None = None,
    template_args: dict[str, Any] | None = None,
) -> Comparison | Rejected:
    """The comparison of a row, still without id, source and tags; rejected for characters that nothing can read.

    Raises:
        DataError: an order of roles that no chat template renders.
    """
    if found := unreadable(prompt, responses, at, template_args):
        return found
    return Comparison(
        "", prompt_key(prompt), prompt, tuple(responses), tuple(judgments), rank, template_args=template_args or {}
    )


def unreadable(
    prompt: Turns, responses: Sequence[Response], at: RowPlace, template_args: dict[str, Any] | None = None
) -> Rejected | None:
    """Why no tokenizer reads these conversations: a character that nothing can read; None where they can be read.

    Raises:
        DataError: an order of roles that no chat template renders.
    """
    for response in responses:
        check_order((*prompt, *response.messages), at)
    for message in (*prompt, *(message for response in responses for message in response.messages)):
        for part in (message.content, *_strings(json.loads(message.extra) if message.extra else {})):
            if found := _bad_character(part):
                return Rejected(at.row, "bad_characters", f"{found} in a turn of the role {message.role}")
    for part in _strings(template_args or {}):
        if found := _bad_character(part):
            return Rejected(at.row, "bad_characters", f"{found} in tools or chat_template_kwargs")
    return None


def leaning(
    first: float, second: float, at: RowPlace, *, margin: float | None = None, weight: float = 1.0
) -> list[Judgment]:
    """The judgment on two responses from what speaks for each, such as votes or probabilities.

    The share of the larger one is the probability. As much for both follows `equal_scores`: a tie, or no judgment.

    Args:
        first, second: not negative, not both 0.
        margin: of the first response over the second; it changes its sign with the sides.
    """
    probability = max(first, second) / (first + second)
    if probability == 0.5 and at.settings.equal_scores == "skip":
        return []
    if first >= second:
        return [Judgment(0, 1, probability, margin, weight)]
    return [Judgment(1, 0, probability, None if margin is None else -margin, weight)]


def texts_as_turns(prompt: str, *responses: str) -> tuple[Turns, list[Turns]]:
    """A question and its answers: one turn of the user, and one of the assistant each."""
    return (Message("user", prompt),), [(Message("assistant", response),) for response in responses]


def shared(a: Sequence[object], b: Sequence[object]) -> int:
    """Number of leading elements that two sequences share."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def agreeing(better: float | None, worse: float | None) -> float | None:
    """The difference of two scores as a margin; None where one is missing, or where they contradict the preference."""
    return None if better is None or worse is None or better < worse else better - worse


def _bad_character(text: str) -> str:
    """The first character that no tokenizer reads, in words; "" for none."""
    if NUL in text:
        return f"NUL as character {text.index(NUL) + 1}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"half of a surrogate pair as character {error.start + 1}"
    return ""


def _strings(value: Any) -> Iterator[str]:
    """Every text inside a plain JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
