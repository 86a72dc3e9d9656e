"""Texts beside scores: the order in which the scores of a row stand, and which other rows hold the same texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..common.text import cut_middle
from ..errors import DataError
from ..records import Candidates, Comparison, Message, Rejected, replaced
from .formats import TAG_CHARACTERS, Reading, candidates_of, choose_format, convert_rows
from .formats.base import ReadingInDoubt
from .rows import Row, RowPlace, on_one_line, quoted
from .score_columns import SIDES, ScoreColumns
from .score_rows import Entry

SHOWN = 60
"""Characters of a text in a message."""


class Pair(NamedTuple):
    """Comparison with a score for each response, and tokens and cut of each text where counted."""

    comparison: Comparison
    scores: tuple[float | None, ...]
    counted: tuple[tuple[int, bool], ...] | None = None


def in_order(comparison: Comparison, candidates: Candidates | Rejected, entry: Entry, place: RowPlace) -> Pair:
    """Scores of a list, with their counts, in the order of the comparison's responses."""
    at = replace(place, row=entry.number)
    if not entry.scores:
        return Pair(comparison, (None,) * len(comparison.responses))
    if isinstance(candidates, Rejected) or len(candidates.responses) != len(entry.scores):
        raise at.fault(f"{len(entry.scores)} scores", "a score for each response of the row")
    left = [(response.messages, index) for index, response in enumerate(candidates.responses)]
    order = []
    for response in comparison.responses:
        number = next((n for n, (messages, _) in enumerate(left) if messages == response.messages), None)
        if number is None:
            raise at.fault("a response without a score", "a score for each response of the row")
        order.append(left.pop(number)[1])
    counted = None
    if entry.counted is not None:
        counted = tuple((entry.counted[index], entry.truncated[index]) for index in order)
    return Pair(comparison, tuple(entry.scores[index] for index in order), counted)


def places_of(comparison: Comparison, given: Mapping[Any, Any]) -> Sequence[Any]:
    """Names of the responses of a comparison in `given`, in the order of the responses."""
    if not set(SIDES) & set(given):
        return range(len(comparison.responses))
    if len(comparison.responses) != 2 or len(comparison.judgments) != 1:
        message = f"id {comparison.id} has {len(comparison.responses)} responses, of which none is just chosen"
        raise DataError(message, "name the responses by their place: --columns response=COLUMN with 0, 1, 2, ...")
    better = comparison.judgments[0].better
    return [SIDES[0] if place == better else SIDES[1] for place in (0, 1)]


def data_of(entries: Sequence[Entry], found: ScoreColumns) -> list[tuple[int, Row]]:
    """Rows of data below the scores, with their numbers."""
    return [
        (entry.number, {key: value for key, value in entry.row.items() if key not in found.added}) for entry in entries
    ]


def has_texts(row: Row) -> bool:
    """Return True for a row with a text longer than a tag, or with messages."""
    return any(isinstance(v, list) or (isinstance(v, str) and len(v) > TAG_CHARACTERS) for v in row.values())


def read_beside(
    rows: Sequence[tuple[int, Row]], entries: Sequence[Entry], found: ScoreColumns, place: RowPlace
) -> tuple[list[Pair], dict[str, int]]:
    """Comparisons of the rows, with the scores in the order of the responses."""
    reading, numbered = choose_format(iter(rows), place)
    # Scores of a list stand in the order in which scoring reads the responses, whatever a label says.
    order = choose_format(iter(rows), place, judged=False)[0] if found.kind == "list" else None
    pairs: list[Pair] = []
    counts: Counter[str] = Counter()
    results = convert_rows(numbered, reading, place, set())
    for (number, row), entry, result in zip(rows, entries, results, strict=True):
        counts["rows"] += 1
        if isinstance(result, Rejected):
            counts[f"left out: {result.reason}"] += 1
            continue
        if order is None:
            by_place = places_of(result, dict.fromkeys(SIDES))
            pairs.append(Pair(result, tuple(entry.scores[SIDES.index(side)] for side in by_place)))
        else:
            candidates = candidates_of(order, row, replace(place, row=number))
            pairs.append(in_order(result, candidates, entry, place))
    return pairs, dict(counts)


def orders_of(
    rows: Sequence[tuple[int, Row]], entries: Sequence[Entry], known: Mapping[str, Comparison], place: RowPlace
) -> dict[str, list[int]]:
    """Match the texts beside scores with the comparisons of the same ids; outer blanks and layouts play no part.

    Rows without a text for each score say nothing, and pass.

    Args:
        rows: rows of the file of scores, without the scores.
        entries: scores of the same rows: a list, or chosen and rejected.
        known: comparisons by id.
        place: name and settings of the file.

    Returns:
        Place in the row of each response of the comparison, by id, for rows with texts.

    Raises:
        DataError: a row holds another prompt, or other responses, than the comparison of its id.
    """
    try:
        reading, numbered = choose_format(iter(rows), place, judged=False)
    except DataError:
        # A file of scores needs no texts: columns that are no rows of data are nothing to compare.
        return {}
    found = {}
    for entry, (number, row) in zip(entries, numbered, strict=True):
        candidates, comparison = _candidates(reading, row, replace(place, row=number)), known.get(entry.id)
        if comparison is not None and candidates is not None and len(candidates.responses) == len(entry.scores):
            found[entry.id] = _order(candidates, comparison, entry, place)
    return found


def check_sides(
    orders: Mapping[str, Sequence[int]], entries: Sequence[Entry], known: Mapping[str, Comparison], place: RowPlace
) -> None:
    """Raise `DataError` where the text called chosen beside the scores is not the chosen text of the data.

    Args:
        orders: the result of `orders_of`.
        entries: scores of the same rows, of chosen and rejected.
        known: comparisons by id.
        place: name of the file.
    """
    for entry in entries:
        comparison, order = known.get(entry.id), orders.get(entry.id)
        # Other names than chosen and rejected say nothing about sides.
        if comparison is None or order is None or not set(SIDES) <= set(entry.row) or len(comparison.judgments) != 1:
            continue
        texts = [text_of(response.messages) for response in comparison.responses]
        if order[comparison.judgments[0].better] and len(set(texts)) > 1:
            raise DataError(
                f"{on_one_line(place.name)}, row {entry.number}: id {entry.id} has the chosen and the rejected text of "
                "the data the other way round",
                "give the rows that were scored; scores of chosen and rejected belong to the sides of the data",
            )


def _candidates(reading: Reading, row: Any, at: RowPlace) -> Candidates | None:
    """Prompt and responses of a row; None for a row without."""
    try:
        found = candidates_of(reading, row, at)
    except DataError:
        return None
    return found if isinstance(found, Candidates) else None


def _order(candidates: Candidates, comparison: Comparison, entry: Entry, place: RowPlace) -> list[int]:
    """Place among the candidates of each response; raises `DataError` for other texts."""
    texts = [text_of(response.messages) for response in candidates.responses]
    left = dict(enumerate(texts))
    order = []
    for response in comparison.responses:
        wanted = text_of(response.messages)
        number = next((number for number, text in left.items() if text == wanted), None)
        if number is None:
            other = next(text for text in left.values())
            raise _other_texts(entry, place, "response", other, wanted)
        del left[number]
        order.append(number)
    if left:
        raise _other_texts(entry, place, "response", next(iter(left.values())), "no such response")
    if candidates.prompt_key != comparison.prompt_key:
        raise _other_texts(entry, place, "prompt", text_of(candidates.prompt), text_of(comparison.prompt))
    return order


def text_of(messages: Sequence[Message]) -> str:
    return "\n".join(message.content.strip() for message in messages)


def _other_texts(entry: Entry, place: RowPlace, part: str, given: str, wanted: str) -> DataError:
    """Error about a text that differs, shown from shortly before the first difference."""
    same = next((i for i, (a, b) in enumerate(zip(given, wanted, strict=False)) if a != b), 0)
    start = max(0, same - 20)
    shown = [quoted(cut_middle(text[start : start + SHOWN], SHOWN)) for text in (given, wanted)]
    message = f"{on_one_line(place.name)}, row {entry.number}: id {entry.id} has other texts than the data"
    hint = f"give the rows that were scored; the {part} is {shown[0]} beside the scores, {shown[1]} in the data"
    return DataError(message, hint)


def scored_texts(entries: Sequence[Entry], found: ScoreColumns, place: RowPlace) -> list[Pair]:
    """Texts beside the scores of a file, judged or not; empty for a file without.

    Raises:
        ReadingInDoubt: the meaning of a label is open.
    """
    rows = data_of(entries, found)
    try:
        return read_beside(rows, entries, found, place)[0]
    except ReadingInDoubt:
        raise
    except DataError:
        # Scores of a list need no label; a pair of scores does.
        if found.kind != "list" or not has_texts(rows[0][1]):
            return []
    reading, numbered = choose_format(iter(rows), place, judged=False)
    pairs = []
    for entry, (number, row) in zip(entries, numbered, strict=True):
        candidates = candidates_of(reading, row, replace(place, row=number)) if isinstance(row, dict) else row
        if isinstance(candidates, Candidates):
            named = replaced(candidates, id=f"{place.stem}:{number}")
            pairs.append(in_order(named, named, entry, place))
    return pairs
