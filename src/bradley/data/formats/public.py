"""Public data sets with a preference per row: SHP, summaries with human feedback, RewardBench 2."""

import itertools
import math
from typing import Any

from ...records import Comparison, Judgment, Message, Rejected, Response
from .. import rows
from ..rows import Row, RowPlace
from .absent import without_nulls
from .base import Format, comparison, has, texts_as_turns

SHP_IDS = ("post_id", "c_root_id_A", "c_root_id_B")
"""Keys that together identify a pair of answers."""


def convert_shp(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert two answers to a post on Reddit (Ethayarajh et al. 2022).

    `labels` is 1 if A has more karma, 0 if B has. Karma becomes the score of each response, but no margin, because
    karma grows with the readers of a post. The ratio of the larger to the smaller score is the row's `score_ratio`, if
    given. Without a positive smaller score the ratio is infinite, or 1 for equal scores.
    """
    first, second = rows.number(row, "score_A", at), rows.number(row, "score_B", at)
    better = 1 - rows.whole_number(row, "labels", 2, at)
    answers = [rows.text(row, key, at) for key in ("human_ref_A", "human_ref_B")]
    prompt, sides = texts_as_turns(rows.text(row, "history", at), *answers)
    least = at.settings.min_score_ratio
    if least > 1.0:
        ratio = _ratio(first, second, rows.number(row, "score_ratio", at), at)
        if ratio < least:
            return Rejected(at.row, "score_ratio", f"scores with a ratio of {ratio:g}, the least is {least:g}")
    responses = (Response(sides[0], first), Response(sides[1], second))
    return comparison(prompt, responses, [Judgment(better, 1 - better)], at)


def convert_tldr(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert two summaries of a post on Reddit or of a news article (Stiennon et al. 2020).

    `choice` is the index of the better summary. The prompt is written as in the paper, up to "TL;DR:". Each summary
    follows as text after a blank.
    """
    summaries = rows.objects(row, "summaries", 'a list of {"text": ...}', at)
    answers = [rows.text(entry, "text", at) for entry in summaries]
    choice = rows.whole_number(row, "choice", len(summaries), at) if summaries else 0
    prompt = _summarised(rows.field(row, "info", at, "an object"), at)
    # All fields are read before a rejection: a row of the wrong shape must stop the run, whatever else is wrong.
    if len(summaries) < 2:
        return Rejected(at.row, "one_response", f"{len(summaries)} summaries")
    judgments = [Judgment(choice, other) for other in range(len(summaries)) if other != choice]
    # A summary may come with or without a leading blank, and the blank must not tell the two sides apart.
    responses = [Response((Message("text", f" {answer.lstrip()}"),)) for answer in answers]
    return comparison((Message("text", prompt),), responses, judgments, at)


def convert_rewardbench2(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a prompt of RewardBench 2 (Malik et al. 2025): every chosen response beats every rejected response.

    Several chosen responses, as in the subset Ties, are not judged among themselves.
    """
    row = without_nulls(row, ("chosen", "rejected"), at)
    chosen, rejected = rows.texts(row, "chosen", at), rows.texts(row, "rejected", at)
    prompt, sides = texts_as_turns(rows.text(row, "prompt", at), *chosen, *rejected)
    if not chosen or not rejected:
        return Rejected(at.row, "no_judgment", f"{len(chosen)} chosen and {len(rejected)} rejected responses")
    pairs = itertools.product(range(len(chosen)), range(len(chosen), len(sides)))
    judgments = [Judgment(better, worse) for better, worse in pairs]
    return comparison(prompt, [Response(messages) for messages in sides], judgments, at)


def _ratio(first: float | None, second: float | None, given: float | None, at: RowPlace) -> float:
    """Return the ratio of the larger to the smaller score, from 1 to infinity."""
    if given is not None:
        return given
    if first is None or second is None:
        raise at.fault("no score_ratio and not both of score_A and score_B", "what data.min_score_ratio looks at")
    high, low = max(first, second), min(first, second)
    if high == low:
        return 1.0
    # Karma may be 0 or negative, where a quotient would say nothing about the distance.
    return high / low if low > 0 else math.inf


def _summarised(info: Any, at: RowPlace) -> str:
    """Return the prompt for a post or an article, in the words of the paper."""
    if not isinstance(info, dict):
        raise at.fault(f"{rows.kind(info)} in info", "an object with subreddit, title and post, or with article")
    if info.get("post") is None and info.get("article") is not None:
        return f"Article:\n{rows.text(info, 'article', at)}\n\nTL;DR:"
    subreddit, title, post = (rows.text(info, key, at) for key in ("subreddit", "title", "post"))
    return f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"


def _shp_id(row: Row) -> str | None:
    """Return the id of the post with the ids of its two answers, if given: a post has many pairs."""
    parts = [str(row[key]) for key in SHP_IDS if isinstance(row.get(key), str | int)]
    return "-".join(parts) or row.get("id")


def _tldr_id(row: Row) -> Any:
    """Return the row's id, or the id of the post."""
    return row.get("id") or (row["info"].get("id") if isinstance(row.get("info"), dict) else None)


def _lists_of_texts(row: Row) -> bool:
    """Return True if both sides are lists with a text in at least one; lists of messages are another format."""
    sides = [row.get("chosen"), row.get("rejected")]
    lists = [side for side in sides if isinstance(side, list)]
    return len(lists) == 2 and any(isinstance(entry, str) for side in lists for entry in side)


SHP = Format(
    ("history", "human_ref_A", "human_ref_B", "labels", "score_A", "score_B", "score_ratio"),
    has("human_ref_A", "human_ref_B"),
    convert_shp,
    '{"history": ..., "human_ref_A": ..., "human_ref_B": ..., "labels": 1 (A is better) or 0}',
    settings=("min_score_ratio",),
    no_labels=(*SHP_IDS, "created_at_utc_A", "created_at_utc_B"),
    own_id=_shp_id,
)
TLDR = Format(
    ("info", "summaries", "choice"),
    has("summaries", "choice"),
    convert_tldr,
    '{"info": {"subreddit": ..., "title": ..., "post": ...}, "summaries": [{"text": ...}, ...], "choice": 0}',
    own_id=_tldr_id,
    # The paper's prompt of an article has no title.
    remarks=("extra", "summaries.note", "info.title"),
)
REWARDBENCH2 = Format(
    ("prompt", "chosen", "rejected"),
    _lists_of_texts,
    convert_rewardbench2,
    '{"prompt": ..., "chosen": [texts], "rejected": [texts]}',
    remarks=("error", "additional_metadata"),
)
