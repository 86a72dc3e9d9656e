"""Formats: known shapes of source rows, each with a pure function from a row to a comparison or to a rejection.

A row without a needed field, or with turns that no chat template can render, means a mistaken format. The run then
stops with a `DataError` naming file and row. A row of the right shape with unusable content becomes `Rejected` with a
reason from `REASONS`, and is counted.

A text, a whole number or a truth value of a row becomes a tag, unless the format reads the key. Numbers with a fraction
are measurements, not labels. `source` becomes the comparison's source. `id`, a string or an integer, becomes the
comparison's id if no earlier row has taken the id, and "<file>:<row>" otherwise. Some formats have ids of another name.
"""

import itertools
import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from ...common.signals import check as check_stopping
from ...config import Data, as_list
from ...errors import DataError, UserError
from ...records import Candidates, Comparison, Rejected
from ...records import replaced as replace
from .. import rows as fields
from ..faults import MOST_FAULTS_ALONE, Faulty, counted
from ..rows import Row, RowPlace
from ..sources import plain
from .base import ASKED_FOR, REASONS, Format, Numbered, ReadingInDoubt, Refused, weighed
from .beside import beside_fixed
from .candidates import candidates_of
from .detection import Undecided, find_reading
from .judges import ignored_verdicts
from .labelled import LOOKS
from .mapped import check_columns, leaving_out, through_function, with_columns
from .pairs import HH, PREFERENCE
from .public import REWARDBENCH2, SHP, TLDR
from .ranked import RANKED, ULTRAFEEDBACK, direction
from .reading import Reading
from .strengths import HELPSTEER2, HELPSTEER3
from .tokens import IDS
from .unread import Unread, lost_columns
from .votes import MULTIPREF, VOTES
from .watch import watched

__all__ = [
    "ASKED_FOR",
    "FORMATS",
    "REASONS",
    "Format",
    "Numbered",
    "Reading",
    "candidates_of",
    "choose_format",
    "convert_rows",
    "detect",
    "idle_settings",
    "to_comparisons",
]

FORMATS: dict[str, Format] = {
    "hh": HH,
    "ids": IDS,
    "shp": SHP,
    "helpsteer2": HELPSTEER2,
    "helpsteer3": HELPSTEER3,
    "tldr": TLDR,
    "multipref": MULTIPREF,
    "votes": VOTES,
    "ultrafeedback": ULTRAFEEDBACK,
    "ranked": RANKED,
    "rewardbench2": REWARDBENCH2,
    "preference": PREFERENCE,
    "labelled": Format((), lambda row: _reads(row), lambda row, at: _alone(row, at), LOOKS),
}
"""Every known format, in the order of detection.

Narrow shapes come first: a pair of transcripts also has the keys of `preference`, and would lose its turns there.
"""
HEAD = 20
"""Rows read by detection."""
TAG_CHARACTERS = 80
"""Most characters of a tag: longer texts are content, not labels to report by."""
MOST_HEAD = 2000
"""Most rows read before the meaning of a label has to be clear."""
LABELLED = "labelled"
ASKED_COLUMNS = ("prompt", "chosen", "rejected", "label")
"""Names that `data.columns` may give to columns of rows without fixed columns."""
Entry = tuple[int, Row | Comparison | Rejected]


def to_comparisons(
    rows: Iterable[Row | Comparison], settings: Data | None = None, *, name: str = "rows"
) -> Iterator[Comparison | Rejected]:
    """Convert rows in memory to comparisons, with a result per row in the order of the rows.

    `Comparison` objects pass through.

    Args:
        rows: dicts of a known shape, or comparisons.
        settings: format, columns and other settings about reading rows; None for the defaults.
        name: stands for the file name in ids and messages.

    Raises:
        DataError: a row does not have the shape of its format, or no format fits.
        UserError: no such format, or a column that no format reads.

    Example:
        rows = [{"prompt": "2 + 2?", "chosen": "Four.", "rejected": "Five."}]
        comparison = next(bradley.to_comparisons(rows))
        assert comparison.responses[comparison.judgments[0].better].text == "Four."
    """
    place = RowPlace(name, name, settings=(settings or Data()).of_source(name))
    reading, numbered = choose_format(plain.numbered(rows, name), place)
    return convert_rows(numbered, reading, place, set())


def choose_format(
    rows: Numbered, place: RowPlace, *, count_faults: bool = False, judged: bool = True
) -> tuple[Reading, Numbered]:
    """Return the reading of a file's `rows`, and an iterator over the same rows.

    `auto` detects the format from the first rows; comparisons without any dict among them have the format "comparison".
    Columns are renamed first, and a function of the user's own sees the new names. The function's results are detected
    as with `auto`. If the first rows leave the meaning of a label open, more rows are read, at most `MOST_HEAD`.

    Args:
        place: name of the file, and the settings.
        count_faults: True to keep a row without a named column as a `Faulty`, instead of an error.
        judged: False for rows to score: no label is needed, and `candidates_of` reads the rows.

    Raises:
        DataError: no format fits, a row lacks a column, the function fails, or a column would be lost unread.
        UserError: `format` is unknown, the function is missing, or a column has a name that no format reads.
    """
    format, columns, name = place.settings.format_of(), place.settings.columns_of(), place.name
    if ":" not in format and format not in {"auto", "comparison", *FORMATS}:
        hint = f"known formats: auto, {', '.join(FORMATS)}, or module:function"
        raise UserError(f"{format} is not a known format", hint)
    if columns:
        known = {"id", "source", *ASKED_COLUMNS, *(key for shape in FORMATS.values() for key in shape.fields)}
        check_columns(columns, known)
        # A label keeps its name: the words of the name say that the numbers are ranks, or columns of a family.
        new = {key: column for key, column in columns.items() if key != "label" or "." in column}
        rows = with_columns(rows, new, name, count_faults=count_faults) if new else rows
    told: dict[str, list[Any]] = {}
    if ignored := as_list(place.settings.ignore):
        rows = leaving_out(rows, ignored, told)
    if ":" in format:
        format, rows = "auto", through_function(rows, format, name, count_faults=count_faults)
    # The head is read ahead and chained back, because a stream or a generator can be read only once.
    rows = iter(rows)
    head = _head(rows, HEAD)
    while True:
        dicts = [row for _, row in head if isinstance(row, dict)]
        try:
            reading = _reading(dicts, format, place, judged)
            break
        except Undecided:
            more = _head(rows, min(len(head) * 4, MOST_HEAD - len(head)))
            if not more:
                raise
            head += more
    reading.renamed, reading.left_out = columns, ignored_verdicts(told)
    return reading, itertools.chain(head, rows)


def _reading(rows: Sequence[Row], format: str, place: RowPlace, judged: bool = True) -> Reading:
    """Return the reading of the first rows, and check that no column of the conversation would be lost."""
    if not rows or format == "comparison":
        return Reading("comparison", None)
    reading = _found(rows, format, place, judged)
    reading.unread.compare(rows[:HEAD])
    lost: dict[str, str] = {}
    for number, row in enumerate(rows[:HEAD], start=1):
        # A trial alone: faults and notes belong to the reading of the rows themselves.
        try:
            at = replace(place, row=number, notes=Counter())
            result = _converted(reading, row, at) if judged else candidates_of(reading, row, at)
            lost |= reading.unread.look(row, result) if isinstance(result, Comparison) else {}
            if reading.against is not None and isinstance(result, Comparison | Rejected):
                reading.against.look(row, result)
        except Refused as error:
            raise DataError(f"{fields.on_one_line(place.name)}: {error.message}", error.hint) from None
        except (DataError, RecursionError):
            continue
    reading.unread.seen.clear()
    if reading.against is not None:
        reading.against.equal.clear()
    if lost:
        raise DataError(*lost_columns(lost, None, fields.on_one_line(place.name)))
    return reading


def _found(rows: Sequence[Row], format: str, place: RowPlace, judged: bool) -> Reading:
    """Return the reading of the first rows: of a format of fixed columns, or of columns that were found."""
    columns, name = place.settings.columns_of(), fields.on_one_line(place.name)
    labelled = {"auto": "", LABELLED: LABELLED}.get(format)
    if labelled is None:
        return fixed(format, rows)
    narrow = "" if labelled else _narrow(rows)
    found, watch, against = find_reading(rows, narrow, columns, name, judged)
    if found is None and not narrow:
        raise DataError(f"{name}: no known format has these rows", "see the guide to your data")
    reading = found or fixed(narrow, rows)
    reading.against = against or reading.against
    reading.watch = watch or reading.watch
    reading.beside = reading.beside or (watch.beside if watch else "")
    return reading


def fixed(format: str, rows: Sequence[Row] = ()) -> Reading:
    """Return the reading of a format of fixed columns.

    Args:
        rows: first rows.
    """
    shape = FORMATS[format]
    keys = {*shape.fields, *shape.no_labels, "id", "weight"}
    against = beside_fixed(format, {*keys, *shape.remarks, "source"}, rows)
    rule = direction(format, rows)
    return Reading(format, shape, rule, unread=Unread(keys, shape.remarks), against=against)


def detect(rows: Sequence[Row], name: str = "rows") -> str:
    """Return the key of `FORMATS` that fits most of `rows`.

    Raises:
        DataError: no format fits.
    """
    return _reading(rows, "auto", RowPlace(name, name)).format


def _narrow(rows: Sequence[Row]) -> str:
    """Return the format of fixed columns that fits most of `rows`; "" for none."""
    # The majority decides, because the first row of a file may be the odd row.
    fits = Counter(key for row in rows for key in _fitting(row)[:1])
    return fits.most_common(1)[0][0] if fits else ""


def convert_rows(
    rows: Numbered, reading: Reading, place: RowPlace, taken: set[str], *, count_faults: bool = False
) -> Iterator[Comparison | Rejected]:
    """Yield a comparison or a rejection per row.

    Args:
        reading: reading of the file; "comparison" detects the format of each dict alone.
        taken: ids in use; ids given here are added.
        count_faults: True to yield a `Faulty` for a row of the wrong shape, instead of an error.

    Raises:
        DataError: a row does not have the shape of its format, and `count_faults` is False.
        ReadingInDoubt: a row says that the reading of the file is wrong; no such row is left out.
        StopRequested: the process was asked to stop.
    """
    for number, row in rows:
        # 150 MB of rows take up to a minute, longer than the usual 30 seconds between stop signal and kill.
        check_stopping()
        try:
            here = RowPlace(place.name, place.stem, number, place.settings, place.notes)
            result = _result(row, reading, here, taken)
        except ReadingInDoubt:
            raise
        except DataError as error:
            result = counted(error, number, count_faults)
        yield result


def idle_settings(settings: Data, formats: Iterable[str]) -> list[str]:
    """Return a line for each given setting that no format in use reads."""
    used = list(dict.fromkeys(formats))
    lines = []
    for name in ("min_score_ratio", "strength_as", "votes"):
        value, readers = getattr(settings, name), [key for key, shape in FORMATS.items() if name in shape.settings]
        if value != Data.model_fields[name].default and not set(readers).intersection(used):
            lines.append(f"data.{name} = {value} is for {' and '.join(readers)}, and the data are {', '.join(used)}")
    return lines


def _head(rows: Iterator[Entry], most: int) -> list[Entry]:
    """Take the next `most` usable rows, and the left-out rows before them."""
    head: list[Entry] = []
    looked = 0
    if most <= 0:
        return head
    for entry in rows:
        head.append(entry)
        # A user's function may leave out long stretches; only usable rows say anything about the format.
        looked += not isinstance(entry[1], Rejected)
        # Rows without a column may fill a file, and the head lies in memory.
        if looked == most or (isinstance(entry[1], Faulty) and len(head) >= MOST_FAULTS_ALONE):
            break
    return head


def _result(row: object, reading: Reading, here: RowPlace, taken: set[str]) -> Comparison | Rejected:
    """Return the comparison or rejection of a row; raise `DataError` for a row of the wrong shape."""
    if isinstance(row, Rejected):
        return row
    if isinstance(row, Candidates):
        raise here.fault("candidates, of which nothing is judged", "a comparison", "score them, or judge them")
    if isinstance(row, Comparison):
        name = _free(row.id, here, taken)
        taken.add(name)
        return row if name == row.id else replace(row, id=name)
    if not isinstance(row, dict):
        raise here.fault(type(row).__name__, "a dict or a Comparison")
    if reading.shape is None:
        reading = _reading([row], "auto", here)
    try:
        result = _converted(reading, row, here, taken)
        lost = reading.unread.look(row, result) if isinstance(result, Comparison) else {}
    # Whatever walks through the values of a row meets Python's limit, about 1,000 levels.
    except RecursionError as error:
        raise here.fault("values nested too deeply", "values of a few levels") from error
    watched(reading.watch, reading.against, row, result, here)
    reading.count(row)
    if isinstance(result, Rejected):
        return result
    if lost:
        raise DataError(*lost_columns(lost, here, fields.on_one_line(here.name)))
    taken.add(result.id)
    return result


def _converted(reading: Reading, row: Row, at: RowPlace, taken: Container[str] = ()) -> Comparison | Rejected:
    """Convert a row, and add source, tags, and an id that is not among `taken`."""
    shape = reading.shape
    assert shape is not None
    result = shape.convert(row, at)
    if "weight" not in shape.fields:
        result = weighed(result, row, at)
    if isinstance(result, Rejected):
        return result
    own = shape.own_id(row)
    # A truth value is an `int` in Python, and True is no id.
    known = isinstance(own, str | int) and not isinstance(own, bool)
    source = row.get("source")
    return replace(
        result,
        id=_free(fields.on_one_line(own) if known else "", at, taken),
        source=fields.on_one_line(source) if isinstance(source, str) else at.stem,
        tags=_tags(row, reading.unread.known | reading.unread.free | {"source"}),
    )


def _free(name: str, at: RowPlace, taken: Container[str]) -> str:
    """Return an id of a row's own: scored rows and messages name comparisons by id."""
    if not name or name in taken:
        name = f"{at.stem}:{at.row}"
    # A row may bring the very id that the place of another row would give.
    while name in taken:
        name += "~"
    return name


def _tags(row: Row, read: set[str]) -> dict[str, str]:
    """Return short texts, whole numbers and truth values of keys outside `read`, as labels to report by."""
    tags = {}
    for key, value in row.items():
        if key not in read and isinstance(value, str | int):
            text = value if isinstance(value, str) else json.dumps(value)
            if 0 < len(text) <= TAG_CHARACTERS:
                tags[str(key)] = text
    return tags


def _fitting(row: Row) -> list[str]:
    """Return the formats of fixed columns that match a row, in the order of detection."""
    return [key for key, shape in FORMATS.items() if key != LABELLED and shape.matches(row)]


def _reads(row: Row) -> bool:
    """Return True if the columns of a row alone can be told."""
    try:
        return _reading([row], LABELLED, RowPlace("rows", "rows")).format == LABELLED
    except DataError:
        return False


def _alone(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a row with answers and a label, read by this row alone."""
    reading = _reading([row], LABELLED, at)
    assert reading.shape is not None
    return reading.shape.convert(row, at)
