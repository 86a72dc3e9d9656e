"""Answers that a row of three or more does not have: null, or blank without a number. The other answers are used.

Two answers are a pair, of which none can be left out. A blank answer with a score, rank or vote was judged, and stays:
`data.empty` decides about such answers.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..rows import Row, RowPlace
from .messages import HOLDERS, normal

NOTE = "absent_answers"
"""Note of a file that counts answers left out."""


def present(answers: Sequence[Any], numbered: Sequence[bool], at: RowPlace) -> list[int]:
    """Return the places of the answers that a row has, and count the others.

    Args:
        numbered: True for each answer with a number of its own.
    """
    if len(answers) <= 2:
        return list(range(len(answers)))
    places = zip(answers, numbered, strict=True)
    kept = [place for place, (answer, number) in enumerate(places) if not _absent(answer, number)]
    at.notes[NOTE] += len(answers) - len(kept)
    return kept


def numbers_of(merits: Sequence[float], count: int) -> list[bool]:
    """Return True for each of `count` answers with a number; for a label of another length, for none."""
    return [not math.isnan(merit) for merit in merits] if len(merits) == count else [False] * count


def with_answers(row: Row, key: str, text: str, numbers: Sequence[str], at: RowPlace) -> Row:
    """Return a row of which the list of objects under `key` holds the answers that the row has.

    Args:
        text: key of the answer in an object.
        numbers: keys of numbers about the answer.
    """
    entries = row.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict | None) for entry in entries):
        return row
    answers = [None if entry is None else text_in(entry, text) for entry in entries]
    numbered = [entry is not None and any(entry.get(number) is not None for number in numbers) for entry in entries]
    kept = present(answers, numbered, at)
    return row if len(kept) == len(entries) else {**row, key: [entries[place] for place in kept]}


def text_in(entry: Row, text: str) -> Any:
    """Return the answer of an object: the value under `text`, or the object itself if the text has another key.

    Null fields of objects are no fields: an object without any text is an answer that the row does not have.
    """
    return entry.get(text) if text in entry or not any(entry.get(key) for key in HOLDERS) else entry


def without_nulls(row: Row, keys: Sequence[str], at: RowPlace) -> Row:
    """Return a row without the nulls in the lists of texts under `keys`, which hold three or more answers together."""
    lists = {key: row[key] for key in keys if isinstance(row.get(key), list)}
    missing = sum(value.count(None) for value in lists.values())
    if not missing or sum(map(len, lists.values())) <= 2:
        return row
    at.notes[NOTE] += missing
    return {**row, **{key: [entry for entry in value if entry is not None] for key, value in lists.items()}}


def _absent(answer: Any, numbered: bool) -> bool:
    """Return True for null, and for a blank answer without a number."""
    if answer is None:
        return True
    text = normal(answer)
    if isinstance(text, list) and len(text) == 1 and isinstance(text[0], dict):
        # A call or reasoning without content is an answer.
        text = text[0].get("content") if set(text[0]) <= {"role", "content"} else answer
    return not numbered and (text is None or text == [] or (isinstance(text, str) and not text.strip()))
