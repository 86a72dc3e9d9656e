"""Rows of a file of scores: the scores of each row, and the scores by id."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..common.signals import check as check_stopping
from ..common.text import and_more
from ..errors import DataError
from .rows import Row, RowPlace, on_one_line, quoted
from .score_columns import SIDES, ScoreColumns, number_of

SHOWN = 3
"""Ids shown in a message."""


class Entry(NamedTuple):
    """Scores of a row of the file: one for each response, or the score of one response.

    Attributes:
        number, row, id: of the row.
        scores: one for each response; None where missing.
        response: name of the one response.
        counted: tokens that the model read for each score, as `bradley score` writes; None where the row holds none.
        truncated: True for each text that was cut; empty without `counted`.
    """

    number: int
    row: Row
    id: str
    scores: tuple[float | None, ...]
    response: Any = None
    counted: tuple[int, ...] | None = None
    truncated: tuple[bool, ...] = ()


def entries_of(rows: Iterable[tuple[int, Row]], found: ScoreColumns, path: str) -> Iterator[Entry]:
    """Scores of each row of the file."""
    columns = found.columns
    for number, row in rows:
        check_stopping()
        at = RowPlace(path, "", number)
        id = row.get(columns.get("id", ""), "")
        id = int(id) if isinstance(id, float) and id.is_integer() else id
        # Ids of the data are on one line too.
        id = on_one_line(id) if isinstance(id, str | int) and not isinstance(id, bool) else ""
        if found.kind == "pair":
            scores = tuple(number_of(row.get(columns[side]), columns[side], at) for side in SIDES)
        elif found.kind == "list":
            given = row.get(columns["scores"])
            if given is not None and not isinstance(given, list):
                raise at.fault(f"{quoted(given)} as {columns['scores']}", "a list of numbers")
            scores = tuple(number_of(one, columns["scores"], at) for one in given or ())
        else:
            scores = (number_of(row.get(columns["score"]), columns["score"], at),)
        response = row.get(columns.get("response", ""))
        yield Entry(number, row, id, scores, response, *_counts(row, found, len(scores)))


def _counts(row: Row, found: ScoreColumns, number: int) -> tuple[tuple[int, ...] | None, tuple[bool, ...]]:
    """Tokens and cuts that `bradley score` wrote beside the scores; None and () where the row holds none."""
    tokens, cuts = (row.get(column) if column else None for column in found.counts)
    if found.kind == "single":
        tokens, cuts = [tokens], [cuts]
    if not isinstance(tokens, list) or not isinstance(cuts, list) or {len(tokens), len(cuts)} != {number}:
        return None, ()
    if not all(type(count) is int and count >= 0 for count in tokens) or not all(type(cut) is bool for cut in cuts):
        return None, ()
    return tuple(tokens), tuple(cuts)


def own_ids(entries: Sequence[Entry]) -> bool:
    """Return True if every row of the file has an id, and no two have one."""
    ids = {entry.id for entry in entries}
    return "" not in ids and len(ids) == len(entries)


def repeated_id(entries: Sequence[Entry], found: ScoreColumns) -> str:
    """Return the first id under which a response is scored twice; "" for none."""
    seen: set[tuple[str, Any]] = set()
    for entry in entries:
        scored = {(entry.id, place) for place in _places(entry, found)}
        if entry.id and scored & seen:
            return entry.id
        seen |= scored
    return ""


def _places(entry: Entry, found: ScoreColumns) -> Sequence[Any]:
    """Sides or places of the responses that a row scores."""
    return {"pair": SIDES, "list": range(len(entry.scores)), "single": (_response(entry.response),)}[found.kind]


def scores_by_id(entries: Sequence[Entry], found: ScoreColumns, path: str) -> dict[str, dict[Any, float | None]]:
    """Scores by id, then by place or side of the response.

    Raises:
        DataError: a row without an id, or a response scored twice.
    """
    by_id: dict[str, dict[Any, float | None]] = {}
    for entry in entries:
        if not entry.id:
            texts = "" if found.kind == "single" else ", or the prompt and the responses that were scored"
            hint = f"write the id of each row{texts}; an id of another name: --columns id=COLUMN"
            raise DataError(f"{on_one_line(path)}, row {entry.number}: no id", hint)
        known = by_id.setdefault(entry.id, {})
        for place, score in zip(_places(entry, found), entry.scores, strict=True):
            if place in known:
                hint = "give every response one score; name the response: --columns response=COLUMN (0, 1, chosen, ...)"
                raise DataError(f"{on_one_line(path)}, row {entry.number}: the id {entry.id} is scored twice", hint)
            known[place] = score
    return by_id


def counts_by_id(entries: Sequence[Entry], found: ScoreColumns) -> dict[str, dict[Any, tuple[int, bool]]]:
    """Tokens and cuts by id, then by place or side of the response; rows without counts have no entry."""
    by_id: dict[str, dict[Any, tuple[int, bool]]] = {}
    for entry in entries:
        if entry.counted is not None:
            places = range(len(entry.scores)) if found.kind == "list" else (_response(entry.response),)
            counts = zip(entry.counted, entry.truncated, strict=True)
            by_id.setdefault(entry.id, {}).update(zip(places, counts, strict=True))
    return by_id


def _response(value: Any) -> Any:
    """Side or place of a response, as written in a row."""
    text = str(value).strip().lower() if value is not None else "0"
    return int(text) if text.isdecimal() else text


def check_missing(missing: Sequence[str], total: int, path: str, skip: bool) -> None:
    """Raise `DataError` for comparisons without a score, unless they may be left out."""
    if missing and (not skip or len(missing) == total):
        shown = and_more(list(missing[:SHOWN]) + [""] * max(0, len(missing) - SHOWN), SHOWN)
        message = f"{on_one_line(path)}: {len(missing)} of {total} comparisons have no score: {on_one_line(shown)}"
        raise DataError(message, "score them, or leave them out on purpose: --missing skip")
