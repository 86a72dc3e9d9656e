"""Rows to score: a row becomes candidates, or the reason why it cannot; with its scores it becomes a row of the output.

A reason is a word, a colon and what was found.
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
from ..errors import DataError
from ..records import Candidates, Rejected, Response, prompt_key
from .scorer import Scored

WANTED = "messages, or a prompt with response, responses or completions, or chosen and rejected"


class Parsed(NamedTuple):
    """A row that can be read.

    Attributes:
        candidates: its prompt and its K responses.
        given: K responses as the row has them.
        holders: keys of the row that hold several responses; empty for a row of one.
    """

    candidates: Candidates
    given: Sequence[Any]
    holders: tuple[str, ...] = ()


def parse(row: Row, at: RowPlace) -> Parsed | str:
    """The candidates of a row, by the first of `SHAPES` whose keys it has; or the reason why there are none.

    A key with null is one that it has not: in a table every row has all columns.
    """
    try:
        for keys, shape in SHAPES.items():
            if all(row.get(key) is not None for key in keys):
                return shape(row, at)
        raise at.fault(rows.keys_of(row), WANTED)
    except DataError as error:
        return "shape: " + error.message.removeprefix(f"{at.name}, row {at.row}: ")


def _conversation(row: Row, at: RowPlace) -> Parsed | str:
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise at.fault("an empty list" if messages == [] else rows.kind(messages), "a list of messages in messages")
    return _parsed(messages[:-1], [messages[-1:]], (), row, at)


def _one(key: str, row: Row, at: RowPlace) -> Parsed | str:
    return _parsed(rows.field(row, "prompt", at), [rows.field(row, key, at)], (), row, at)


def _several(key: str, row: Row, at: RowPlace) -> Parsed | str:
    entries = rows.field(row, key, at, "a list of responses")
    if not isinstance(entries, list) or not entries:
        raise at.fault("an empty list" if entries == [] else rows.kind(entries), f"a list of responses in {key}")
    given = [rows.field(entry, "content", at) if isinstance(entry, dict) else entry for entry in entries]
    return _parsed(rows.field(row, "prompt", at), given, (key,), row, at)


def _pair(row: Row, at: RowPlace) -> Parsed | str:
    """Chosen and rejected as training reads them; what the row says of the preference plays no part."""
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
"""What a row to score looks like, by the keys that it has; the first that fits counts."""


def _parsed(prompt: Any, given: Sequence[Any], holders: tuple[str, ...], row: Row, at: RowPlace) -> Parsed | str:
    plain = isinstance(prompt, str) and all(isinstance(one, str) for one in given)
    before = turns(prompt, "text" if plain else "user", "prompt", at)
    responses = tuple(Response(turns(one, "text" if plain else "assistant", "response", at)) for one in given)
    args = template_args(row, at)
    if found := unreadable(before, responses, at, args):
        return _reason(found)
    return Parsed(_candidates(before, responses, args, at), given, holders)


def _candidates(prompt: Any, responses: Any, args: dict[str, Any], at: RowPlace) -> Candidates:
    return Candidates(f"row {at.row}", prompt_key(prompt), prompt, responses, template_args=args)


def _reason(found: Rejected) -> str:
    return f"{found.reason}: {found.detail}"


def scored_row(row: Row, parsed: Parsed | str, result: Scored | str, prefix: str, best_of: bool, at: RowPlace) -> Row:
    """A row of the output: the input row, and after it what was found.

    One response gives `score`, `tokens` and `truncated`, several give `scores` and lists. `best_of` puts `best` (the
    place of the best response from 0, the first of equals), `response`, `score`, `tokens` and `truncated` in place of
    the responses. A response without a score has null instead, as has a row without any, and the row has `error`.

    Args:
        prefix: put before each name that is added.

    Raises:
        DataError: the row has a field of such a name already.
    """
    several = isinstance(parsed, Parsed) and bool(parsed.holders)
    if isinstance(result, str) or isinstance(parsed, str):
        added: Row = {"scores" if several and not best_of else "score": None, "error": result}
    elif several and not best_of:
        added = {name: list(getattr(result, name)) for name in ("scores", "tokens", "truncated")}
    else:
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
