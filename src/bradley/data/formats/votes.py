"""Votes: two responses and the choices of several annotators."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...records import Comparison, Rejected, Response
from .. import rows
from ..rows import Row, RowPlace
from .base import FUNCTION, Format, ReadingInDoubt, Refused, comparison, leaning, texts_as_turns
from .turns import Turns, turns

NAMES = (("response_a", "response_b"), ("chosen", "rejected"))
"""Names of the two responses; the first pair of names found in a row counts."""
SIDES = {"a": 0.0, "b": 1.0, "tie": 0.5}
"""Vote -> the share of the vote for the second response."""
WANTED = 'a list of "a", "b" or "tie" (or 0 and 1), or counts such as {"a": 3, "b": 1, "tie": 1}'
ANNOTATORS = ("normal_worker_annotations", "expert_worker_annotations")
"""Keys of MultiPref's annotations."""
OVERALL = {
    "A-is-clearly-better": "a",
    "A-is-slightly-better": "a",
    "Tie": "tie",
    "B-is-slightly-better": "b",
    "B-is-clearly-better": "b",
}
"""MultiPref's word for a preference -> the vote."""


def convert_votes(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert responses a and b, or chosen and rejected, with `votes`; "a" and 0 are the first response."""
    first, second = (rows.field(row, key, at) for key in next((n for n in NAMES if n[0] in row), NAMES[0]))
    given = rows.field(row, "prompt", at)
    plain = all(isinstance(text, str) for text in (given, first, second))
    prompt = turns(given, "text" if plain else "user", "prompt", at)
    sides = [turns(text, "text" if plain else "assistant", "response", at) for text in (first, second)]
    return _by_votes(prompt, sides, _count(rows.field(row, "votes", at, WANTED), at), at)


def convert_multipref(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a row of MultiPref (Miranda et al. 2024): each annotator, expert or not, has a vote, `overall_pref`."""
    answers = [rows.text(row, key, at) for key in ("completion_a", "completion_b")]
    asked = "prompt" if "prompt" in row and "text" not in row else "text"
    prompt, sides = texts_as_turns(rows.text(row, asked, at), *answers)
    return _by_votes(prompt, sides, _annotations(row, at), at)


def votes_of(row: Row, format: str, at: RowPlace) -> Counter[str]:
    """Count the votes of a row for each side, "a", "b" and "tie"; no votes for a format without votes.

    Raises:
        DataError: as the conversion of the row.

    Example:
        votes_of({"votes": ["a", "a", "b"]}, "votes", RowPlace("rows", "rows"))  # Counter({"a": 2, "b": 1})
    """
    if format == "multipref":
        return _annotations(row, at)
    return _count(rows.field(row, "votes", at, WANTED), at) if format == "votes" else Counter()


def _annotations(row: Row, at: RowPlace) -> Counter[str]:
    """Count the annotations of a row of MultiPref per side."""
    votes: Counter[str] = Counter()
    for key in ANNOTATORS:
        for entry in rows.objects(row, key, 'a list of {"overall_pref": ...}', at):
            word = rows.text(entry, "overall_pref", at)
            if word not in OVERALL:
                raise at.fault(f"{rows.quoted(word)} as overall_pref", f"one of {', '.join(OVERALL)}")
            votes[OVERALL[word]] += 1
    return votes


def check_votes(rows_: Sequence[Row]) -> None:
    """Raise `Refused` for lists of two numbers in every row: one of each annotator, or one for each answer."""
    lists = [value for row in rows_ if isinstance(value := row.get("votes"), list) and value]
    numbers = [vote for value in lists for vote in value if isinstance(vote, int | float)]
    if not numbers or any(len(value) != 2 for value in lists) or any(isinstance(v, str) for vs in lists for v in vs):
        return
    hint = f"use {FUNCTION}"
    if set(numbers) <= {0, 1}:
        hint = f"if each number is the choice of an annotator, 0 for the first answer: --data.format votes; or {hint}"
    raise Refused(
        "votes holds two numbers in each row: the choices of two annotators, or the votes for each answer",
        hint,
        undecided=set(numbers) <= {0, 1},
    )


def _by_votes(prompt: Turns, sides: list[Turns], votes: Counter[str], at: RowPlace) -> Comparison | Rejected:
    """Return the comparison judged by votes.

    The probability of the better response is its share of the votes, with a tie as half a vote for each side. With
    `votes = majority` the probability is 1.
    """
    second = sum(SIDES[side] * count for side, count in votes.items())
    first = votes.total() - second
    if not votes.total():
        return Rejected(at.row, "no_judgment", "no votes")
    # Equal votes have no majority; `leaning` then follows `equal_scores`.
    if at.settings.votes == "majority" and first != second:
        first, second = float(first > second), float(second > first)
    judgments = leaning(first, second, at)
    if not judgments:
        return Rejected(at.row, "no_judgment", f"{first:g} of {votes.total()} votes for each side")
    return comparison(prompt, [Response(messages) for messages in sides], judgments, at)


def _count(votes: Any, at: RowPlace) -> Counter[str]:
    """Count votes per side from a list of votes or from a table of counts."""
    if isinstance(votes, dict):
        # Two spellings of a side, such as "a" and "A", would overwrite each other's counts.
        counts = {_side(key, at): rows.number(votes, key, at) or 0.0 for key in votes}
        if any(count < 0 or count != int(count) for count in counts.values()) or len(counts) < len(votes):
            raise at.fault(f"the counts {rows.quoted(votes)}", WANTED)
        return Counter({side: int(count) for side, count in counts.items()})
    if not isinstance(votes, list):
        raise at.fault(f"{rows.kind(votes)} in votes", WANTED)
    return Counter(_side(vote, at) for vote in votes)


def _side(vote: Any, at: RowPlace) -> str:
    """Return "a", "b" or "tie" for a vote in any spelling."""
    # `type` and not `isinstance`: true and false are integers in Python, and no votes.
    side = "ab"[vote] if type(vote) is int and vote in (0, 1) else str(vote).lower()
    if isinstance(vote, int | float) and side not in SIDES:
        # A larger number may be a count, and then every other list holds counts as well.
        fault = at.fault(f"the vote {rows.quoted(vote)}", WANTED)
        raise ReadingInDoubt(fault.message, fault.hint)
    if side not in SIDES:
        raise at.fault(f"the vote {rows.quoted(vote)}", WANTED)
    return side


def _looks_like_votes(row: Row) -> bool:
    """Return True if a row has votes and both responses, and no third one."""
    if "response_c" in row:
        return False
    return isinstance(row.get("votes"), list | dict) and any(a in row and b in row for a, b in NAMES)


VOTES = Format(
    ("prompt", *(name for names in NAMES for name in names), "votes"),
    _looks_like_votes,
    convert_votes,
    '{"prompt": ..., "response_a": ..., "response_b": ..., "votes": ["a", "b", "tie", ...]}',
    settings=("votes",),
)
MULTIPREF = Format(
    ("text", "prompt", "completion_a", "completion_b", *ANNOTATORS),
    lambda row: "completion_a" in row and "completion_b" in row and any(key in row for key in ANNOTATORS),
    convert_multipref,
    '{"text": ..., "completion_a": ..., "completion_b": ..., "normal_worker_annotations": [{"overall_pref": ...}]}',
    settings=("votes",),
    own_id=lambda row: row.get("comparison_id", row.get("id")),
    no_labels=("comparison_id", "prompt_id"),
    remarks=ANNOTATORS,
)
