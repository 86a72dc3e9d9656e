"""Rows to score: parse a source row into candidates or a reason, and build the output row with scores.

A reason is a word, a colon and a description of the fault.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..data import rows
from ..data.formats import FORMATS
from ..data.formats.base import unreadable
from ..data.formats.pairs import SAID, template_args
from ..data.formats.turns import turns
from ..data.rows import Row, RowPlace
from ..data.sources.plain import plain_row
from ..errors import DataError
from ..records import Candidates, Rejected, Response, prompt_key
from .scorer import Scored

WANTED = "messages, or a prompt with response, responses or completions, or chosen and rejected"


class Parsed(NamedTuple):
    """Parsed row.

    Attributes:
        candidates: prompt and K responses of the row.
        given: K responses unchanged, as in the row.
        holders: keys of the row holding several responses; empty for a row of a single response.
    """

    candidates: Candidates
    given: Sequence[Any]
    holders: tuple[str, ...] = ()


def parse(row: Row, at: RowPlace) -> Parsed | str:
    """Parse a row by the first matching shape of `SHAPES`.

    Returns:
        The parsed row, or the reason for a missing score.
    """
    row = plain_row(row)
    try:
        for keys, shape in SHAPES.items():
            # A key with null counts as missing, because in a table every row has all columns.
            if all(row.get(key) is not None for key in keys):
                return shape(row, at)
        raise at.fault(rows.keys_of(row), WANTED)
    except DataError as error:
        # The output row itself shows file and number, so the reason drops both.
        return "shape: " + error.message.removeprefix(f"{at.name}, row {at.row}: ")


def scored_row(row: Row, parsed: Parsed | str, result: Scored | str, prefix: str, best_of: bool, at: RowPlace) -> Row:
    """Build an output row: the fields of the input row, then the results.

    A row with a single response gets `score`, `tokens` and `truncated`; a row with several responses gets `scores` and
    lists. With `best_of`, the fields `best`, `response`, `score`, `tokens` and `truncated` replace the responses.
    `best` is the place of the best response from 0, the first among equals. A missing score is null, and the row then
    has `error`.

    Args:
        row: input row.
        parsed: parsed row, or the reason for a missing score.
        result: scores, or the reason for missing scores.
        prefix: prefix of each added name.
        best_of: keep the best response only.

    Raises:
        DataError: the row already has a field of an added name.
    """
    several = isinstance(parsed, Parsed) and bool(parsed.holders)
    if isinstance(result, str) or isinstance(parsed, str):
        added: Row = {"scores" if several and not best_of else "score": None, "error": result}
    elif several and not best_of:
        added = {name: list(getattr(result, name)) for name in ("scores", "tokens", "truncated")}
    else:
        # The negated place makes the first of equal scores the largest pair.
        _, place = max((score, -k) for k, score in enumerate(result.scores) if score is not None)
        best = -place
        added = {"best": best, "response": parsed.given[best]} if several else {}
        added |= {"score": result.scores[best], "tokens": result.tokens[best], "truncated": result.truncated[best]}
        row = {key: value for key, value in row.items() if key not in parsed.holders}
    if isinstance(result, Scored) and result.error:
        added["error"] = result.error
    named = {prefix + name: value for name, value in added.items()}
    if taken := sorted(named.keys() & row.keys()):
        raise at.fault(f"the field {taken[0]}", "a row without it, since scores go there", "give --prefix, such as rm_")
    return {**row, **named}


def _conversation(row: Row, at: RowPlace) -> Parsed | str:
    """Parse `messages`: the last message is the response."""
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise at.fault("an empty list" if messages == [] else rows.kind(messages), "a list of messages in messages")
    return _parsed(messages[:-1], [messages[-1:]], (), row, at)


def _one(key: str, row: Row, at: RowPlace) -> Parsed | str:
    """Parse `prompt` and a single response under `key`."""
    return _parsed(rows.field(row, "prompt", at), [rows.field(row, key, at)], (), row, at)


def _several(key: str, row: Row, at: RowPlace) -> Parsed | str:
    """Parse `prompt` and a list of responses under `key`."""
    entries = rows.field(row, key, at, "a list of responses")
    if not isinstance(entries, list) or not entries:
        raise at.fault("an empty list" if entries == [] else rows.kind(entries), f"a list of responses in {key}")
    given = [rows.field(entry, "content", at) if isinstance(entry, dict) else entry for entry in entries]
    return _parsed(rows.field(row, "prompt", at), given, (key,), row, at)


def _pair(row: Row, at: RowPlace) -> Parsed | str:
    """Parse `chosen` and `rejected` as in training, without the row's fields about the preference."""
    # A wrong or missing strength of preference would reject the row in training, but does not matter for scores.
    bare = {key: value for key, value in row.items() if key not in SAID}
    shape = FORMATS["hh" if FORMATS["hh"].matches(bare) else "preference"]
    found = shape.convert(bare, at)
    if isinstance(found, Rejected):
        return _reason(found)
    candidates = _candidates(found.prompt, found.responses, found.template_args, at)
    return Parsed(candidates, [row["chosen"], row["rejected"]], ("chosen", "rejected"))


SHAPES: dict[tuple[str, ...], Callable[[Row, RowPlace], Parsed | str]] = {
    ("prompt", "responses"): partial(_several, "responses"),
    ("prompt", "completions"): partial(_several, "completions"),
    ("chosen", "rejected"): _pair,
    ("prompt", "response"): partial(_one, "response"),
    ("prompt", "completion"): partial(_one, "completion"),
    ("messages",): _conversation,
}
"""Shapes of rows to score, by keys; the first match counts."""


def _parsed(prompt: Any, given: Sequence[Any], holders: tuple[str, ...], row: Row, at: RowPlace) -> Parsed | str:
    """Build a parsed row from a prompt and responses, each text or messages, or return a reason."""
    # A text beside messages has a known role: user in a prompt, assistant in a response.
    plain = isinstance(prompt, str) and all(isinstance(one, str) for one in given)
    before = turns(prompt, "text" if plain else "user", "prompt", at)
    responses = tuple(Response(turns(one, "text" if plain else "assistant", "response", at)) for one in given)
    args = template_args(row, at)
    if found := unreadable(before, responses, at, args):
        return _reason(found)
    return Parsed(_candidates(before, responses, args, at), given, holders)


def _candidates(prompt: Any, responses: Any, args: dict[str, Any], at: RowPlace) -> Candidates:
    """Candidates named after the row's number."""
    return Candidates(f"row {at.row}", prompt_key(prompt), prompt, responses, template_args=args)


def _reason(found: Rejected) -> str:
    """Reason for a missing score, from the fault found in training's terms."""
    return f"{found.reason}: {found.detail}"
