"""Scored comparisons from files: scores that any tool wrote, with or without the rows of data that were scored.

Scores and rows of data are matched by id, and by texts where rows have no id of their own; never by order. A file of
scores that holds the texts too needs no data.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..common.text import and_more
from ..config import Data, Words, as_list
from ..errors import DataError, UserError
from ..records import Comparison, Judgment, Message, ScoredComparison, prompt_key
from .formats import TAG_CHARACTERS, choose_format, convert_rows
from .formats.base import ReadingInDoubt
from .matching import by_texts, named_as
from .rows import Row, RowPlace, on_one_line, quoted
from .score_columns import PROMPT_KEYS, ScoreColumns, find_columns
from .score_rows import SHOWN, Entry, check_missing, counts_by_id, entries_of, own_ids, repeated_id, scores_by_id
from .score_texts import Pair, check_sides, data_of, has_texts, orders_of, places_of, read_beside, scored_texts
from .sources import resolve
from .sources.csv_rows import text_columns

HEAD = 20
"""Rows from which the columns of scores are found."""
WORD = re.compile(r"\w+|[^\w\s]")
"""A word or a sign: the unit of length where nobody counted tokens."""


WITH_PROMPT = "tokens of prompt and response"
"""Unit of length where `bradley score` counted."""


class ScoredSet(NamedTuple):
    """Scored comparisons of a set.

    Attributes:
        name: of the set.
        rows: scored comparisons.
        comparisons: the same comparisons with texts, in the same order; None without texts.
        counts: rows read, rows by reason for being left out, rows without a score.
        notes: sentences for the reader.
        length_unit: `tokens`, `words`, `tokens of prompt and response`, or "" where lengths are unknown and 0.
        own_ids: False if an id is the place of a row in its file, which says nothing to another file.
    """

    name: str
    rows: list[ScoredComparison]
    comparisons: list[Comparison] | None
    counts: dict[str, int]
    notes: list[str]
    length_unit: str
    own_ids: bool = True


class RowsNeeded(DataError):
    """File of scores that does not say which response is better: the rows of data are needed."""


def read_comparisons(sources: Words, settings: Data | None = None) -> tuple[list[Comparison], dict[str, int]]:
    """Read all comparisons of sources, and count the rows by reason that are none.

    Raises:
        DataError: a source is missing, a row has another shape than its format, or no row is a comparison.
        UserError: a setting or an option of a source is unknown.

    Example:
        comparisons, counts = read_comparisons("../shared/data/human_mix/val.jsonl.gz")
    """
    found: list[Comparison] = []
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    for source in resolve(sources):
        own = (settings or Data()).of_source(source.given, source.name)
        place = RowPlace(source.name, source.stem, settings=own)
        reading, rows = choose_format(source.rows(text_columns(own.columns_of())), place)
        for result in convert_rows(rows, reading, place, taken):
            counts["rows"] += 1
            if isinstance(result, Comparison):
                found.append(result)
            else:
                counts[f"left out: {result.reason}"] += 1
    if not found:
        named = ", ".join(map(on_one_line, as_list(sources)))
        raise DataError(f"{named}: none of {counts['rows']} rows is a comparison", "see `bradley data FILE`")
    return found, dict(counts)


def read_scores(
    path: str,
    data: Words = "",
    settings: Data | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    skip_missing: bool = False,
) -> ScoredSet:
    """Read a file of scores, and match the scores with rows of data by id, or by texts where rows have no own ids.

    Args:
        path: file of scores: .jsonl, .json, .csv, .tsv or .parquet.
        data: rows of data that were scored; "" for scores that stand beside their rows, or without texts.
        settings: settings about reading `data`, or the rows beside the scores.
        columns: column by part, see `score_columns.PARTS`; found by name where not given.
        skip_missing: True to leave out comparisons without a score; False to raise an error.

    Raises:
        DataError: no scores, a score that is no number or missing, an id twice, or other rows than `data`.
        UserError: contradictory columns.

    Example:
        read_scores("scores.csv", columns={"chosen": "score_a", "rejected": "score_b"}).rows[0].scores  # (1.2, -0.3)
    """
    (source,) = _single(path)
    numbered = [(number, row) for number, row in source.rows()]
    if not numbered:
        raise DataError(f"{on_one_line(path)} has no rows", "give a file with a score for each response")
    found = find_columns([row for _, row in numbered[:HEAD]], columns or {}, on_one_line(path))
    name = source.stem
    if found.kind == "record":
        if as_list(data):
            return _with_texts(_records(numbered, path, name), data, settings)
        return _records(numbered, path, name)
    entries = list(entries_of(numbered, found, path))
    if as_list(data):
        comparisons, counts = read_comparisons(data, settings)
        place = RowPlace(path, source.stem, settings=(settings or Data()).of_source(path))
        if found.kind != "single" and not own_ids(entries) and (texts := scored_texts(entries, found, place)):
            return _noted(_scored_set(name, by_texts(texts, comparisons, path), counts, path, skip_missing), entries)
        _check_repeated(repeated_id(entries, found), data, settings or Data())
        by_id = scores_by_id(entries, found, path)
        known = {comparison.id: comparison for comparison in comparisons}
        _check_ids(list(by_id), known, on_one_line(path), "the data")
        # A row for each response names the response, and holds no rivals.
        orders = {} if found.kind == "single" else orders_of(data_of(entries, found), entries, known, place)
        if found.kind == "pair":
            check_sides(orders, entries, known, place)
        read = counts_by_id(entries, found)
        places = orders if found.kind == "list" else {}
        return _noted(_joined(name, comparisons, counts, by_id, read, places, path, skip_missing), entries)
    if found.kind == "single":
        raise _lacks_rows(path, "a score a row says nothing about which response is better")
    return _noted(_beside(name, entries, found, path, source.stem, settings or Data(), skip_missing), entries)


def _noted(scored: ScoredSet, entries: Sequence[Entry]) -> ScoredSet:
    """Add a note about columns that only rows of an evaluation give to the figures."""
    unread = [f"`{name}`" for name in ("beta", "scale") if name in entries[0].row]
    if not unread:
        return scored
    note = f"{' and '.join(unread)} beside these scores: read in rows of `evaluate --rows` alone, so give --beta"
    return scored._replace(notes=[*scored.notes, note])


def _lacks_rows(path: str, why: str) -> DataError:
    """Make the error for scores that do not say which response is better."""
    typed = f"bradley evaluate --scores {on_one_line(path)} DATA"
    hint = f"give the rows that were scored: {typed}, or --data DATA for bradley compare"
    return RowsNeeded(f"{on_one_line(path)}: {why}", hint)


def _single(path: str) -> list[Any]:
    found = resolve(path)
    if len(found) != 1:
        raise UserError(f"{on_one_line(path)} names {len(found)} files", "give one file of scores")
    return found


def _records(rows: Sequence[tuple[int, Row]], path: str, name: str) -> ScoredSet:
    """Scored comparisons as bradley writes them: rows of an evaluation."""
    found = []
    for number, row in rows:
        try:
            # A column of Parquet has one type, and tags of any names are written as JSON.
            tags = json.loads(row["tags"]) if isinstance(row.get("tags"), str) else row.get("tags", {})
            found.append(ScoredComparison.from_json({**row, "tags": tags}))
        except (KeyError, TypeError, ValueError) as error:
            message = f"{on_one_line(path)}, row {number}: no scored comparison: {error}"
            raise DataError(message, "copy the file again, or name the columns of scores with --columns") from error
    units = {row.length_unit for row in found}
    return ScoredSet(name, found, None, {"rows": len(found)}, [], units.pop() if len(units) == 1 else "")


def _with_texts(scored: ScoredSet, data: Words, settings: Data | None) -> ScoredSet:
    """Add the texts of the same comparisons."""
    comparisons, counts = read_comparisons(data, settings)
    known = {comparison.id: comparison for comparison in comparisons}
    _check_ids([row.id for row in scored.rows], known, "the scores", "the data")
    paired = [known[row.id] for row in scored.rows]
    for row, comparison in zip(scored.rows, paired, strict=True):
        if len(row.scores) != len(comparison.responses) or row.prompt_key != comparison.prompt_key:
            raise DataError(f"id {row.id}: scores and data hold other texts", "give the rows that were scored")
    rows = [replace(row, source=comparison.source) for row, comparison in zip(scored.rows, paired, strict=True)]
    return scored._replace(rows=rows, comparisons=paired, counts=counts)


def _joined(
    name: str,
    comparisons: Sequence[Comparison],
    counts: dict[str, int],
    by_id: Mapping[str, Mapping[Any, float | None]],
    counts_of: Mapping[str, Mapping[Any, tuple[int, bool]]],
    orders: Mapping[str, Sequence[int]],
    path: str,
    skip_missing: bool,
) -> ScoredSet:
    """Match scores with comparisons by id."""
    pairs: list[Pair] = []
    for comparison in comparisons:
        given = by_id.get(comparison.id, {})
        places = orders.get(comparison.id) or places_of(comparison, given)
        if unknown := set(given) - set(places):
            wanted = f"0 to {len(comparison.responses) - 1}, or chosen and rejected for a pair"
            message = (
                f"{on_one_line(path)}: id {comparison.id} has a score of response {quoted(min(map(str, unknown)))}"
            )
            raise DataError(message, f"responses are called {wanted}")
        cuts = counts_of.get(comparison.id, {})
        counted = tuple(cuts[place] for place in places) if set(places) <= set(cuts) else None
        pairs.append(Pair(comparison, tuple(given.get(place) for place in places), counted))
    return _scored_set(name, pairs, counts, path, skip_missing)


def _check_ids(scored: Sequence[str], known: Mapping[str, Any], there: str, here: str) -> None:
    """Raise `DataError` if scores have ids without a row of data."""
    missing = [id for id in scored if id not in known]
    if missing:
        shown, some = and_more(missing[:SHOWN] + [""] * max(0, len(missing) - SHOWN), SHOWN), next(iter(known), "")
        message = f"{len(missing)} of {len(scored)} ids of {there} are not in {here}: {on_one_line(shown)}"
        raise DataError(message, f"give the rows that were scored; ids of the data look like {on_one_line(some)}")


def _check_repeated(repeated: str, data: Words, settings: Data) -> None:
    """Raise `DataError` if the data hold an id of two scores in several rows: the id says nothing about the row."""
    number = 0
    for source in resolve(data) if repeated else ():
        column = settings.of_source(source.given, source.name).columns_of().get("id", "id")
        given = (row.get(column) for _, row in source.rows() if isinstance(row, dict))
        number += sum(id is not None and on_one_line(id) == repeated for id in given)
    if number > 1:
        message = f"the data hold the id {repeated} in {number:,} rows, so that no score can be told by id"
        hint = "write the ids of `bradley evaluate MODEL DATA --rows FILE`, or the texts beside the scores"
        raise DataError(message, hint)


def _beside(
    name: str,
    entries: Sequence[Entry],
    found: ScoreColumns,
    path: str,
    stem: str,
    settings: Data,
    skip_missing: bool,
) -> ScoredSet:
    """Scores with their rows of data beside, or without texts."""
    rows, place = data_of(entries, found), RowPlace(path, stem, settings=settings.of_source(path))
    try:
        pairs, counts = read_beside(rows, entries, found, place)
    except ReadingInDoubt:
        raise
    except DataError as error:
        if has_texts(rows[0][1]):
            raise
        if found.kind == "list":
            raise _lacks_rows(path, "no responses stand beside the scores") from error
        return _without_texts(name, entries, found, path, skip_missing)
    places = {f"{stem}:{entry.number}" for entry in entries}
    own = not any(pair.comparison.id.rstrip("~") in places for pair in pairs)
    return _scored_set(name, pairs, counts, path, skip_missing)._replace(own_ids=own)


def with_ids_of(one: ScoredSet, first: ScoredSet, name: str, there: str) -> ScoredSet:
    """Give a set the ids of another set by texts, if ids are places in a file; a set without texts comes back as given.

    Args:
        one: set to name anew.
        first: set with the ids in use.
        name, there: names of the two in messages.

    Raises:
        DataError: a row with texts that `first` lacks.
    """
    if one.comparisons is None or first.comparisons is None or (one.own_ids and first.own_ids):
        return one
    rows, comparisons = named_as(one.rows, one.comparisons, first.rows, first.comparisons, name, there)
    return one._replace(rows=rows, comparisons=comparisons)


def _scored_set(
    name: str,
    pairs: Sequence[Pair],
    counts: dict[str, int],
    path: str,
    skip_missing: bool,
) -> ScoredSet:
    """Scored comparisons of comparisons and their scores."""
    missing = [pair.comparison.id for pair in pairs if None in pair.scores]
    check_missing(missing, len(pairs), path, skip_missing)
    kept = [pair for pair in pairs if None not in pair.scores]
    unit, notes = _unit_of(kept)
    rows = [_scored(pair, unit) for pair in kept]
    counts = {**counts, **({"left out: no score": len(missing)} if missing else {})}
    return ScoredSet(name, rows, [pair.comparison for pair in kept], counts, notes, unit)


def _unit_of(pairs: Sequence[Pair]) -> tuple[str, list[str]]:
    """Unit of the lengths of all pairs, and a note where counted tokens are no lengths.

    Tokens of the file count the prompt too, which is the same for all responses: differences are those of the
    responses. A cut text has lost a part of its length, and one set has one unit.
    """
    if not pairs or any(pair.counted is None for pair in pairs):
        return "words", []
    if cut := sum(any(was_cut for _, was_cut in pair.counted or ()) for pair in pairs):
        return "words", [f"lengths are words: tokens of {cut:,} truncated comparisons were counted after the cut"]
    return WITH_PROMPT, []


def _scored(pair: Pair, unit: str) -> ScoredComparison:
    comparison, scores = pair.comparison, [score for score in pair.scores if score is not None]
    words = tuple(len(WORD.findall(response.text)) for response in comparison.responses)
    tokens = tuple(count for count, _ in pair.counted) if pair.counted else (0,) * len(scores)
    known = [response.score for response in comparison.responses]
    source_scores = tuple(score for score in known if score is not None)
    return ScoredComparison(
        id=comparison.id,
        prompt_key=comparison.prompt_key,
        scores=tuple(scores),
        tokens=tokens,
        response_tokens=tokens if unit == WITH_PROMPT else words,
        truncated=tuple(cut for _, cut in pair.counted) if pair.counted else (False,) * len(scores),
        judgments=comparison.judgments,
        source_scores=source_scores if len(source_scores) == len(scores) else None,
        source=comparison.source,
        tags=comparison.tags,
        length_unit=unit,
    )


def _without_texts(
    name: str, entries: Sequence[Entry], found: ScoreColumns, path: str, skip_missing: bool
) -> ScoredSet:
    """Scores of chosen and rejected responses alone."""
    prompt = found.columns.get("prompt") or next((key for key in PROMPT_KEYS if key in entries[0].row), "")
    taken: set[str] = set()
    rows, missing = [], []
    for entry in entries:
        id = entry.id or f"{name}:{entry.number}"
        if id in taken:
            message = f"{on_one_line(path)}, row {entry.number}: the id {on_one_line(id)} is given twice"
            raise DataError(message, "give every row an id of its own")
        taken.add(id)
        better, worse = entry.scores
        if better is None or worse is None:
            missing.append(id)
            continue
        key = entry.row.get(prompt) if prompt else None
        shared = prompt_key((Message("user", str(key)),)) if key is not None else f"row:{entry.number}"
        tags = _tags(entry.row, found, prompt)
        empty = (0, 0)
        judgments = (Judgment(0, 1),)
        rows.append(
            ScoredComparison(
                id, shared, (better, worse), empty, empty, (False, False), judgments, None, name, tags, length_unit=""
            )
        )
    check_missing(missing, len(entries), path, skip_missing)
    notes = ["no texts stand beside the scores: length, style and shortcuts are left out"]
    if not prompt:
        notes.append("no column names the prompt: every row counts as a prompt of its own, which may be too sure")
    counts = {"rows": len(entries), **({"left out: no score": len(missing)} if missing else {})}
    return ScoredSet(name, rows, None, counts, notes, "")


def _tags(row: Row, found: ScoreColumns, prompt: str) -> dict[str, str]:
    """Short texts, whole numbers and truth values of a row."""
    skipped = {*found.added, *found.columns.values(), prompt, "id"}
    kept = {key: value for key, value in row.items() if key not in skipped and isinstance(value, str | int | bool)}
    return {key: str(value) for key, value in kept.items() if 0 < len(str(value)) <= TAG_CHARACTERS}
