"""Tables of figures with intervals: any nested dict of an evaluation as rows of formatted cells, each with its n."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ..runs.reader import Json
from .filters import DASH, number, percent, points, signed, span, three

Kind = Literal["percent", "points", "three", "signed", "number"]
"""Format of a figure: a share, a difference of shares, a loss, a number with a sign, or without."""
WRITE = {"percent": percent, "points": points, "three": three, "signed": signed, "number": number}
FIGURE = {"value", "low", "high"}
"""Keys by which a dict is known as a figure with an interval."""
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("accuracy", "alone", "agrees", "disagrees", "controlled_accuracy", "style_alone"), "percent"),
    **dict.fromkeys(("length_matched", "observed", "chosen", "expected", "equal_share", "share"), "percent"),
    **dict.fromkeys(("gap", "controlled_change", "difference"), "points"),
    **dict.fromkeys(("nll", "brier", "ece", "auroc", "deviation", "score_deviation"), "three"),
}
"""Format by the name of a figure; any other figure is a number with a sign."""
NAMES = {
    "nll": "NLL",
    "auroc": "AUROC",
    "auc": "AUC",
    "brier": "Brier score",
    "ece": "ECE",
    "ndcg": "NDCG",
    "mrr": "MRR",
}
"""Names of figures that are no plain words."""
MOST_COLUMNS = 12
"""Most columns of a table; more figures than that become rows."""


class Cell(NamedTuple):
    """A figure in words: value, interval, counts, and the reason of a missing value."""

    value: str
    interval: str = ""
    n: str = ""
    clusters: str = ""
    note: str = ""


class Row(NamedTuple):
    """A row of a table: name, meaning, and cells."""

    name: str
    meaning: str
    cells: list[Cell]


class Table(NamedTuple):
    """A table: title, names of the columns, and rows; without columns, each row is a single figure."""

    title: str
    columns: list[str]
    rows: list[Row]


class Section(NamedTuple):
    """A part of an evaluation: counts, sentences and tables."""

    counts: list[tuple[str, str]]
    notes: list[str]
    tables: list[Table]


def is_figure(value: Any) -> bool:
    """Return True for a dict with a value and the ends of an interval."""
    return isinstance(value, Mapping) and value.keys() >= FIGURE


def cell(figure: Any, kind: Kind) -> Cell:
    """Write a figure; missing parts become a dash."""
    write = WRITE[kind]
    if kind == "percent":
        interval = span(figure)
    else:
        low, high = write(figure.get("low")), write(figure.get("high"))
        interval = DASH if DASH in (low, high) else f"{low} to {high}"
    n, clusters = (number(figure[key]) if key in figure else "" for key in ("n", "clusters"))
    return Cell(write(figure.get("value")), interval, n, clusters, figure.get("reason") or "")


def figure_table(title: str, figures: Mapping[str, tuple[str, Kind, Json | None]]) -> Table:
    """Table of one figure a row, from (meaning, format, figure) by name; figures that are None are left out."""
    rows = [Row(name, about, [cell(one, kind)]) for name, (about, kind, one) in figures.items() if one is not None]
    return Table(title, [], rows)


def section(values: Mapping[str, Any], meanings: Mapping[str, str], kinds: Mapping[str, Kind] = KINDS) -> Section:
    """Bring any part of an evaluation into tables: figures become rows, groups of figures a table of their own.

    Args:
        values: figures, numbers, texts, lists of figures with a `name`, and dicts of these.
        meanings: explanation by the name of a figure.
        kinds: format by the name of a figure.
    """
    single: list[Row] = []
    found = Section([], [], [])
    for key, value in values.items():
        if _is_matrix(value):
            found.tables.append(_matrix(words(key), value, meanings, kinds))
        elif isinstance(value, list):
            found.tables.extend(_listed(words(key), value, kinds))
            found.notes.extend(text for text in value if isinstance(text, str))
        else:
            for path, one in _flat((key,), value):
                name = ", ".join(map(words, path))
                if is_figure(one):
                    kind = _kind(path, kinds)
                    single.append(Row(name, meanings.get(path[-1], ""), [cell(one, kind)]))
                    found.counts.extend(
                        (f"{name}, {words(part)}", _plain(part, one[part], kinds))
                        for part in ("share", "score_deviation")
                        if part in one
                    )
                elif one is not None:
                    found.counts.append((name, _plain(path[-1], one, kinds)))
    if single:
        found.tables.insert(0, Table("", [], single))
    return found


def _is_matrix(value: Any) -> bool:
    """Return True for a dict of dicts that hold figures: rows and columns of a table."""
    if not isinstance(value, Mapping) or not value or is_figure(value):
        return False
    rows = list(value.values())
    if not all(isinstance(row, Mapping) and not is_figure(row) and any(map(is_figure, row.values())) for row in rows):
        return False
    return len({key for row in rows for key in row}) <= MOST_COLUMNS


def _matrix(
    title: str, values: Mapping[str, Mapping[str, Any]], meanings: Mapping[str, str], kinds: Mapping[str, Kind]
) -> Table:
    columns = list(dict.fromkeys(key for row in values.values() for key in row))
    rows = [
        Row(words(name), meanings.get(name, ""), [_any_cell(row.get(column), column, kinds) for column in columns])
        for name, row in values.items()
    ]
    return Table(title, [words(column) for column in columns], rows)


def _any_cell(value: Any, name: str, kinds: Mapping[str, Kind]) -> Cell:
    return cell(value, _kind((name,), kinds)) if is_figure(value) else Cell(_plain(name, value, kinds))


def _listed(title: str, values: Sequence[Any], kinds: Mapping[str, Kind]) -> list[Table]:
    """Table of a list of figures that name themselves."""
    figures = [value for value in values if is_figure(value)]
    rows = [
        Row(str(one.get("name", "")), str(one.get("scheme", "")), [cell(one, kinds.get(title, "percent"))])
        for one in figures
    ]
    return [Table(title, [], rows)] if rows else []


def _flat(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each figure, number or text below `value` with the keys that lead there."""
    if isinstance(value, Mapping) and not is_figure(value):
        for key, one in value.items():
            yield from _flat((*path, str(key)), one)
    else:
        yield path, value


def _kind(path: Sequence[str], kinds: Mapping[str, Kind]) -> Kind:
    return kinds.get(path[-1], "signed")


def _plain(name: str, value: Any, kinds: Mapping[str, Kind]) -> str:
    """Write a number by its name, counts with separated thousands; other values as they are."""
    if isinstance(value, float) and name in kinds:
        return WRITE[kinds[name]](value)
    return str(value) if isinstance(value, str | bool) else number(value)


def words(key: str) -> str:
    """Name of a figure for people."""
    return NAMES.get(key) or str(key).replace("_", " ")
