"""Prompt and responses of a row without a judgment, for scoring: every format reads such rows as in training."""

from collections.abc import Callable

from ...records import Candidates, Rejected
from ..rows import Row, RowPlace
from .absent import NOTE
from .pairs import SAID
from .reading import Reading
from .votes import ANNOTATORS

NOTHING_SAID: Row = dict.fromkeys(SAID)


def _ranks(row: Row, key: str, sign: int) -> Row:
    """Return the row with a place of its own for each completion."""
    entries = row.get("completions")
    if not isinstance(entries, list):
        return row
    places = (entry | {key: sign * n} if isinstance(entry, dict) else entry for n, entry in enumerate(entries))
    return {**row, "completions": list(places)}


JUDGED: dict[str, Callable[[Row], Row]] = {
    "hh": lambda row: {**row, **NOTHING_SAID},
    "ids": lambda row: {**row, **NOTHING_SAID},
    "preference": lambda row: {**row, **NOTHING_SAID},
    "shp": lambda row: {**row, "labels": 1, "score_A": None, "score_B": None, "score_ratio": 1e9},
    "helpsteer2": lambda row: {**row, "preference_strength": -1},
    "helpsteer3": lambda row: {**row, "overall_preference": -1},
    "tldr": lambda row: {**row, "choice": 0},
    "votes": lambda row: {**row, "votes": ["a"]},
    "multipref": lambda row: {**row, ANNOTATORS[0]: [{"overall_pref": "A-is-clearly-better"}], ANNOTATORS[1]: []},
    "ranked": lambda row: _ranks(row, "rank", 1),
    "ultrafeedback": lambda row: _ranks(row, "overall_score", -1),
    "rewardbench2": lambda row: row,
}
"""Format -> the row with any judgment in place of the row's own: scores do not depend on the judgment."""


def candidates_of(reading: Reading, row: Row, at: RowPlace) -> Candidates | Rejected:
    """Return the prompt and the responses of a row in the order of the row, whatever the row says of them.

    Args:
        reading: reading of the row's file, from `choose_format` with `judged=False`.

    Returns:
        Candidates without id and tags; or a rejection for content that cannot be used.

    Raises:
        DataError: a row of the wrong shape.
    """
    shape = reading.shape
    if shape is None:
        raise at.fault("comparisons", "rows to score", "give rows as dicts")
    if shape.candidates is not None:
        return shape.candidates(row, at)
    before = at.notes[NOTE]
    found = shape.convert(JUDGED[reading.format](row), at)
    if at.notes[NOTE] > before:
        # Scores stand in the order of the row's answers.
        raise at.fault("an answer without a text", "text or messages in every answer")
    if isinstance(found, Rejected):
        return found
    return Candidates("", found.prompt_key, found.prompt, found.responses, template_args=found.template_args)
