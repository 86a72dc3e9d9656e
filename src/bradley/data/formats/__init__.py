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
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...common.signals import check as check_stopping
from ...config import Data
from ...errors import DataError, UserError
from ...records import Candidates, Comparison, Rejected
from ...records import replaced as replace
from .. import rows as fields
from ..faults import MOST_FAULTS_ALONE, Faulty, counted
from ..rows import Row, RowPlace
from .base import ASKED_FOR, REASONS, Format, Numbered
from .mapped import check_columns, through_function, with_columns
from .pairs import HH, PREFERENCE
from .public import REWARDBENCH2, SHP, TLDR
from .ranked import RANKED, ULTRAFEEDBACK
from .strengths import HELPSTEER2, HELPSTEER3
from .tokens import IDS
from .votes import MULTIPREF, VOTES

__all__ = [
    "ASKED_FOR",
    "FORMATS",
    "REASONS",
    "Format",
    "Numbered",
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
}
"""Every known format, in the order of detection.

Narrow shapes come first: a pair of transcripts also has the keys of `preference`, and would lose its turns there.
"""
HEAD = 20
"""Rows read by detection."""
TAG_CHARACTERS = 80
"""Most characters of a tag: longer texts are content, not labels to report by."""
NEAREST = 3
"""Formats shown in the hint when no format fits."""


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
    place = RowPlace(name, name, settings=settings or Data())
    data = place.settings
    format, numbered = choose_format(enumerate(rows, start=1), data.format_of(name), name, data.columns_of(name))
    return convert_rows(numbered, format, place, set())


def choose_format(
    rows: Numbered, format: str, name: str, columns: Mapping[str, str] | None = None, *, count_faults: bool = False
) -> tuple[str, Numbered]:
    """Return the format of `rows`, and an iterator over the same rows.

    `auto` detects the format from the first rows; comparisons without any dict among them have the format "comparison".
    Columns are renamed first, and a function of the user's own sees the new names. The function's results are detected
    as with `auto`.

    Raises:
        DataError: no format fits, a row lacks a column, or the function fails.
        UserError: `format` is unknown, the function is missing, or a column has a name that no format reads.
    """
    if ":" not in format and format not in {"auto", "comparison", *FORMATS}:
        hint = f"known formats: auto, {', '.join(FORMATS)}, or module:function"
        raise UserError(f"{format} is not a known format", hint)
    if columns:
        check_columns(columns, {"id", "source", *(key for shape in FORMATS.values() for key in shape.fields)})
        rows = with_columns(rows, columns, name, count_faults=count_faults)
    if ":" in format:
        format, rows = "auto", through_function(rows, format, name, count_faults=count_faults)
    # The head is read ahead and chained back, because a stream or a generator can be read only once.
    rows = iter(rows)
    head = _head(rows)
    if format == "auto":
        dicts = [row for _, row in head if isinstance(row, dict)]
        format = detect(dicts, name) if dicts else "comparison"
    return format, itertools.chain(head, rows)


def detect(rows: Sequence[Row], name: str = "rows") -> str:
    """Return the key of `FORMATS` that fits most of `rows`.

    Raises:
        DataError: no format fits any row.
    """
    # The majority decides, because the first row of a file may be the odd row.
    fits = Counter(key for row in rows for key in _fitting(row)[:1])
    if fits:
        return fits.most_common(1)[0][0]
    keys = {key for row in rows for key in row}
    near = sorted(FORMATS.values(), key=lambda shape: -len(keys.intersection(shape.fields)))[:NEAREST]
    shapes = "; ".join(f"{key}: {shape.looks}" for key, shape in FORMATS.items() if shape in near)
    found = fields.names_of(sorted(keys, key=str)) or "no keys at all"
    hint = f"name your columns with data.columns; known formats are {', '.join(FORMATS)}, such as {shapes}"
    raise DataError(f"{name}: no known format has rows with {found}", hint)


def convert_rows(
    rows: Numbered, format: str, place: RowPlace, taken: set[str], *, count_faults: bool = False
) -> Iterator[Comparison | Rejected]:
    """Yield a comparison or a rejection per row.

    Args:
        format: a key of `FORMATS`, or "comparison" to detect the format of each dict alone.
        taken: ids in use; ids given here are added.
        count_faults: True to yield a `Faulty` for a row of the wrong shape, instead of an error.

    Raises:
        DataError: a row does not have the shape of its format, and `count_faults` is False.
        StopRequested: the process was asked to stop.
    """
    for number, row in rows:
        # 150 MB of rows take up to a minute, longer than the usual 30 seconds between stop signal and kill.
        check_stopping()
        try:
            result = _result(row, format, replace(place, row=number), taken)
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


def _head(rows: Iterator[tuple[int, Row | Comparison | Rejected]]) -> list[tuple[int, Row | Comparison | Rejected]]:
    """Take the first `HEAD` usable rows, and the left-out rows before them."""
    head, looked = [], 0
    for entry in rows:
        head.append(entry)
        # A user's function may leave out long stretches; only usable rows say anything about the format.
        looked += not isinstance(entry[1], Rejected)
        # Rows without a column may fill a file, and the head lies in memory.
        if looked == HEAD or (isinstance(entry[1], Faulty) and len(head) >= MOST_FAULTS_ALONE):
            break
    return head


def _result(row: object, format: str, here: RowPlace, taken: set[str]) -> Comparison | Rejected:
    """Return the comparison or rejection of a row; raise `DataError` for a row of the wrong shape."""
    if isinstance(row, Rejected):
        return row
    if isinstance(row, Candidates):
        raise here.fault("candidates, of which nothing is judged", "a comparison", "score them, or judge them")
    if isinstance(row, Comparison):
        return _unique(row, here, taken)
    if not isinstance(row, dict):
        raise here.fault(type(row).__name__, "a dict or a Comparison")
    shape = FORMATS[detect([row], here.name) if format == "comparison" else format]
    try:
        result = _convert(shape, row, here)
    # Whatever walks through the values of a row meets Python's limit, about 1,000 levels.
    except RecursionError as error:
        raise here.fault("values nested too deeply", "values of a few levels") from error
    return result if isinstance(result, Rejected) else _unique(result, here, taken)


def _convert(shape: Format, row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a row, and add id, source and tags."""
    result = shape.convert(row, at)
    if isinstance(result, Rejected):
        return result
    own = shape.own_id(row)
    # A truth value is an `int` in Python, and True is no id.
    known = isinstance(own, str | int) and not isinstance(own, bool)
    source = row.get("source")
    return replace(
        result,
        id=fields.on_one_line(own) if known else "",
        source=fields.on_one_line(source) if isinstance(source, str) else at.stem,
        tags=_tags(row, {*shape.fields, *shape.no_labels, "id", "source"}),
    )


def _unique(comparison: Comparison, at: RowPlace, taken: set[str]) -> Comparison:
    """Return the comparison under an id of its own: scored rows and messages name comparisons by id."""
    name = comparison.id if comparison.id and comparison.id not in taken else f"{at.stem}:{at.row}"
    # A row may bring the very id that the place of another row would give.
    while name in taken:
        name += "~"
    taken.add(name)
    return comparison if name == comparison.id else replace(comparison, id=name)


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
    """Return the formats that match a row, in the order of detection."""
    return [key for key, shape in FORMATS.items() if shape.matches(row)]
