"""Scored texts matched with the same texts elsewhere, where rows have no id of their own."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..common.text import and_more
from ..errors import DataError
from ..records import Comparison, ScoredComparison
from .rows import on_one_line
from .score_rows import SHOWN
from .score_texts import Pair, text_of


def text_key(comparison: Comparison) -> str:
    """Hash the prompt and the set of responses; outer blanks, layouts and the order of responses play no part."""
    texts = sorted(text_of(response.messages) for response in comparison.responses)
    # Lengths before texts: no text can pass for two.
    parts = "".join(f"{len(text)}:{text}" for text in (comparison.prompt_key, *texts))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def labels_of(comparison: Comparison) -> list[tuple[int, int, float, float]]:
    """Judgments on the responses in the order of their texts: equal for equal judgments on equal texts."""
    place = {number: rank for rank, number in enumerate(_by_text(comparison))}
    return sorted((place[j.better], place[j.worse], j.probability, j.weight) for j in comparison.judgments)


def order_as(given: Comparison, wanted: Comparison) -> list[int]:
    """Place in `given` of each response of `wanted`, which holds the same texts."""
    places = dict(zip(_by_text(wanted), _by_text(given), strict=True))
    return [places[number] for number in range(len(places))]


def by_texts(given: Sequence[Pair], comparisons: Sequence[Comparison], name: str) -> list[Pair]:
    """Give each comparison the scores that stand beside its texts.

    Equal texts take equal scores. Rows of equal texts with other scores are matched in order, as often as the
    comparisons hold the texts with equal judgments.

    Args:
        given: texts with their scores.
        comparisons: comparisons to score.
        name: name of the file of scores.

    Raises:
        DataError: texts without a comparison, or scores of equal texts that cannot be told apart.
    """
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in given:
        found[text_key(pair.comparison)].append(pair)
    places: dict[str, list[int]] = defaultdict(list)
    for place, comparison in enumerate(comparisons):
        places[text_key(comparison)].append(place)
    lacking = [pair.comparison.id for key, pairs in found.items() if key not in places for pair in pairs]
    if lacking:
        raise _texts_lack(lacking, len(given), name, "the data")
    pairs = [Pair(comparison, (None,) * len(comparison.responses)) for comparison in comparisons]
    for key, rows in found.items():
        same = [comparisons[place] for place in places[key]]
        for place, row in zip(places[key], _told_apart(rows, same, name), strict=True):
            pairs[place] = _placed(row, comparisons[place])
    return pairs


def _told_apart(rows: Sequence[Pair], same: Sequence[Comparison], name: str) -> Sequence[Pair]:
    """Row of scores for each of the comparisons, all of equal texts."""
    if len({_placed(row, same[0]).scores for row in rows}) == 1:
        return [rows[0]] * len(same)
    if len(rows) == len(same) and all(labels_of(one) == labels_of(same[0]) for one in same):
        return rows
    ids = on_one_line(and_more([row.comparison.id for row in rows], SHOWN))
    message = f"{on_one_line(name)}: {len(rows)} rows of equal texts have other scores: {ids}"
    raise DataError(message, "give every row an id of its own, in the file of scores and in the data")


def _placed(row: Pair, comparison: Comparison) -> Pair:
    """Scores and counts of a row in the order of the responses of a comparison with the same texts."""
    order = order_as(row.comparison, comparison)
    counted = tuple(row.counted[place] for place in order) if row.counted else None
    return Pair(comparison, tuple(row.scores[place] for place in order), counted)


def _texts_lack(ids: Sequence[str], total: int, there: str, here: str) -> DataError:
    """Error about rows of which no texts are found elsewhere."""
    shown = on_one_line(and_more(list(ids), SHOWN))
    message = f"{len(ids)} of {total} rows of {on_one_line(there)} hold texts that {on_one_line(here)} lacks: {shown}"
    return DataError(message, "give the rows that were scored; rows without an id of their own are matched by texts")


def _by_text(comparison: Comparison) -> list[int]:
    """Places of the responses in the order of their texts."""
    texts = [text_of(response.messages) for response in comparison.responses]
    return sorted(range(len(texts)), key=texts.__getitem__)


Texts = Sequence[Comparison]
Rows = Sequence[ScoredComparison]


def named_as(
    rows: Rows, texts: Texts, first: Rows, first_texts: Texts, name: str, there: str
) -> tuple[list[ScoredComparison], list[Comparison]]:
    """Give scored rows the ids that other rows have beside the same texts.

    Repeated texts are matched by judgment, then in order.

    Args:
        rows, texts: rows to name anew, and their texts.
        first, first_texts: rows with the ids in use, and their texts.
        name, there: names of the two in messages.

    Returns:
        Rows and texts, with the responses in the order of `first`.

    Raises:
        DataError: a row with texts that `first` lacks.
    """
    free, named, same, lacking = _places_of(first_texts), list(rows), list(texts), []
    for key, places in _places_of(texts).items():
        targets = free.get(key, [])
        lacking += [rows[place].id for place in places[len(targets) :]]
        for place, target in zip(places, targets, strict=False):
            named[place] = _as_row(rows[place], texts[place], first[target], first_texts[target])
            same[place] = first_texts[target]
    if lacking:
        raise _texts_lack(lacking, len(rows), name, there)
    return named, same


def _places_of(comparisons: Sequence[Comparison]) -> dict[str, list[int]]:
    """Places of the comparisons by texts; equal judgments stand side by side."""
    places: dict[str, list[int]] = {}
    for place, comparison in enumerate(comparisons):
        places.setdefault(text_key(comparison), []).append(place)
    return {key: sorted(one, key=lambda place: labels_of(comparisons[place])) for key, one in places.items()}


def _as_row(row: ScoredComparison, given: Comparison, same: ScoredComparison, wanted: Comparison) -> ScoredComparison:
    """Scored comparison under the id of another one with the same texts, and with its order of responses."""
    order = order_as(given, wanted)
    place = {old: new for new, old in enumerate(order)}
    fields: dict[str, Any] = {
        name: tuple(getattr(row, name)[old] for old in order)
        for name in ("scores", "tokens", "response_tokens", "truncated")
    }
    known = None if row.source_scores is None else tuple(row.source_scores[old] for old in order)
    judgments = tuple(replace(j, better=place[j.better], worse=place[j.worse]) for j in row.judgments)
    return replace(row, id=same.id, source=same.source, source_scores=known, judgments=judgments, **fields)
