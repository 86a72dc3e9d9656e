"""Rows to score: parse a row of a plain shape into candidates or a reason, and build the output row with scores.

A reason is a word, a colon and a description of the fault. `reading` chooses between these shapes and the shapes of
training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ..data import rows
from ..data.formats.base import unreadable
from ..data.formats.labelled import divided
from ..data.formats.messages import normal
from ..data.formats.pairs import no_prompt, template_args
from ..data.formats.tokens import ids_message, token_ids
from ..data.formats.transcripts import answer, asked
from ..data.formats.turns import EXTRA, Turns, turns
from ..data.rows import Row, RowPlace
from ..data.sources.plain import plain_row
from ..errors import DataError
from ..records import Candidates, Message, Rejected, Response, prompt_key
from .scorer import Scored, win_rates
from .source import check_fields

WANTED = "messages, or a prompt with response, responses or completions, or chosen and rejected, or response_ids"
Keys = tuple[str, ...]
ADDED = ("score", "scores", "tokens", "truncated", "error")
ADDED_BEST = ("best", "score", "tokens", "truncated", "error")
"""Names of the fields that may be added to a row, and with `best_of`."""
LISTS = ("responses", "completions")
"""Keys with a list of responses."""
RESPONSE_IDS = "response_ids"
"""Key with the token ids of a response."""


class Parsed(NamedTuple):
    """Parsed row.

    Attributes:
        candidates: prompt, and the responses of the row that can be read.
        given: all responses, as in the row.
        holders: keys of the input row holding several responses; the best response takes their place.
        several: True for a row of several responses, False for a row of a single response.
        gaps: place of each response that cannot be read, with the reason.
    """

    candidates: Candidates
    given: Sequence[Any]
    holders: tuple[str, ...] = ()
    several: bool = False
    gaps: Mapping[int, str] = {}


def parse(row: Row, at: RowPlace) -> Parsed | str:
    """Parse a row as the container gave the row; see `parse_plain`."""
    return parse_plain(plain_row(row), at)


def parse_plain(row: Row, at: RowPlace) -> Parsed | str:
    """Parse a row in normal form by the first matching shape of `SHAPES`.

    Returns:
        The parsed row, or the reason for a missing score.
    """
    try:
        keys = shape_of(row)
        if keys is None:
            raise at.fault(rows.keys_of(row), WANTED)
        return SHAPES[keys](row, at)
    except (DataError, RecursionError) as error:
        return shape_fault(error, at)


def shape_of(row: Row) -> Keys | None:
    """Return the keys of `SHAPES` that fit a row; None for a row of no plain shape, such as a pair."""
    # A key with null counts as missing, because in a table every row has all columns.
    filled = [keys for keys in SHAPES if all(row.get(key) is not None for key in keys)]
    if not (filled and filled[0][-1] in LISTS) and is_pair(row):
        return None
    # Null is no prompt, but an absent prompt may stand under another name.
    unasked = [keys for keys in SHAPES if keys[0] == "prompt" and "prompt" in row and row.get(keys[-1]) is not None]
    return next(iter([*filled, *unasked]), None)


def is_pair(row: Row) -> bool:
    """Return True for a row with a chosen and a rejected response."""
    return all(row.get(key) is not None for key in ("chosen", "rejected"))


def shape_fault(error: Exception, at: RowPlace) -> str:
    """Return the reason for a row or a response that cannot be read."""
    if isinstance(error, RecursionError):
        return "shape: values nested too deeply"
    # The output row itself shows file and number, so the reason drops both.
    message = error.message if isinstance(error, DataError) else str(error)
    return "shape: " + message.removeprefix(f"{at.name}, row {at.row}: ")


def with_gaps(parsed: Parsed | str, result: Scored | str) -> Scored | str:
    """Return the result of a row with a missing score for each response that could not be read."""
    if isinstance(parsed, str) or isinstance(result, str) or not parsed.gaps:
        return result
    found = zip(result.scores, result.tokens, result.truncated, strict=True)
    each = [(None, 0, False) if k in parsed.gaps else next(found) for k in range(len(parsed.given))]
    scores, tokens, truncated = zip(*each, strict=True)
    return Scored(scores, tokens, truncated, parsed.gaps.get(scores.index(None)) or result.error)


def scored_row(
    row: Row,
    parsed: Parsed | str,
    result: Scored | str,
    prefix: str,
    best_of: bool,
    at: RowPlace,
    scale: float | None = None,
) -> Row:
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
        scale: factor of score differences in `probabilities`; None for no probabilities.

    Raises:
        DataError: the row already has a field of an added name, or a row of a single response has no probability.
    """
    several = isinstance(parsed, Parsed) and parsed.several
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
    if scale is not None and isinstance(result, Scored):
        added |= _probabilities(result, scale, several, best_of, at)
    if isinstance(result, Scored) and result.error:
        added["error"] = result.error
    named = {prefix + name: value for name, value in added.items()}
    check_fields(row, named, at)
    return {**row, **named}


def _probabilities(result: Scored, scale: float, several: bool, best_of: bool, at: RowPlace) -> Row:
    """Probability of each response to beat another response of the row; with `best_of`, of the best."""
    if not several:
        hint = "a probability compares responses to the same prompt: give rows with several, or leave --probabilities"
        raise at.fault("a single response", "two or more responses", hint)
    rates = win_rates(result.scores, scale)
    known = [rate for rate in rates if rate is not None]
    return {"probability": max(known, default=None)} if best_of else {"probabilities": rates}


def added_names(prefix: str, best_of: bool, probabilities: bool = False) -> list[str]:
    """Return the names of all fields that may be added to the rows of an output."""
    names = [*(ADDED_BEST if best_of else ADDED)]
    names += ["probability" if best_of else "probabilities"] if probabilities else []
    return [prefix + name for name in names]


def _conversation(row: Row, at: RowPlace) -> Parsed | str:
    """Parse `messages`: the last message is the response."""
    messages = normal(row["messages"])
    if not isinstance(messages, list) or not messages:
        raise at.fault("an empty list" if messages == [] else rows.kind(messages), "a list of messages in messages")
    return _single(messages[:-1], messages[-1:], row, at)


def _one(key: str, row: Row, at: RowPlace) -> Parsed | str:
    """Parse `prompt` and a single response under `key`."""
    return _single(row["prompt"], rows.field(row, key, at), row, at)


def _single(prompt: Any, response: Any, row: Row, at: RowPlace) -> Parsed | str:
    """Build a parsed row of a single response."""
    return _parsed(prompt, [response], row, at)


def _token_ids(row: Row, at: RowPlace) -> Parsed | str:
    """Parse `prompt_ids`, or none, and a single response under `response_ids`."""
    given = token_ids(row, RESPONSE_IDS, at)
    if not given:
        raise at.fault("an empty list in response_ids", "a list of token ids")
    prompt = [] if row.get("prompt_ids") is None else token_ids(row, "prompt_ids", at)
    before = (ids_message(prompt),) if prompt else ()
    return Parsed(candidates_from(before, (Response((ids_message(given),)),), {}, at), [given])


def _several(key: str, row: Row, at: RowPlace) -> Parsed | str:
    """Parse `prompt` and a list of responses under `key`; a response that cannot be read becomes a gap."""
    entries = rows.field(row, key, at, "a list of responses")
    if not isinstance(entries, list) or not entries:
        raise at.fault("an empty list" if entries == [] else rows.kind(entries), f"a list of responses in {key}")
    given, gaps = [], {}
    for place, entry in enumerate(entries):
        try:
            given.append(entry_of(entry, at))
        except DataError as error:
            given.append(None)
            gaps[place] = shape_fault(error, at)
    found = _parsed(row["prompt"], given, row, at, gaps)
    return found if isinstance(found, str) else found._replace(holders=(key,), several=True)


def entry_of(entry: Any, at: RowPlace) -> Any:
    """Return the response of an entry of a list: text, messages, or the content of an object."""
    if not isinstance(entry, dict):
        return entry
    # A call of a tool or reasoning stands beside the content, and belongs to the response.
    if entry.get("role") and any(entry.get(key) for key in EXTRA):
        return [entry]
    return rows.field(entry, "content", at)


SHAPES: dict[Keys, Callable[[Row, RowPlace], Parsed | str]] = {
    ("prompt", "responses"): partial(_several, "responses"),
    ("prompt", "completions"): partial(_several, "completions"),
    ("prompt", "response"): partial(_one, "response"),
    ("prompt", "completion"): partial(_one, "completion"),
    ("messages",): _conversation,
    ("prompt_ids", RESPONSE_IDS): _token_ids,
    (RESPONSE_IDS,): _token_ids,
}
"""Plain shapes of rows to score, by keys; the first match counts."""


def _parsed(
    prompt: Any, given: Sequence[Any], row: Row, at: RowPlace, gaps: Mapping[int, str] | None = None
) -> Parsed | str:
    """Build a parsed row from a prompt and responses, each text or messages, or return a reason."""
    asking, values = no_prompt(normal(prompt)), [normal(one) for one in given]
    before, plain = _before(asking, values, at)
    # A plain prompt that became turns is a transcript, and the answers continue its text.
    opened = asking if plain and before and before[0].role != "text" else None
    args, reasons, sides = template_args(row, at), dict(gaps or {}), {}
    for place, value in enumerate(values):
        if place in reasons:
            continue
        try:
            sides[place] = _side(value, opened, plain, at)
            if found := unreadable(before, [Response(sides[place])], at, args):
                reasons[place] = reason_of(found)
        except DataError as error:
            reasons[place] = shape_fault(error, at)
    sound = [side for place, side in sides.items() if place not in reasons]
    if not sound:
        return reasons[min(reasons)]
    before, sound = _divided(before, sound, at)
    return Parsed(
        candidates_from(before, tuple(map(Response, sound)), args, at),
        given,
        gaps=dict(sorted(reasons.items())),
    )


def _before(asking: Any, values: Sequence[Any], at: RowPlace) -> tuple[Turns, bool]:
    """Return the turns of the prompt, and True for texts throughout: nobody said where turns begin."""
    if asking is None:
        return (), not any(isinstance(value, list) for value in values)
    if not isinstance(asking, str):
        return turns(asking, "user", "prompt", at), False
    # A text beside messages has a known role: user in a prompt, assistant in a response.
    plain = not any(isinstance(value, list) for value in values)
    return asked(asking, at) or (Message("text" if plain else "user", asking),), plain


def _side(value: Any, opened: str | None, plain: bool, at: RowPlace) -> Turns:
    """Return a response as turns; `opened` is the text of a prompt that is a transcript."""
    if value is None:
        raise at.fault("null as response", 'text, or messages such as [{"role": "user", "content": "..."}]')
    if opened is not None and isinstance(value, str):
        return (Message("assistant", answer(value, opened)),)
    return turns(value, "text" if plain else "assistant", "response", at)


def _divided(before: Turns, sides: list[Turns], at: RowPlace) -> tuple[Turns, list[Turns]]:
    """Return prompt and responses, where the responses may be whole conversations."""
    start = len(before)
    repeated = start and all(len(side) > start and side[:start] == before for side in sides)
    if repeated or all(side[0].role in ("user", "system") for side in sides):
        found = divided(before, sides, at)
        if not isinstance(found, Rejected):
            return found
    return before, sides


def candidates_from(prompt: Turns, responses: tuple[Response, ...], args: dict[str, Any], at: RowPlace) -> Candidates:
    """Build candidates named after the row's number."""
    return Candidates(f"row {at.row}", prompt_key(prompt), prompt, responses, template_args=args)


def named_after(found: Candidates, at: RowPlace) -> Candidates:
    """Return the candidates under the name of the row's number."""
    return replace(found, id=f"row {at.row}")


def reason_of(found: Rejected) -> str:
    """Return the reason for a missing score, from the fault found in training's terms."""
    return f"{found.reason}: {found.detail}"
