"""Parts shared by all formats: the table entry, the reasons of rejection, and the assembly of a comparison."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ...errors import DataError
from ...records import Candidates, Comparison, Judgment, Message, Rejected, Response, prompt_key, replaced
from .. import rows
from ..rows import Row, RowPlace
from .turns import Turns, check_order

Numbered = Iterable[tuple[int, Row | Comparison | Rejected]]
"""Rows with their place in the file from 1; rows left out by a user's function are among the rows as `Rejected`."""
NUL = chr(0)
FUNCTION = "--data.format module:function"
"""The setting that reads any rows, for hints."""


def option(setting: str, *names: str) -> str:
    """Write an option about columns as a shell takes the option: `--data.ignore 'Answer A',notes`."""
    return f"--data.{setting} {shlex.quote(','.join(names))}"


LONGEST = 1_000_000
"""Most characters of a prompt with a response: a tokenizer takes about 100 bytes of memory for each."""


REASONS = {
    "irregular": "turns that do not end with one turn of the assistant on each side, after a prompt that both share",
    "one_response": "fewer than two completions",
    "missing_score": "a completion without rank and score",
    "no_tokens": "a response without a token id of its own",
    "no_judgment": "nothing is preferred: equal ranks or scores, a tie, no votes, nothing chosen or nothing rejected",
    "unread_label": "a label that names neither an answer of the row nor a tie",
    "bad_characters": "NUL, or half of a surrogate pair, which no tokenizer reads",
    "too_long_text": "a prompt with a response of more than a million characters, too much for a tokenizer",
    "score_ratio": "two scores that differ by less than data.min_score_ratio",
    "left_out": "the function of data.format returned None",
}
"""Reason words of `Rejected` -> the fault of a well-shaped row that is not used."""
ASKED_FOR = frozenset({"score_ratio", "left_out", "no_judgment"})
"""Reasons that a setting or a function of the user decides about: such rows are counted, but do not count as lost.

`data.equal_scores` decides about ties, the usual rows without a judgment.
"""


class Refused(Exception):
    """A file whose columns cannot be told, in words.

    Attributes:
        message, hint: as of every error.
        undecided: True if more rows may decide.
    """

    def __init__(self, message: str, hint: str, undecided: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.undecided = message, hint, undecided


class ReadingInDoubt(DataError):
    """A row that puts the reading of the whole file in doubt: leaving out the row would not help the other rows."""


class Format(NamedTuple):
    """A shape of rows.

    Attributes:
        fields: keys read by the format; these keys become no tags.
        matches: True for a row of this shape.
        convert: returns the comparison of a row (without id, source and tags), or the rejection.
        looks: the shape, as hints print the shape.
        settings: names read by `convert` among min_score_ratio, strength_as and votes.
        no_labels: keys neither read nor useful as labels, such as times.
        remarks: columns of texts about the answers, known as no part of the conversation; dots reach into objects.
        own_id: returns the id carried by a row, a string or an integer.
        candidates: returns prompt and responses of a row without a judgment; None for a format without this reading.
    """

    fields: tuple[str, ...]
    matches: Callable[[Row], bool]
    convert: Callable[[Row, RowPlace], Comparison | Rejected]
    looks: str
    settings: tuple[str, ...] = ()
    no_labels: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    own_id: Callable[[Row], Any] = lambda row: row.get("id")
    candidates: Callable[[Row, RowPlace], Candidates | Rejected] | None = None


def has(*keys: str) -> Callable[[Row], bool]:
    """Return a function that is True for a row with all of these keys."""
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
    """Return the comparison of a row, without id, source and tags, or a rejection for unreadable characters.

    Raises:
        DataError: an order of roles that no chat template renders.
    """
    if found := unreadable(prompt, responses, at, template_args):
        return found
    if apart := _begun_apart(prompt, responses):
        return Rejected(at.row, "irregular", apart)
    return Comparison(
        "", prompt_key(prompt), prompt, tuple(responses), tuple(judgments), rank, template_args=template_args or {}
    )


def row_weight(row: Row, at: RowPlace) -> float | None:
    """Return the weight of a row, 0 or positive; None if absent or null.

    Raises:
        DataError: anything but such a number.
    """
    value = row.get("weight")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        hint = f"correct or remove the row; or, if weight is no weight of the row: {option('ignore', 'weight')}"
        raise at.fault(f"{rows.quoted(value)} as weight", "a finite number", hint)
    weight = rows.number_between(row, "weight", 0.0, rows.LARGEST, at)
    # Weights become float32 later, and no smaller number keeps its precision there.
    if weight and weight < 1 / rows.LARGEST:
        raise at.fault(f"{weight:g} as weight", f"0, or at least {1 / rows.LARGEST:g}")
    return weight


def weighed(result: Comparison | Rejected, row: Row, at: RowPlace) -> Comparison | Rejected:
    """Return a comparison with the weight of the row in every judgment, for readings that do not look at the weight."""
    weight = row_weight(row, at) if isinstance(result, Comparison) else None
    if isinstance(result, Rejected) or weight is None or weight == 1.0:
        return result
    if weight == 0.0:
        return Rejected(at.row, "no_judgment", "weight 0")
    return replaced(result, judgments=tuple(replaced(j, weight=j.weight * weight) for j in result.judgments))


def _begun_apart(prompt: Turns, responses: Sequence[Response]) -> str:
    """Say that responses to a prompt without a turn of a user differ in their first turns; "" for other responses.

    Responses share their first turn of a user, and a system turn in front of that turn.
    """
    for turn in prompt:
        if turn.role in ("user", "text", "ids"):
            return ""
    for role, said in (("user", "answer different first turns of the user"), ("system", "have different system turns")):
        first = {next((turn for turn in response.messages if turn.role == role), None) for response in responses}
        if len(first) > 1:
            return f"the sides {said}"
    return ""


def unreadable(
    prompt: Turns, responses: Sequence[Response], at: RowPlace, template_args: dict[str, Any] | None = None
) -> Rejected | None:
    """Return a rejection for a character that no tokenizer reads, or for too much text; None for other conversations.

    Raises:
        DataError: an order of roles that no chat template renders.
    """
    # Here a fault is counted with its row; the tokenizer reads whole batches, and knows no rows.
    asked = [turn.role for turn in prompt]
    for response in responses:
        check_order([*asked, *[turn.role for turn in response.messages]], at)
    if too_long := _too_long(prompt, responses, at, template_args):
        return too_long
    for message in chain(prompt, *[response.messages for response in responses]):
        # Chat templates write tool calls and names into the text too, keys included.
        for part in (message.content, *(_strings(json.loads(message.extra)) if message.extra else ())):
            if found := _bad_character(part):
                return Rejected(at.row, "bad_characters", f"{found} in a turn of the role {message.role}")
    for part in _strings(template_args) if template_args else ():
        if found := _bad_character(part):
            return Rejected(at.row, "bad_characters", f"{found} in tools or chat_template_kwargs")
    return None


def _too_long(
    prompt: Turns, responses: Sequence[Response], at: RowPlace, template_args: dict[str, Any] | None
) -> Rejected | None:
    """Return a rejection for a conversation that is too long to be tokenized; None for other conversations."""
    # Limits of tokens act after tokenizing, and a text of megabytes would fill the memory before.
    before = _characters(prompt) + (sum(map(len, _strings(template_args))) if template_args else 0)
    longest = before + max([_characters(response.messages) for response in responses], default=0)
    if longest <= LONGEST:
        return None
    return Rejected(at.row, "too_long_text", f"{longest:,} characters in the prompt with a response")


def _characters(turns: Turns) -> int:
    """Count the characters that a tokenizer would be given: token ids need none."""
    return sum([len(turn.content) + len(turn.extra) for turn in turns if turn.role != "ids"])


def leaning(
    first: float, second: float, at: RowPlace, *, margin: float | None = None, weight: float = 1.0
) -> list[Judgment]:
    """Return the judgment on two responses from the support of each, such as votes or probabilities.

    The probability is the share of the larger support: max(first, second) / (first + second). Equal support follows
    `equal_scores`: a tie, or no judgment.

    Args:
        first, second: support of each response, not negative, not both 0.
        margin: of the first response over the second; the sign changes with the sides.
    """
    # Judgments are stored with the better side first, so a probability below 0.5 becomes its complement.
    probability = max(first, second) / (first + second)
    if probability == 0.5 and at.settings.equal_scores == "skip":
        return []
    if first >= second:
        return [Judgment(0, 1, probability, margin, weight)]
    return [Judgment(1, 0, probability, None if margin is None else -margin, weight)]


def texts_as_turns(prompt: str, *responses: str) -> tuple[Turns, list[Turns]]:
    """Return a question as a turn of the user, and each answer as a turn of the assistant."""
    return (Message("user", prompt),), [(Message("assistant", response),) for response in responses]


def shared(a: Sequence[object], b: Sequence[object]) -> int:
    """Return the number of leading elements shared by two sequences."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def agreeing(better: float | None, worse: float | None) -> float | None:
    """Return the difference of two scores as a margin; None for a missing score, or a contradicted preference."""
    # With a negative margin the loss would accept a lower score for the preferred response.
    return None if better is None or worse is None or better < worse else better - worse


def _bad_character(text: str) -> str:
    """Return the first character that no tokenizer reads, in words; "" for none."""
    if NUL in text:
        return f"NUL as character {text.index(NUL) + 1}"
    # The test for ASCII copies nothing, and is far cheaper than the encoding.
    if text.isascii():
        return ""
    # JSON escapes may hold half of a surrogate pair, such as "\ud83d" of an emoji that was cut in two.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"half of a surrogate pair as character {error.start + 1}"
    return ""


def _strings(value: Any) -> Iterator[str]:
    """Yield every text inside a plain JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
