"""Identifiers of the answers: values of their own, such as an id or a letter, by which a label names one of them.

The objects of a list, a list beside the answers, and a column for each answer may hold identifiers. Answers that were
shuffled keep their identifiers, so a label that names one says nothing of the answer's place.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..rows import Row, quoted
from .base import FUNCTION, Refused
from .labels import MOST_VALUES, Answers, Label, Reader, Unknown, Verdict, said_of, side_marks
from .layout import LONG, Layout, Path, at_path, branch_key, leaves, named, words
from .meanings import LISTED
from .names import NEUTRAL, names_content, unclear
from .words import LABEL, PEOPLE, TIE, Said, sense

IDENTIFIERS = {
    *("id", "ids", "label", "labels", "name", "names", "letter", "letters", "side", "sides", "option", "options"),
    *(
        "number",
        "numbers",
        "no",
        "idx",
        "idxs",
        "index",
        "indices",
        "indexes",
        "model",
        "models",
        "slot",
        "slots",
        "key",
        "keys",
    ),
    *("position", "positions", "uid", "uids", "uuid", "code", "tag", "author", "system", "hash", "candidate"),
}
"""Words in the name of a value by which a label may name the answer."""
INSIDE = IDENTIFIERS | {"order"}
"""Words in the name of such a value inside the object of an answer; a list under `order` may mean two things."""


MOST_LATE = 1000
"""Most names, and most sets of names, of columns that begin after the first rows and are remembered."""


class Own(NamedTuple):
    """A value of each answer's own.

    Attributes:
        paths: columns with the values; "*" stands for any entry of a list.
        get: returns the values of a row, in the order of the answers; an empty list for a row without them.
        known: True for the name of an identifier.
    """

    paths: tuple[Path, ...]
    get: Callable[[Row], list[Any]]
    known: bool

    @property
    def name(self) -> str:
        """Names of the columns."""
        return ", ".join(map(named, self.paths))


def by_identifiers(layout: Layout, path: Path, answers: Answers, wanted: bool, placed: Label | None) -> Label | None:
    """Return the label of a column that names one of the answers by a value of its own; else the label by places.

    The label names an identifier if the identifiers of each row differ, and every label is one of the row's own.

    Args:
        wanted: True for a column that the user named as the label.
        placed: the label of the column by the places of the answers; None if the column holds no such label.
    """
    by_name = wanted or bool(LABEL & set(words(path)))
    rows = [row for row in layout.rows if at_path(row, path) not in (None, "")]
    if (placed is None and not by_name) or not _may_name(path, rows, answers, wanted):
        return placed
    label = placed or Label((path,), "choice", None, _tier(answers, by_name), _aspects(path, answers))
    every = [(own, _reader(path, own, answers)) for own in _owned(layout, path, answers)]
    known = [(own, read) for own, read in every if own.known and _holds(path, own, rows, answers)]
    if label.read is None or label.problem:
        return _read_by(label, known, rows, path) if known else placed
    if known and any(_differ(read, label.read, rows) for _, read in known):
        return _read_by(label, known, rows, path)
    # A label that repeats a text of one side, and names no place, is read as it is.
    if all(said_of(at_path(row, path), answers) is None for row in rows):
        return label
    return _read_by(label, known, rows, path) if known else _by_place(label, every, rows, path, answers)


def _may_name(path: Path, rows: Sequence[Row], answers: Answers, wanted: bool) -> bool:
    """Return True for short labels under a name that can mean nothing but the better answer, or the worse of two."""
    values = [at_path(row, path) for row in rows]
    short = all(isinstance(value, str | int | float) and len(str(value)) <= LONG for value in values)
    worst = sense(words(path)) == -1 and len(answers.names) > 2
    reason = unclear(path, answers.stem, side_marks(answers), wanted) or (not wanted and names_content(words(path)))
    return bool(values) and short and not worst and not reason


def _by_place(
    label: Label, every: Sequence[tuple[Own, Reader]], rows: Sequence[Row], path: Path, answers: Answers
) -> Label:
    """Return a label that is read by the places of the answers; with a problem if values of the answers contradict.

    Values that agree in every row are kept with the label, so that a later row is checked.
    """
    assert label.read is not None
    beside = []
    for own, by_value in every:
        if own.known:
            # Running numbers of all answers of a file are places in a few rows by chance.
            named_so = sum(isinstance(by_value(row), Verdict) for row in rows)
            if 2 * named_so > len(rows) and _differ(by_value, label.read, rows, strictly=True):
                return replace(
                    label, read=None, problem=f"{label.name} names {own.name} in some rows, places in others"
                )
            read = _ordered(label.read, own) if _in_order(own, rows) else None
        else:
            # Columns such as left and right, and lists such as an order, have checks of their own.
            read = by_value if not answers.names and _holds(path, own, rows, answers) else None
        if read and _differ(read, label.read, rows):
            return replace(label, read=None, problem=f"{label.name} may name the place of an answer, or its {own.name}")
        beside += [Label(own.paths, "choice", read, 0)] if read else []
    return replace(label, agreeing=(*label.agreeing, *beside)) if beside else label


def _in_order(own: Own, rows: Sequence[Row]) -> bool:
    """Return True for values that are the first places themselves, in every row, such as A and B, or 1 and 2."""
    found = {tuple(sorted(order)) if (order := _order(own.get(row))) else () for row in rows}
    places = [place for _, place in found.pop()] if len(found) == 1 else []
    return bool(places) and places[0] in (0, 1) and places == list(range(places[0], places[0] + len(places)))


def _order(values: Sequence[Any]) -> list[tuple[bool, int]] | None:
    """Return the place that each value means; None unless all mean a place, and different ones."""
    said = [said_of(value, LISTED) if _plain(value) is not None else None for value in values]
    places = [(one.side is None, one.digit or 0 if one.side is None else one.side) for one in said if one]
    return places if len(set(places)) == len(values) > 1 and (False, TIE) not in places else None


def _ordered(placed: Reader, own: Own) -> Reader:
    """Return the function that reads a label of places as places in the order of the answers' own values."""

    def read(row: Row) -> Verdict | Unknown | None:
        verdict, order = placed(row), _order(own.get(row))
        if not isinstance(verdict, Verdict) or order is None or len(order) != len(verdict.merits):
            return verdict
        return verdict._replace(merits=tuple(verdict.merits[sorted(order).index(place)] for place in order))

    return read


def late_identifiers(label: Label, answers: Answers, rows: Sequence[Row]) -> list[Callable[[Row], None]]:
    """Return the checks of identifiers that begin after the first rows.

    Identifiers may stand inside the objects of a list of answers, in a list beside, or in a column for each answer.

    Args:
        rows: first rows.
    """
    if label.kind != "choice" or len(label.paths) != 1 or label.own:
        return []
    beside = _late_columns(label, answers, rows)
    return [beside] if answers.names else [_late_inside(label, answers, rows), beside]


def _late_inside(label: Label, answers: Answers, rows: Sequence[Row]) -> Callable[[Row], None]:
    """Return the check of identifiers inside the objects of a list of answers."""
    known = {key for row in rows for entry in entries_of(row, answers) for key in _keys(entry)}

    def check(row: Row) -> None:
        new = {key for entry in entries_of(row, answers) for key in _keys(entry) if INSIDE & set(words(key))} - known
        for own in (_inside(answers, key) for key in new):
            _agree(label, own, answers, row)

    return check


def _late_columns(label: Label, answers: Answers, rows: Sequence[Row]) -> Callable[[Row], None]:
    """Return the check of identifiers in a list beside the answers, and in a column for each answer."""
    path = label.paths[0]
    known = {key for row in rows for key, value in row.items() if value not in (None, "", [])}
    known |= {one[0] for one in (path, *answers.paths)}
    names: dict[str, bool] = {}
    owned: dict[frozenset[str], list[Own]] = {}

    def check(row: Row) -> None:
        new = row.keys() - known
        if len(names) < MOST_LATE:
            names.update((key, bool(INSIDE & set(words((str(key),))))) for key in new - names.keys())
        keys = frozenset(key for key in new if names.get(key) and row[key] not in (None, "", []))
        if keys and keys not in owned and len(owned) < MOST_LATE:
            found = _owned(Layout([row]), path, answers)
            owned[keys] = [own for own in found if own.known and all(one[0] in keys for one in own.paths)]
        for own in owned.get(keys, ()):
            _agree(label, own, answers, row)

    return check


def _agree(label: Label, own: Own, answers: Answers, row: Row) -> None:
    """Raise `Refused` for a row in which a label that is read as a place names another answer by its own value."""
    read = _reader(label.paths[0], own, answers)
    if label.read and _differ(read, label.read, [row], strictly=True):
        message = f"{label.name} may name the place of an answer, or its {own.name}"
        raise Refused(message, f"read the label in a function of your own: {FUNCTION}")


def _read_by(label: Label, known: Sequence[tuple[Own, Reader]], rows: Sequence[Row], path: Path) -> Label:
    """Return the label that is read by identifiers; with a problem if two kinds of them name different answers."""
    (own, read), *more = known
    for other, reader in more:
        if _differ(read, reader, rows):
            problem = f"{named(path)} may name an answer by {own.name}, or by {other.name}"
            return replace(label, read=None, problem=problem)
    few = len({str(at_path(row, path)) for row in rows}) <= MOST_VALUES

    def shown(row: Row) -> str:
        value, verdict = at_path(row, path), read(row)
        if few or not isinstance(verdict, Verdict):
            return "" if value in (None, "") else quoted(value, str)[:40]
        meant = 1.0 if sense(words(path)) == 1 else 0.0
        return f"answer {verdict.merits.index(meant) + 1}" if len(set(verdict.merits)) > 1 else "tie"

    beside = tuple(Label(other.paths, "choice", reader, 0) for other, reader in more)
    return replace(label, read=read, problem="", undecided=False, shown=shown, agreeing=beside, own=own.paths)


def _tier(answers: Answers, by_name: bool) -> int:
    """Return the tier of a label that names one answer."""
    several = len(answers.names) > 2 or answers.number > 2
    return 2 if not by_name else 1 if several else 0


def _aspects(path: Path, answers: Answers) -> int:
    """Return the number of words in the name of a label that name an aspect."""
    return len(set(words(path)) - NEUTRAL - set(answers.stem))


def _owned(layout: Layout, path: Path, answers: Answers) -> list[Own]:
    """Return the values of the answers' own: inside the objects of a list, in a list beside, in a column for each."""
    found = []
    if not answers.names:
        keys = dict.fromkeys(key for row in layout.rows for entry in entries_of(row, answers) for key in _keys(entry))
        found += [_inside(answers, key) for key in keys]
    for other in layout.of_kind("texts", "numbers"):
        if other not in (path, *answers.paths):
            found.append(_beside(other))
    for family in layout.families:
        same = len(family.paths) == len(answers.names) and family.paths != answers.paths and path not in family.paths
        # The names of two judges are no names of the sides, and texts that are equal to a label are read elsewhere.
        if same and not PEOPLE & set(family.stem) and {layout.kinds[one] for one in family.paths} <= {"text", "number"}:
            own = set(family.stem) - set(answers.stem) or set(family.stem)
            found.append(_of_columns(family.paths, bool(INSIDE & own)))
    return found


def entries_of(row: Row, answers: Answers) -> list[Any]:
    """Return the objects of a row's list of answers, also of answers in place of a last turn."""
    value = at_path(row, answers.paths[0])
    if not isinstance(value, list) or not value:
        return []
    key = branch_key(value[-1]) if isinstance(value[-1], dict) else ""
    return value[-1][key] if key else value


def _keys(entry: Any) -> list[Path]:
    """Return the paths of the short values in the object of an answer."""
    if not isinstance(entry, dict):
        return []
    return [path for path, value in leaves(entry) if _plain(value) is not None]


def _inside(answers: Answers, key: Path) -> Own:
    """Return the value under a key of each object in a list of answers."""

    def get(row: Row) -> list[Any]:
        return [at_path(entry, key) if isinstance(entry, dict) else None for entry in entries_of(row, answers)]

    return Own(((*answers.paths[0], "*", *key),), get, bool(INSIDE & set(words(key))))


def _beside(path: Path) -> Own:
    """Return the values of a list beside the answers."""
    return Own(((*path, "*"),), lambda row: _list_of(at_path(row, path)), bool(IDENTIFIERS & set(words(path))))


def _of_columns(paths: Sequence[Path], known: bool) -> Own:
    """Return the values of a column for each answer."""
    return Own(tuple(paths), lambda row: [at_path(row, path) for path in paths], known)


def _list_of(value: Any) -> list[Any]:
    """Return a list, and an empty list for any other value."""
    return value if isinstance(value, list) else []


def _plain(value: Any) -> str | None:
    """Return a short text or a whole number in one writing; None for any other value."""
    if isinstance(value, str):
        text = value.strip().casefold()
        return text if text and len(text) <= LONG else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return str(int(value))


def _named_by(value: Any, own: Sequence[Any]) -> Said | None:
    """Return the place of the answer of which a label names the own value, or a tie; None for another label."""
    plain = [_plain(one) for one in own]
    if None in plain or len(set(plain)) < len(plain) or len(plain) < 2:
        return None
    if (text := _plain(value)) in plain:
        return Said(plain.index(text))
    said = None if isinstance(value, bool) else said_of(value, LISTED)
    if said is None or said.side == TIE:
        return said
    # The label `A>B`, or `Response A`, names the answer of which the own value is `A`, or `Assistant A`.
    meant = [(one.side, one.digit) if one else None for one in (said_of(one, LISTED) for one in own)]
    told = set(words((str(value),)))
    # The letter `A` is no word for the left answer here: the values themselves are named.
    found = [
        place
        for place, one in enumerate(meant)
        if one == (said.side, said.digit) and told & set(words((str(own[place]),)))
    ]
    return said._replace(side=found[0], digit=None) if len(found) == 1 and None not in meant else None


def _is_place(said: Said | None) -> bool:
    """Return True for the place of an answer."""
    return said is not None and said.side is not None and said.side != TIE


def _holds(path: Path, own: Own, rows: Sequence[Row], answers: Answers) -> bool:
    """Return True if every label names an answer by a value of its own, ties and a few unknown words aside."""
    values = [at_path(row, path) for row in rows]
    found = [_named_by(value, own.get(row)) for value, row in zip(values, rows, strict=True)]
    odd = [value for said, value in zip(found, values, strict=True) if said is None]
    unknown = all(isinstance(value, str) and said_of(value, answers) is None for value in odd)
    return unknown and 2 * sum(map(_is_place, found)) > sum(said is None or _is_place(said) for said in found)


def _reader(path: Path, own: Own, answers: Answers) -> Reader:
    """Return the function that reads a label by the values of the answers' own."""
    worse = sense(words(path)) == -1

    def read(row: Row) -> Verdict | Unknown | None:
        value, values = at_path(row, path), own.get(row)
        if value is None or value == "":
            return None
        count = len(answers.names) or len(entries_of(row, answers))
        said = _named_by(value, values) if isinstance(value, str | int | float) and len(values) == count else None
        if said is None or said.side is None:
            sided = not isinstance(value, str) or said_of(value, answers) is not None
            return Unknown(quoted(value), doubt=sided)
        if said.side == TIE:
            return Verdict((0.0,) * count)
        merits = [float((place == said.side) != worse) for place in range(count)]
        return Verdict(tuple(merits), said.strength)

    return read


def _differ(first: Reader, second: Reader, rows: Sequence[Row], strictly: bool = False) -> bool:
    """Return True if two readings name different answers in some row.

    Args:
        strictly: True to compare only rows that both understand.
    """
    for row in rows:
        one, two = first(row), second(row)
        if isinstance(one, Verdict) and isinstance(two, Verdict):
            if one.merits != two.merits:
                return True
        elif not strictly:
            return True
    return False
