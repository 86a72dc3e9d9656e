"""Columns of the first rows of a file: their paths, kinds of values, words of their names, and families of names.

A column inside an object has a path of several names. A family is a group of columns with names that differ in one mark
alone: a letter, a number, left and right, first and second.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from ..rows import Row, quoted
from .messages import is_exchanges, is_message, is_pair, is_told, is_turns, normal

Path = tuple[str, ...]

DEEPEST = 4
"""Most names of a path."""
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_A-Za-z]+")
NO_TEXTS = re.compile(r"\[\s*(null\s*(,\s*null\s*)*)?\]\s*")
"""List without a text, written as JSON text."""
HEX = re.compile(r"[0-9a-fA-F]+")
DIGESTS = {32, 40, 56, 64, 96, 128}
"""Hexadecimal digits of MD5, SHA-1, and SHA-224 to SHA-512."""
MARKS = {
    "side": ("left", "right"),
    "ordinal": ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    "number word": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "greek": ("alpha", "beta", "gamma", "delta"),
}
"""Marks that are words, by kind, in order."""
MOST_COLUMNS = 400
"""Most columns that are looked at."""
GLUED = "f"
"""Last letter that counts as a mark at the end of a word."""
LONG = 80
"""Most characters of a text that may be a label: longer texts are content."""
SHORTEST = 40
"""Fewest characters of a text of one or two words that is taken for words of a conversation."""
CONVERSATION = {
    *("history", "conversation", "conversations", "turns", "messages", "dialog", "dialogs", "dialogue", "dialogues"),
    *("chat", "chats", "context", "exchanges", "previous", "prior", "earlier", "past", "thread", "prompt"),
}
"""Words in the name of a column in which pairs of texts are turns."""
SPOKEN = ("text", "turns", "texts", "pairs")
"""Kinds of columns that hold words of a conversation."""


class Family(NamedTuple):
    """Columns with names that differ in one mark alone, in the order of the marks.

    Attributes:
        stem: words of the names, without the mark.
        kind: kind of the mark: "letter", "digit" or a key of `MARKS`.
        marks: mark of each column, in lower case.
        paths: paths of the columns.
    """

    stem: tuple[str, ...]
    kind: str
    marks: tuple[str, ...]
    paths: tuple[Path, ...]


class Layout:
    """Columns of the first rows of a file.

    Attributes:
        rows: the rows.
        columns: path -> values, None for a row without the column.
        kinds: path -> kind of the values, see `kind_of`.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        """Find the columns of rows."""
        self.rows = rows
        found = [dict(leaves(row)) for row in rows]
        # Objects keyed by ids may have a column of their own in every row; no label or answer stands there.
        paths = list(dict.fromkeys(path for row in found for path in row))[:MOST_COLUMNS]
        self.columns: dict[Path, list[Any]] = {path: [row.get(path) for row in found] for path in paths}
        self.kinds = {path: _kind_under(path, kind_of(values), values) for path, values in self.columns.items()}

    def of_kind(self, *kinds: str) -> list[Path]:
        """Return the columns of these kinds, in the order of the rows."""
        return [path for path, kind in self.kinds.items() if kind in kinds]

    @cached_property
    def families(self) -> list[Family]:
        """Return the families of at least two columns with marks that follow each other."""
        found: dict[tuple[Any, ...], dict[int, tuple[str, Path]]] = {}
        for path in self.columns:
            parts = words(path)
            for place, word in enumerate(parts):
                for kind, number, before, mark in _marked(word):
                    stem = (*parts[:place], *before, None, *parts[place + 1 :])
                    found.setdefault((kind, stem), {}).setdefault(number, (mark, path))
        return [family for (kind, stem), members in found.items() for family in _runs(kind, stem, members)]


def leaves(row: Row, before: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of every column of a row; objects are entered, messages are not."""
    for key, value in row.items():
        path = (*before, str(key))
        if isinstance(value, dict) and value and not is_message(value) and len(path) < DEEPEST:
            yield from leaves(value, path)
        else:
            yield path, value


def at_path(row: Row, path: Path) -> Any:
    """Return the value of a column in a row; None if the row does not have the column."""
    value: Any = row
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def covered(path: Path, paths: set[Path]) -> bool:
    """Return True for a column among some columns, or inside one of them."""
    return any(path[:length] in paths for length in range(1, len(path) + 1))


def named(path: Path) -> str:
    """Write a path as `data.columns` takes the path, on one line."""
    return quoted(".".join(path), str)


@lru_cache(maxsize=4096)
def words(path: Path) -> tuple[str, ...]:
    """Return the words of a path's names in lower case: `human_ref_A` is human, ref, a."""
    return tuple(word.lower() for name in path for word in WORD.findall(name[:LONG]))


def marks_of(word: str) -> list[tuple[str, int]]:
    """Return the kinds of marks that a word can be, each with its place in the order."""
    if word.isascii() and word.isdecimal() and len(word) < 4:
        return [("digit", int(word))]
    if len(word) == 1 and "a" <= word <= "z":
        return [("letter", ord(word))]
    return [(kind, order.index(word)) for kind, order in MARKS.items() if word in order]


def _marked(word: str) -> Iterator[tuple[str, int, tuple[str, ...], str]]:
    """Yield kind and place of the marks in a word, with the letters before the mark: outputa is output and a."""
    for kind, number in marks_of(word):
        yield kind, number, (), word
    if len(word) > 3 and "a" <= word[-1] <= GLUED:
        yield "letter", ord(word[-1]), (word[:-1],), word[-1]


def kind_of(values: Sequence[Any]) -> str:
    """Return the kind of a column: the kind of all its values but null, or "mixed"; "null" for nulls alone.

    Text and messages together are "turns". Whole numbers and numbers with a fraction together are "number".
    """
    kinds = {_kind(value) for value in values if value is not None and value != "" and not _nulls(value)}
    if not kinds:
        return "text" if "" in [value for value in values if isinstance(value, str)] else "null"
    if kinds == {"text", "turns"}:
        return "turns"
    if kinds == {"text", "texts"}:
        # Beside lists of texts, a list of nulls is a list without a text.
        return "texts" if all(is_no_texts(value) for value in values if value and _kind(value) == "text") else "text"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _kind_under(path: Path, kind: str, values: Sequence[Any]) -> str:
    """Return the kind of a column under a name: pairs of texts are turns only under the name of a conversation."""
    if kind != "pairs" or CONVERSATION & set(words(path)):
        return kind
    return "objects" if any(map(is_exchanges, values)) else "list"


def _nulls(value: Any) -> bool:
    """Return True for an empty list, and for a list of nulls, which say nothing of the other rows."""
    return isinstance(value, list) and all(entry is None for entry in value)


def _kind(value: Any) -> str:
    """Return the kind of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        found = normal(value)
        return "texts" if texts_of(value) is not None else "text" if isinstance(found, str) else "turns"
    if is_message(value):
        return "turns"
    return _kind_of_list(value) if isinstance(value, list) and value else "object"


def _kind_of_list(value: list[Any]) -> str:
    """Return the kind of a list with entries."""
    if is_turns(value):
        return "objects" if _rated_answers(value) else "turns"
    if is_told(value):
        return "turns"
    if all(is_pair(entry) for entry in value) or is_exchanges(value):
        return "pairs"
    for kind, types in (("bools", bool), ("numbers", int | float), ("texts", str), ("objects", dict)):
        if all(entry is None or isinstance(entry, types) for entry in value):
            return kind if kind != "objects" or not _branches(value) else "branches"
    return "list"


def _rated_answers(value: list[Row]) -> bool:
    """Return True for turns of the assistant alone that carry numbers: several answers, and no conversation."""
    roles = {str(entry.get("role", entry.get("from"))).lower() for entry in value}
    numbers = [any(isinstance(inner, int | float) for inner in entry.values()) for entry in value]
    return len(value) > 1 and len(roles) == 1 and not roles & {"user", "human", "system"} and all(numbers)


def _branches(value: list[Any]) -> bool:
    """Return True for a conversation with several answers in place of its last turn."""
    last = value[-1]
    return all(map(is_message, value[:-1])) and isinstance(last, dict) and branch_key(last) != ""


def branch_key(last: Row) -> str:
    """Return the key under which a turn holds several answers; "" for none."""
    if not any(isinstance(last.get(key), str) for key in ("role", "from")):
        return ""
    lists = [key for key, inner in last.items() if isinstance(inner, list) and len(inner) > 1]
    return lists[0] if len(lists) == 1 and all(isinstance(entry, dict) for entry in last[lists[0]]) else ""


def texts_of(value: Any) -> list[str] | None:
    """Return a list of texts, also one written as JSON text; None for any other value. A null is an empty text."""
    if isinstance(value, str):
        if not (value.startswith("[") and value.rstrip().endswith("]") and '"' in value):
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not all(entry is None or isinstance(entry, str) for entry in value):
        return None
    return [entry or "" for entry in value]


def replies_of(value: Any) -> list[str] | None:
    """Return a list of texts as `texts_of` does, and one without any text, such as "[null]", which alone is a text."""
    return [""] * value.count("null") if is_no_texts(value) else texts_of(value)


def is_no_texts(value: Any) -> bool:
    """Return True for a list of nulls, or an empty list, written as JSON text."""
    return isinstance(value, str) and bool(NO_TEXTS.fullmatch(value))


def _runs(kind: str, stem: tuple[Any, ...], members: dict[int, tuple[str, Path]]) -> list[Family]:
    """Return the family of columns with marks that follow each other; none for a single column or a gap."""
    order = sorted(members)
    if len(order) < 2 or order != list(range(order[0], order[0] + len(order))):
        return []
    if kind == "digit" and order[0] > 1:
        return []
    marks, paths = zip(*(members[number] for number in order), strict=True)
    return [Family(tuple(word for word in stem if word is not None), kind, marks, paths)]


def is_spoken(value: Any) -> bool:
    """Return True for words of a conversation, rather than a label, a name or a digest."""
    return not isinstance(value, str) or len(value.split()) > 2 or (len(value) >= SHORTEST and not is_digest(value))


def is_digest(value: Any) -> bool:
    """Return True for a hash in hexadecimal digits, as long as one of MD5 or of the SHA family."""
    return isinstance(value, str) and len(value) in DIGESTS and HEX.fullmatch(value) is not None
