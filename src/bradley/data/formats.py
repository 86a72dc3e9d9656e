"""Known shapes of source rows: one pure function each, row -> comparison, or the reason why not.

A row that lacks a field, or whose turns no chat template can render, means that the file is not what it was taken for:
the run stops with a `DataError` that names file and row. A row of the right shape whose content cannot be used becomes
`Rejected` with one of `REASONS`, and is counted.

A text, a whole number or a truth value of a row becomes a tag, unless its format reads it; numbers with a fraction are
measurements and no labels. `source` becomes the comparison's source; `id`, a string or an integer, becomes its id where
no row before it has taken that id, and "<file>:<row>" otherwise.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import DataError, UserError
from ..records import Comparison, Judgment, Message, Rejected, Response, prompt_key
from . import fields
from .fields import EqualScores, Place, Row, Turns

Numbered = Iterable[tuple[int, Row | Comparison]]

HEAD = 20
TAG_CHARACTERS = 80
HH_LOOKS = '{"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": the same}'
TRANSCRIPT_TURN = re.compile(r"\n\n(Human|Assistant): ?")

REASONS = {
    "irregular": "a transcript that is not: human and assistant turns, then one assistant turn on each side",
    "one_response": "fewer than two completions",
    "missing_score": "a completion without rank and score",
    "no_judgment": "every completion has the same rank or score",
    "broken_text": "half of a surrogate pair, which no tokenizer reads",
}
"""Why a well-shaped row cannot be used: the reason words of `Rejected`."""


class Format(NamedTuple):
    """One shape of rows.

    Attributes:
        fields: keys that the format reads, which become no tags.
        matches: whether a row looks like this shape.
        convert: the comparison of a row (without id, source and tags), or why it is none.
        looks: the shape, as hints print it.
    """

    fields: tuple[str, ...]
    matches: Callable[[Row], bool]
    convert: Callable[[Row, Place], Comparison | Rejected]
    looks: str


def to_comparisons(
    rows: Iterable[Row | Comparison], format: str = "auto", *, name: str = "rows", equal_scores: EqualScores = "skip"
) -> Iterator[Comparison | Rejected]:
    """Rows in memory as comparisons, one result per row and in their order; `Comparison` objects pass through.

    Args:
        rows: dicts of one known shape, or comparisons.
        format: a key of `FORMATS`, or "auto" to look at the first rows.
        name: stands for the file name in ids and messages.
        equal_scores: what two completions with the same rank or score become.

    Raises:
        DataError: a row has not the shape of its format, or no format fits.
    """
    format, numbered = choose_format(enumerate(rows, start=1), format, name)
    return convert_rows(numbered, format, Place(name, name, equal_scores=equal_scores), set())


def choose_format(rows: Numbered, format: str, name: str) -> tuple[str, Numbered]:
    """The format of `rows` and the rows again: `auto` looks at the first ones; "comparison" where these need none.

    Raises:
        DataError: no format fits.
        UserError: `format` is not known.
    """
    if format not in {"auto", "comparison", *FORMATS}:
        raise UserError(f"{format} is not a known format", f"known formats: auto, {', '.join(FORMATS)}")
    rows = iter(rows)
    head = list(itertools.islice(rows, HEAD))
    if format == "auto":
        dicts = [row for _, row in head if isinstance(row, dict)]
        format = detect(dicts, name) if dicts else "comparison"
    return format, itertools.chain(head, rows)


def detect(rows: Sequence[Row], name: str = "rows") -> str:
    """The key of `FORMATS` that fits most of `rows`.

    Raises:
        DataError: no format fits any of them.
    """
    fits = Counter(key for row in rows for key in _fitting(row)[:1])
    if fits:
        return fits.most_common(1)[0][0]
    keys = ", ".join(sorted({fields.on_one_line(key) for row in rows for key in row})) or "no keys at all"
    looks = "; ".join(f"{key}: {shape.looks}" for key, shape in FORMATS.items())
    raise DataError(f"{name}: no known format has rows with {keys}", f"known formats are {looks}")


def convert_rows(rows: Numbered, format: str, place: Place, taken: set[str]) -> Iterator[Comparison | Rejected]:
    """One result per row of `format`; `taken` holds the ids in use and gains those that are given here."""
    for number, row in rows:
        here = replace(place, row=number)
        if isinstance(row, Comparison):
            yield _unique(row, here, taken)
        elif isinstance(row, dict):
            shape = FORMATS[detect([row], place.name) if format == "comparison" else format]
            result = _convert(shape, row, here)
            yield result if isinstance(result, Rejected) else _unique(result, here, taken)
        else:
            raise here.fault(type(row).__name__, "a dict or a Comparison")


def convert_hh(row: Row, at: Place) -> Comparison | Rejected:
    """An Anthropic pair of transcripts: turns start at "\\n\\nHuman:" and "\\n\\nAssistant:", and one blank after that
    belongs to the marker. The longest run of common turns is the prompt.

    Empty turns are content. Several turns of one speaker inside the prompt are kept; a row is irregular where the
    prompt does not end with the human, or where a side has anything but one assistant turn after the split: there it
    is unknown which turn was judged.
    """
    chosen, rejected = (_transcript(fields.text(row, key, at)) for key in ("chosen", "rejected"))
    if not chosen or not rejected:
        return Rejected(at.row, "irregular", 'a transcript does not begin with "\\n\\nHuman:"')
    prompt, chosen, rejected = _split_turns(chosen, rejected)
    if not prompt or prompt[-1].role != "user":
        return Rejected(at.row, "irregular", "the common turns do not end with a human turn")
    if len(chosen) > 1 or len(rejected) > 1:
        return Rejected(at.row, "irregular", f"{len(chosen)} and {len(rejected)} turns after the common ones, not 1")
    if {chosen[0].role, rejected[0].role} != {"assistant"}:
        return Rejected(at.row, "irregular", "a transcript ends with a human turn")
    return _pair(row, prompt, chosen, rejected, at)


def convert_preference(row: Row, at: Place) -> Comparison | Rejected:
    """A chosen and a rejected response, as text or messages, with a prompt of their own or one that both begin with.

    Plain texts become `text` messages, and prompt plus response is the source text, to the byte. A common beginning of
    texts is cut back to the last word boundary, and the blanks there go to the response. Where the prompt is given and
    both lists of messages repeat it, the repetition goes.
    """
    chosen, rejected = fields.field(row, "chosen", at), fields.field(row, "rejected", at)
    if isinstance(chosen, str) != isinstance(rejected, str):
        found = f"{fields.kind(chosen)} in chosen and {fields.kind(rejected)} in rejected"
        raise at.fault(found, "the same kind in both")
    if "prompt" not in row and isinstance(chosen, str):
        return _pair(row, *_split_texts(chosen, rejected), at)
    plain = isinstance(chosen, str) and isinstance(row.get("prompt"), str)
    better, worse = (fields.turns(t, "text" if plain else "assistant", "response", at) for t in (chosen, rejected))
    if "prompt" not in row:
        return _pair(row, *_split_turns(better, worse), at)
    prompt = fields.turns(row["prompt"], "text" if plain else "user", "prompt", at)
    return _pair(row, prompt, *_without_prompt(prompt, better, worse, at), at)


def convert_ranked(row: Row, at: Place) -> Comparison | Rejected:
    """A prompt and K completions with a rank (lower is better) or a score (higher is better); ranks win over scores.

    Every pair with different places becomes a judgment, whose margin is the difference of the scores where they agree
    with the order. Completions with the same text stay, and the `identical` policy decides about their judgments.
    """
    completions = fields.field(row, "completions", at)
    if not isinstance(completions, list) or not all(isinstance(entry, dict) for entry in completions):
        raise at.fault(fields.kind(completions), 'a list of {"content": ..., "score" or "rank": ...} in completions')
    contents = [fields.field(entry, "content", at) for entry in completions]
    plain = all(isinstance(text, str) for text in (fields.field(row, "prompt", at), *contents))
    prompt = fields.turns(row["prompt"], "text" if plain else "user", "prompt", at)
    turns = [fields.turns(text, "text" if plain else "assistant", "response", at) for text in contents]
    scores = [fields.number(entry, "score", at) for entry in completions]
    order = _order([fields.number(entry, "rank", at) for entry in completions], scores)
    if len(completions) < 2:
        return Rejected(at.row, "one_response", f"{len(completions)} completions")
    if not order:
        return Rejected(at.row, "missing_score", "completions with neither a rank each nor a score each")
    judgments = tuple(_judgments(order, scores, at.equal_scores))
    if not judgments:
        return Rejected(at.row, "no_judgment", f"{len(order)} completions, all equal")
    responses = tuple(Response(messages, score) for messages, score in zip(turns, scores, strict=True))
    return _comparison(prompt, responses, judgments, order, at)


def _convert(shape: Format, row: Row, at: Place) -> Comparison | Rejected:
    result = shape.convert(row, at)
    if isinstance(result, Rejected):
        return result
    own = row.get("id")
    known = isinstance(own, str | int) and not isinstance(own, bool)
    source = row.get("source")
    return replace(
        result,
        id=fields.on_one_line(own) if known else "",
        source=source if isinstance(source, str) else at.stem,
        tags=_tags(row, {*shape.fields, "id", "source"}),
    )


def _unique(comparison: Comparison, at: Place, taken: set[str]) -> Comparison:
    name = comparison.id if comparison.id and comparison.id not in taken else f"{at.stem}:{at.row}"
    while name in taken:
        name += "~"
    taken.add(name)
    return comparison if name == comparison.id else replace(comparison, id=name)


def _tags(row: Row, read: set[str]) -> dict[str, str]:
    tags = {}
    for key, value in row.items():
        if key not in read and isinstance(value, str | int):
            text = value if isinstance(value, str) else json.dumps(value)
            if 0 < len(text) <= TAG_CHARACTERS:
                tags[str(key)] = text
    return tags


def _pair(row: Row, prompt: Turns, chosen: Turns, rejected: Turns, at: Place) -> Comparison | Rejected:
    judgment = Judgment(0, 1, margin=fields.number(row, "margin", at))
    return _comparison(prompt, (Response(chosen), Response(rejected)), (judgment,), None, at)


def _comparison(
    prompt: Turns,
    responses: tuple[Response, ...],
    judgments: tuple[Judgment, ...],
    rank: tuple[float, ...] | None,
    at: Place,
) -> Comparison | Rejected:
    for response in responses:
        fields.check_order((*prompt, *response.messages), at)
    for message in (*prompt, *(message for response in responses for message in response.messages)):
        try:
            message.content.encode()
        except UnicodeEncodeError as error:
            return Rejected(at.row, "broken_text", f"character {error.start + 1} of a {message.role} turn")
    return Comparison("", prompt_key(prompt), prompt, responses, judgments, rank)


def _order(ranks: Sequence[float | None], scores: Sequence[float | None]) -> tuple[float, ...]:
    """How many completions are better than each one: by rank where all have one, else by score, else nothing."""
    lower = [rank for rank in ranks if rank is not None]
    higher = [-score for score in scores if score is not None]
    places = lower if len(lower) == len(ranks) else higher
    if len(places) < len(ranks):
        return ()
    first = {place: index for index, place in reversed(list(enumerate(sorted(places))))}
    return tuple(float(first[place]) for place in places)


def _judgments(order: Sequence[float], scores: Sequence[float | None], equal: EqualScores) -> Iterator[Judgment]:
    for first, second in itertools.combinations(range(len(order)), 2):
        better, worse = (first, second) if order[first] <= order[second] else (second, first)
        high, low = scores[better], scores[worse]
        margin = None if high is None or low is None or high < low else high - low
        if order[better] < order[worse]:
            yield Judgment(better, worse, margin=margin)
        elif equal == "tie":
            yield Judgment(better, worse, probability=0.5, margin=margin)


def _transcript(text: str) -> Turns:
    """The turns of an Anthropic transcript; none where it does not begin with the human."""
    before, *parts = TRANSCRIPT_TURN.split(text)
    if before or not parts or parts[0] != "Human":
        return ()
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[name], content) for name, content in zip(parts[::2], parts[1::2], strict=True))


def _split_turns(chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """Common turns, then what follows on each side, at least one turn."""
    shared = _shared(chosen[:-1], rejected[:-1])
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _split_texts(chosen: str, rejected: str) -> tuple[Turns, Turns, Turns]:
    """Common text up to a word boundary, then the rest of each side; no common text is no prompt."""
    cut = _word_boundary(chosen[: _shared(chosen, rejected)])
    prompt = (Message("text", chosen[:cut]),) if cut else ()
    return prompt, (Message("text", chosen[cut:]),), (Message("text", rejected[cut:]),)


def _shared(a: Sequence[object], b: Sequence[object]) -> int:
    """Number of leading elements that two sequences share."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _word_boundary(text: str) -> int:
    """Length of `text` without its last word, which may go on, and without the blanks before that."""
    word = len(text.rsplit(maxsplit=1)[-1]) if text[-1:].strip() else 0
    return len(text[: len(text) - word].rstrip())


def _without_prompt(prompt: Turns, chosen: Turns, rejected: Turns, at: Place) -> tuple[Turns, Turns]:
    start = len(prompt)
    repeats = {len(side) > start and side[:start] == prompt for side in (chosen, rejected)}
    if len(repeats) > 1 and prompt:
        raise at.fault("a prompt that only one side repeats", "it in both responses or in none")
    return (chosen[start:], rejected[start:]) if repeats == {True} else (chosen, rejected)


def _fitting(row: Row) -> list[str]:
    return [key for key, shape in FORMATS.items() if shape.matches(row)]


def _looks_like_hh(row: Row) -> bool:
    sides = [row.get("chosen"), row.get("rejected")]
    return "prompt" not in row and all(isinstance(side, str) and TRANSCRIPT_TURN.match(side) for side in sides)


FORMATS: dict[str, Format] = {
    "hh": Format(("chosen", "rejected", "margin"), _looks_like_hh, convert_hh, HH_LOOKS),
    "ranked": Format(
        ("prompt", "completions"),
        lambda row: "completions" in row,
        convert_ranked,
        '{"prompt": ..., "completions": [{"content": ..., "score" or "rank": ...}, ...]}',
    ),
    "preference": Format(
        ("prompt", "chosen", "rejected", "margin"),
        lambda row: {"chosen", "rejected"} <= set(row),
        convert_preference,
        '{"prompt": text or messages (or none), "chosen": ..., "rejected": ...}',
    ),
}
"""Every known format, in the order in which detection tries them."""
