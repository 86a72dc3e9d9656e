"""Pairs of a chosen and a rejected response: transcripts, texts and messages, with margin, probability and weight."""

import json
from collections.abc import Sequence
from typing import Any

from ...records import Comparison, Judgment, Message, Rejected, Response
from .. import rows
from ..rows import Row, RowPlace
from .base import Format, agreeing, comparison, has, leaning, row_weight, shared, weighed
from .messages import normal, text_of_parts
from .transcripts import TRANSCRIPT_TURN, answer, asked, transcript
from .turns import Turns, said, turns

SAID = ("margin", "probability", "weight")
"""Keys of a pair about the preference: see `pair`."""
SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
"""Names of the two sides' scores in public data sets; the first pair of names with a number on both sides counts."""
SYSTEM_TEXTS = ("system", "system_prompt", "system_message")
"""Columns of a system text beside transcripts."""
PARTS = 'give parts of one answer a type, as in {"type": "text", "text": "..."}, or join the parts'
"""Hint about a list of texts in place of one better answer."""
REPEATED = 16
"""Fewest characters of a prompt for a repetition at the beginning of two texts to be no chance."""


def convert_hh(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert an Anthropic pair of transcripts; the longest run of common turns is the prompt.

    Turns start at "\\n\\nHuman:" and "\\n\\nAssistant:"; a blank after the colon belongs to the marker. Empty turns are
    content. Several turns in a row by the same speaker inside the prompt are kept.

    A system text beside the transcripts becomes the first turn. Any other text of a prompt has to stand in both
    transcripts.

    A row is irregular if the prompt does not end with the human. A row is also irregular if a side has anything but a
    single assistant turn after the prompt: the judged turn would be unknown.
    """
    chosen, rejected = (transcript(rows.text(row, key, at)) for key in ("chosen", "rejected"))
    if not chosen or not rejected:
        return Rejected(at.row, "irregular", 'a transcript does not begin with "\\n\\nHuman:"')
    _check_held(row, (*chosen, *rejected), at)
    prompt, chosen, rejected = _split_turns(chosen, rejected)
    if not prompt or prompt[-1].role != "user":
        return Rejected(at.row, "irregular", "the common turns do not end with a human turn")
    if len(chosen) > 1 or len(rejected) > 1:
        return Rejected(at.row, "irregular", f"{len(chosen)} and {len(rejected)} turns after the common ones, not 1")
    if {chosen[0].role, rejected[0].role} != {"assistant"}:
        return Rejected(at.row, "irregular", "a transcript ends with a human turn")
    prompt = (*_system(row, at), *prompt)
    return pair(row, prompt, (Response(chosen), Response(rejected)), at)


def _check_held(row: Row, told: Turns, at: RowPlace) -> None:
    """Raise `DataError` for a prompt beside transcripts of which a transcript does not hold every text."""
    given = no_prompt(normal(row.get("prompt")))
    if given is None:
        return
    said = (
        transcript(given) or (Message("user", given),) if isinstance(given, str) else turns(given, "user", "prompt", at)
    )
    contents = {turn.content.strip() for turn in told}
    # Two transcripts with another first turn are irregular, so a text of one stands in both.
    if any(turn.content.strip() and turn.content.strip() not in contents for turn in said):
        hint = "put the prompt into both transcripts, or into every row with answers alone in chosen and rejected"
        raise at.fault("a prompt that the transcripts do not hold", "transcripts with the whole prompt", hint)


def _system(row: Row, at: RowPlace) -> Turns:
    """Return the system turn of a row of transcripts; none without a system text."""
    given = [text_of_parts(row[key]) for key in SYSTEM_TEXTS if row.get(key)]
    if any(not isinstance(text, str) for text in given) or len(given) > 1:
        raise at.fault(f"{rows.keys_of(row)} with {len(given)} values for the system turn", "one system text")
    return tuple(Message("system", text) for text in given if text.strip())


def convert_preference(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a chosen and a rejected response, as text or messages, with a given prompt or a common beginning.

    Plain texts become `text` messages; prompt plus response is the source text, to the byte. Without a prompt, texts
    split after their common beginning, cut back to the last word boundary. Blanks at the boundary go to the response.

    If both sides repeat a given prompt, the repetition is cut. A text shorter than `REPEATED` characters may be
    repeated by chance, and stays. A prompt given as text may also be a user turn of the common beginning of both lists,
    outer blanks aside: then the whole beginning is the prompt.

    A prompt that is a transcript of `hh` becomes the turns of the transcript. Null, an empty list and a blank text are
    no prompt. Pairs of messages without a prompt have the turns in common as the prompt.

    `tools`, and `chat_template_kwargs` after them, become the template's arguments. Scores of both sides are kept.
    Their difference is the margin, unless the row has a margin or the scores contradict the preference.

    A list of texts in `rejected` beside one text in `chosen` holds several answers, each worse than the chosen one. So
    does a list of objects of which none names a speaker or a type.
    """
    chosen, rejected = said(row, "chosen", at), said(row, "rejected", at)
    if several := _several(chosen, rejected):
        return _against_each(row, *several, at)
    if both := _several_better(chosen):
        raise at.fault(f"{both} texts in chosen: parts of one answer, or several answers", "one better answer", PARTS)
    if isinstance(chosen, str) != isinstance(rejected, str):
        found = f"{rows.kind(chosen)} in chosen and {rows.kind(rejected)} in rejected"
        raise at.fault(found, "the same kind in both")
    parts = _parts(row, chosen, rejected, at)
    if isinstance(parts, Rejected):
        return parts
    prompt, *sides = parts
    high, low = _scores(row, at)
    responses = (Response(sides[0], high), Response(sides[1], low))
    return pair(row, prompt, responses, at, margin=agreeing(high, low), template_args=template_args(row, at))


def _several(chosen: Any, rejected: Any) -> tuple[str, list[str]] | None:
    """Return one chosen text and a list of rejected texts; None for other sides."""
    if isinstance(chosen, list) and len(chosen) == 1 and isinstance(chosen[0], str) and isinstance(rejected, list):
        chosen = chosen[0]
    several = isinstance(rejected, list) and all(isinstance(text, str) for text in rejected)
    return (chosen, rejected) if isinstance(chosen, str) and several else None


def _several_better(chosen: Any) -> int:
    """Return the number of texts in a list of better answers; 0 for one answer."""
    several = isinstance(chosen, list) and len(chosen) > 1 and all(isinstance(text, str) for text in chosen)
    return len(chosen) if several else 0


def _against_each(row: Row, chosen: str, rejected: list[str], at: RowPlace) -> Comparison | Rejected:
    """Return the comparison of a chosen text with several rejected ones."""
    if not rejected:
        return Rejected(at.row, "one_response", "no rejected answer")
    if len(rejected) == 1:
        return convert_preference({**row, "chosen": chosen, "rejected": rejected[0]}, at)
    one_pair = ("margin", "probability", *(key for keys in SCORES for key in keys))
    if said_of_one := next((key for key in one_pair if row.get(key) is not None), ""):
        raise at.fault(f"{said_of_one} beside several rejected answers", "it beside one rejected answer")
    # Each pair is read as a row of its own, so a prompt is cut, or inferred, alike for every answer.
    pairs = [convert_preference({**row, "chosen": chosen, "rejected": text, "weight": None}, at) for text in rejected]
    if bad := next((found for found in pairs if isinstance(found, Rejected)), None):
        return bad
    read = [found for found in pairs if isinstance(found, Comparison)]
    if len({(found.prompt, found.responses[0]) for found in read}) > 1:
        raise at.fault("no prompt beside several rejected answers", "a prompt")
    responses = (read[0].responses[0], *(found.responses[1] for found in read))
    judgments = [Judgment(0, place) for place in range(1, len(responses))]
    return weighed(comparison(read[0].prompt, responses, judgments, at, template_args=template_args(row, at)), row, at)


def pair(
    row: Row,
    prompt: Turns,
    responses: tuple[Response, Response],
    at: RowPlace,
    *,
    margin: float | None = None,
    template_args: dict[str, Any] | None = None,
) -> Comparison | Rejected:
    """Return the comparison of a chosen and a rejected response, with the row's margin, probability and weight.

    The row's `margin` wins over the argument. `probability`, for the chosen response being preferred, swaps the sides
    below 0.5 and follows `equal_scores` at 0.5. `weight` is positive; a row of weight 0 has no judgment.

    Raises:
        DataError: a value out of range.
    """
    own = rows.number(row, "margin", at)
    chance = rows.number_between(row, "probability", 0.0, 1.0, at)
    weight = row_weight(row, at)
    sides = (1.0, 0.0) if chance is None else (chance, 1.0 - chance)
    weight = 1.0 if weight is None else weight
    judgments = leaning(*sides, at, margin=margin if own is None else own, weight=weight) if weight else []
    if not judgments:
        return Rejected(at.row, "no_judgment", "probability 0.5" if weight else "weight 0")
    return comparison(prompt, responses, judgments, at, template_args=template_args)


def _parts(row: Row, chosen: Any, rejected: Any, at: RowPlace) -> tuple[Turns, Turns, Turns] | Rejected:
    """Return prompt, chosen and rejected of a preference row."""
    given = no_prompt(normal(row.get("prompt")))
    if given is None and isinstance(chosen, str):
        at.notes["inferred_prompts"] += 1
        return _split_texts(chosen, rejected)
    # Texts throughout stay texts: nobody said where turns begin, and `raw` must write the source to the byte.
    plain = isinstance(chosen, str) and isinstance(given, str)
    if plain:
        return _plain_parts(given, chosen, rejected, at)
    better, worse = turns(chosen, "assistant", "response", at), turns(rejected, "assistant", "response", at)
    if given is None:
        return _split_turns(better, worse)
    prompt = turns(given, "user", "prompt", at)
    if isinstance(given, str) and isinstance(chosen, list):
        return _without_text(given, asked(given, at) or prompt, better, worse, at)
    return _joined(prompt, *_without_prompt(prompt, better, worse, at))


def _plain_parts(prompt: str, chosen: str, rejected: str, at: RowPlace) -> tuple[Turns, Turns, Turns]:
    """Return prompt, chosen and rejected of texts throughout."""
    if len(prompt) >= REPEATED and chosen.startswith(prompt) and rejected.startswith(prompt):
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    if before := asked(prompt, at):
        return (
            before,
            (Message("assistant", answer(chosen, prompt)),),
            (Message("assistant", answer(rejected, prompt)),),
        )
    return (Message("text", prompt),), (Message("text", chosen),), (Message("text", rejected),)


def no_prompt(given: Any) -> Any:
    """Return the value given as a prompt; None for null, an empty list, and an empty or blank text."""
    return None if given is None or given == [] or (isinstance(given, str) and not given.strip()) else given


def _without_text(
    given: str, prompt: Turns, chosen: Turns, rejected: Turns, at: RowPlace
) -> tuple[Turns, Turns, Turns] | Rejected:
    """Return prompt, chosen and rejected for a prompt given as text, and sides given as messages."""
    # UltraFeedback's binarized rows give the first question as text and repeat the conversation in both sides.
    parts = _split_turns(chosen, rejected)
    if any(turn.role == "user" and turn.content.strip() == given.strip() for turn in parts[0]):
        return parts
    chosen, rejected = _without_prompt(prompt, chosen, rejected, at)
    if "user" in (chosen[0].role, rejected[0].role):
        return Rejected(at.row, "irregular", "a side begins with a turn of the user that is not the prompt")
    return prompt, chosen, rejected


def _without_prompt(prompt: Turns, chosen: Turns, rejected: Turns, at: RowPlace) -> tuple[Turns, Turns]:
    """Cut a prompt repeated by both sides; raise `DataError` for a prompt repeated by a single side."""
    start = len(prompt)
    repeats = {len(side) > start and side[:start] == prompt for side in (chosen, rejected)}
    if len(repeats) > 1 and prompt:
        raise at.fault("a prompt that only one side repeats", "it in both responses or in none")
    return (chosen[start:], rejected[start:]) if repeats == {True} else (chosen, rejected)


def _joined(prompt: Turns, chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """Return the parts with the turns of the user that both sides share in the prompt.

    Sides may be whole conversations beside a prompt that holds a system text alone, or repeats turns of theirs.
    """
    if {chosen[0].role, rejected[0].role} <= {"user", "system"}:
        common, better, worse = _split_turns(chosen, rejected)
        told = {turn.content.strip() for turn in common}
        if all(turn.content.strip() in told for turn in prompt if turn.role != "system"):
            system = tuple(turn for turn in prompt if turn.role == "system" and turn.content.strip() not in told)
            return (*system, *common), better, worse
    return prompt, chosen, rejected


def _scores(row: Row, at: RowPlace) -> tuple[float | None, float | None]:
    """Return the scores of chosen and rejected, or None for both."""
    for better, worse in SCORES:
        if better not in row and worse not in row:
            continue
        high, low = rows.number(row, better, at), rows.number(row, worse, at)
        if high is not None and low is not None:
            return high, low
    return None, None


def template_args(row: Row, at: RowPlace) -> dict[str, Any]:
    """Return the row's arguments for the chat template: `tools`, and `chat_template_kwargs` after them.

    Raises:
        DataError: `tools` that are no list of objects, or `chat_template_kwargs` that are no object.
    """
    tools = row.get("tools")
    # A Parquet column has the same fields in every row, so data sets store schemas of differing shapes as JSON text.
    if isinstance(tools, str) and not tools.strip():
        tools = None
    elif isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError) as error:
            raise at.fault(f"tools that are not JSON: {error}", "a list of JSON schemas") from error
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise at.fault(f"{rows.kind(tools)} as tools", "a list of JSON schemas, or such a list as JSON text")
    kwargs = row.get("chat_template_kwargs")
    if not isinstance(kwargs, dict | None):
        raise at.fault(f"{rows.kind(kwargs)} as chat_template_kwargs", "an object")
    return {**({"tools": tools} if tools else {}), **(kwargs or {})}


def _split_turns(chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """Return the common turns, then the rest of each side, at least one turn."""
    cut = shared(chosen[:-1], rejected[:-1])
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _split_texts(chosen: str, rejected: str) -> tuple[Turns, Turns, Turns]:
    """Return the common text up to a word boundary, then the rest of each side; without common text no prompt."""
    # Cut inside a word, the prompt would have tokens that neither side begins with.
    cut = _word_boundary(chosen[: shared(chosen, rejected)])
    prompt = (Message("text", chosen[:cut]),) if cut else ()
    return prompt, (Message("text", chosen[cut:]),), (Message("text", rejected[cut:]),)


def _word_boundary(text: str) -> int:
    """Return the length of `text` without the last word, which may continue, and the blanks before that word."""
    word = len(text.rsplit(maxsplit=1)[-1]) if text[-1:].strip() else 0
    return len(text[: len(text) - word].rstrip())


def _looks_like_hh(row: Row) -> bool:
    """Return True if both sides are transcripts, and the row has no prompt."""
    sides = [row.get("chosen"), row.get("rejected")]
    return no_prompt(row.get("prompt")) is None and all(
        isinstance(side, str) and TRANSCRIPT_TURN.match(side) for side in sides
    )


def _first_id(keys: Sequence[str]) -> Any:
    """Return a function from a row to the first id among `keys`."""
    return lambda row: next((row[key] for key in keys if row.get(key) is not None), None)


HH = Format(
    ("chosen", "rejected", *SAID, *SYSTEM_TEXTS),
    _looks_like_hh,
    convert_hh,
    '{"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": the same}',
    no_labels=("prompt",),
)
PREFERENCE = Format(
    ("prompt", "chosen", "rejected", *SAID, "tools", "chat_template_kwargs", *(key for keys in SCORES for key in keys)),
    has("chosen", "rejected"),
    convert_preference,
    '{"prompt": text or messages (or none), "chosen": ..., "rejected": ...}',
    no_labels=("prompt_id",),
    own_id=_first_id(("id", "prompt_id")),
)
