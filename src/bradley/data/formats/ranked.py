"""Rankings: many responses to a prompt, each with a rank or a score; every pair becomes a judgment."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from ...records import Comparison, Judgment, Rejected, Response
from .. import rows
from ..rows import Row, RowPlace
from .absent import with_answers
from .base import FUNCTION, Format, Refused, agreeing, comparison, option, texts_as_turns
from .turns import Turns, turns


def convert_ranked(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a prompt and K completions with a rank (lower is better) or a score (higher is better).

    Ranks win over scores. Every pair with different places becomes a judgment; the margin is the difference of scores
    that agree with the order. Completions with the same text stay: the `identical` policy decides about the judgments.
    """
    row = with_answers(row, "completions", "content", ("rank", "score"), at)
    completions = rows.objects(row, "completions", 'a list of {"content": ..., "score" or "rank": ...}', at)
    contents = [rows.field(entry, "content", at) for entry in completions]
    # Plain text throughout stays text, as in `pairs`; a single list of messages makes every text a turn.
    plain = all(isinstance(text, str) for text in (rows.field(row, "prompt", at), *contents))
    prompt = turns(row["prompt"], "text" if plain else "user", "prompt", at)
    sides = [turns(text, "text" if plain else "assistant", "response", at) for text in contents]
    scores = [rows.number(entry, "score", at) for entry in completions]
    return ranking(prompt, sides, [rows.number(entry, "rank", at) for entry in completions], scores, at)


FEWEST_AGAINST = 4
"""Fewest pairs told apart by rank and by score before the two are compared."""


def check_order(rows_: Sequence[Row]) -> None:
    """Raise `Refused` for ranks that say the opposite of the scores wherever both tell two completions apart.

    Args:
        rows_: first rows.
    """
    told = [agrees for row in rows_ for agrees in _agreements(row.get("completions"))]
    if len(told) >= FEWEST_AGAINST and not any(told):
        raise Refused(
            "completions have a rank (1 is the best) and a score (the highest is the best), and the two disagree on "
            f"all of {len(told)} pairs",
            f"leave out the wrong one: {option('ignore', 'completions.rank')}, or "
            f"{option('ignore', 'completions.score')}; or use {FUNCTION}",
        )


def _agreements(completions: Any) -> Iterator[bool]:
    """Yield for each pair of completions told apart by rank and by score: True if both prefer the same one."""
    entries = [entry for entry in completions if isinstance(entry, dict)] if isinstance(completions, list) else []
    numbers = [(entry.get("rank"), entry.get("score")) for entry in entries]
    whole = [(a, b) for a, b in numbers if isinstance(a, int | float) and isinstance(b, int | float)]
    for (rank, score), (other_rank, other_score) in itertools.combinations(whole, 2):
        if rank != other_rank and score != other_score:
            yield (rank < other_rank) == (score > other_score)


def direction(format: str, rows_: Sequence[Row]) -> str:
    """Say which numbers of completions are read, and which number is the best; "" for other formats.

    Args:
        rows_: first rows.
    """
    if format not in ("ranked", "ultrafeedback"):
        return ""
    lists = [value for row in rows_ if isinstance(value := row.get("completions"), list) and value]
    first, second = ("rank", "score") if format == "ranked" else ("overall_score", "fine-grained_score")
    whole = [all(isinstance(entry, dict) and entry.get(first) is not None for entry in value) for value in lists]
    best = "lowest" if format == "ranked" else "highest"
    said = [f"completions.{first}, the {best} is best"] if any(whole) else []
    said += [f"completions.{second}, the highest is best"] if not all(whole) else []
    return f"better <- {' or '.join(said)}" if said else ""


def convert_ultrafeedback(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert an instruction of UltraFeedback (Cui et al. 2023) with its completions, ranked by `overall_score`.

    If a completion lacks `overall_score`, the whole row is ranked by `fine-grained_score`, so that only scores of the
    same kind are compared. The system prompt of each completion is not part of the judged conversation.
    """
    row = with_answers(row, "completions", "response", ("overall_score", "fine-grained_score"), at)
    completions = rows.objects(row, "completions", 'a list of {"response": ..., "overall_score": ...}', at)
    answers = [rows.text(entry, "response", at) for entry in completions]
    prompt, sides = texts_as_turns(rows.text(row, "instruction", at), *answers)
    overall, fine = (
        [rows.number(entry, key, at) for entry in completions] for key in ("overall_score", "fine-grained_score")
    )
    return ranking(prompt, sides, [], fine if None in overall else overall, at)


def ranking(
    prompt: Turns,
    sides: Sequence[Turns],
    ranks: Sequence[float | None],
    scores: Sequence[float | None],
    at: RowPlace,
    *,
    template_args: dict[str, Any] | None = None,
) -> Comparison | Rejected:
    """Return the comparison of K responses by their ranks, if all have a rank, or else by their scores.

    Returns:
        The comparison; or a rejection for fewer than two responses, a missing score, or equal places throughout.
    """
    order = _order(ranks, scores)
    if len(sides) < 2:
        return Rejected(at.row, "one_response", f"{len(sides)} completions")
    if not order:
        return Rejected(at.row, "missing_score", "completions with neither a rank each nor a score each")
    judgments = tuple(_judgments(order, scores, at.settings.equal_scores == "tie"))
    if not judgments:
        return Rejected(at.row, "no_judgment", f"{len(order)} completions, all equal")
    responses = [Response(messages, score) for messages, score in zip(sides, scores, strict=True)]
    return comparison(prompt, responses, judgments, at, rank=order, template_args=template_args)


def _order(ranks: Sequence[float | None], scores: Sequence[float | None]) -> tuple[float, ...]:
    """Count the better completions for each completion: by rank if all have a rank, else by score, else ()."""
    lower = [rank for rank in ranks if rank is not None]
    higher = [-score for score in scores if score is not None]
    places = lower if len(lower) == len(scores) else higher
    if len(places) < len(scores):
        return ()
    # Equal places share the count of the first: the reversed loop leaves the lowest index of each place.
    first = {place: index for index, place in reversed(list(enumerate(sorted(places))))}
    return tuple(float(first[place]) for place in places)


def _judgments(order: Sequence[float], scores: Sequence[float | None], ties: bool) -> Iterator[Judgment]:
    """Yield a judgment for every pair with different places, and for equal places if `ties`."""
    for first, second in itertools.combinations(range(len(order)), 2):
        better, worse = (first, second) if order[first] <= order[second] else (second, first)
        margin = agreeing(scores[better], scores[worse])
        if order[better] < order[worse]:
            yield Judgment(better, worse, margin=margin)
        elif ties:
            yield Judgment(better, worse, probability=0.5, margin=margin)


RANKED = Format(
    ("prompt", "completions"),
    lambda row: "completions" in row,
    convert_ranked,
    '{"prompt": ..., "completions": [{"content": ..., "score" or "rank": ...}, ...]}',
)
ULTRAFEEDBACK = Format(
    ("instruction", "completions"),
    lambda row: "instruction" in row and "completions" in row and "prompt" not in row,
    convert_ultrafeedback,
    '{"instruction": ..., "completions": [{"response": ..., "overall_score": ...}, ...]}',
    remarks=(
        *("correct_answers", "incorrect_answers", "completions.annotations", "completions.critique"),
        *("completions.custom_system_prompt", "completions.principle"),
    ),
)
