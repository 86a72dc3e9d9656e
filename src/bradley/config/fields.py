"""Settings as a flat list of dotted names: types and limits, values from text, suggestions for wrong names.

The list is read off the models of `config`, so command line, configuration file and help agree.
"""

import difflib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from ..common.text import LONGEST_GUESSED, cut_middle, visible
from . import Section
from .aliases import ALIASES
from .toml import MOST_PARTS

BOUNDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
"""Attribute of a pydantic constraint -> words for the limit."""
MOST_DOTS = 3
"""Most dots in the name of a setting."""
FAR = 1000
"""Smallest bound that only a slip of the keyboard exceeds; a message names such a bound for a value that far off."""
MOST_VALUES = 1_000_000
"""Most values inside the value of a setting."""
MOST_JOINED = 50
"""Most parts between commas that may be the name of a file together."""
MOST_SHOWN = 80
"""Longest quotation of a value, in characters."""
PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
"""Plain type -> words for an accepted value."""


class Setting(NamedTuple):
    """A field of a section.

    Attributes:
        name: dotted, as on the command line: `optim.lr`.
        kind: type annotation.
        limits: pydantic's constraints, such as `Ge(0)`.
        text: docstring of the field.
        default: value of a setting that nobody gives.
    """

    name: str
    kind: Any
    limits: list[Any]
    text: str
    default: Any

    @property
    def table(self) -> bool:
        """True if the setting takes named entries: `model.config.hidden_size`."""
        return entries_of(self.kind) is not None

    @property
    def entry(self) -> Any:
        """Type of an entry of a table."""
        return entries_of(self.kind)

    @property
    def metavar(self) -> str:
        """Word for the value in a usage line."""
        if get_origin(self.kind) is Literal:
            return "|".join(get_args(self.kind))
        words = {int: "INTEGER", float: "NUMBER", bool: "true|false", str: "TEXT", str | dict[str, str]: "TEXT"}
        return words.get(self.kind, "JSON" if self.table else "LIST")

    @property
    def shown_default(self) -> str:
        """Default as typed on the command line; '' for an empty default."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return str(self.default) if self.default not in ("", {}) else ""


def entries_of(kind: Any) -> Any:
    """Return the type of the entries of a table, also of a table that a text may stand for; None for no table."""
    tables = (kind, *get_args(kind)) if get_origin(kind) is UnionType else (kind,)
    return next((get_args(table)[1] for table in tables if get_origin(table) is dict), None)


def settings_of(section: type[Section], prefix: str = "") -> dict[str, Setting]:
    """Return every setting below a section, by dotted name, in the order of the source."""
    found: dict[str, Setting] = {}
    for key, info in section.model_fields.items():
        name, kind = prefix + key, info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found |= settings_of(kind, f"{name}.")
        else:
            found[name] = Setting(name, kind, info.metadata, info.description or "", info.default)
    return found


def find_setting(name: str, settings: dict[str, Setting]) -> tuple[Setting, str] | None:
    """Return the setting of a dotted name, and the rest of the name if the setting is a table; None if unknown."""
    if name in settings:
        return settings[name], ""
    # Entries of a table have names of the user's own, so only a prefix can identify the table.
    parts = name.split(".", MOST_DOTS + 1)[: MOST_DOTS + 1]
    for count in range(1, len(parts) + 1):
        setting = settings.get(".".join(parts[:count]))
        if setting and setting.table and not name.endswith("."):
            return setting, name.removeprefix(f"{setting.name}.")
    return None


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the probable meaning of a wrong name, or ''.

    The meaning is another trainer's word, the right word in a wrong section, or a slip of the keyboard.
    """
    names = list(known)
    # A comparison costs time by both lengths, and a name may be of any length.
    if len(name) > LONGEST_GUESSED:
        return ""
    # Flags of other trainers come with dashes and in any case: `--learning-rate` and `learning_rate` are equal here.
    last = name.rpartition(".")[2].lower().replace("-", "_")
    # Aliases come first: the nearest spelling of another trainer's word is often a setting of another meaning.
    if last in ALIASES:
        return ALIASES[last]
    # Reversed, so that the first section with a word wins: `every` is in `eval`, `log` and `checkpoint`.
    by_last = {full.rpartition(".")[2]: full for full in reversed(names)}
    slips = difflib.get_close_matches(name.lower(), names, 1, 0.75)
    if last in by_last and by_last[last].rpartition(".")[0] != name.rpartition(".")[0]:
        return by_last[last]
    # The last word alone ignores the section, so a match of the whole name is preferred.
    if not slips:
        slips = [by_last[word] for word in difflib.get_close_matches(last, list(by_last), 1, 0.75)]
    slips += [full for full in names if full.startswith(name)]
    return slips[0] if slips else ""


def wanted(kind: Any, limits: Iterable[Any] = (), *, far: bool = True) -> str:
    """Describe the accepted values of a type: `a whole number of at least 2 and of at most 8`.

    Args:
        far: True to name bounds from `FAR` on, too.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return wanted(args[0], kind.__metadata__, far=far)
    if origin is Literal:
        return f"{', '.join(map(str, args[:-1]))} or {args[-1]}"
    if origin is tuple:
        return f"{len(args)} values, each {wanted(args[0])}"
    if origin is dict:
        return "a table of named values"
    if kind is Any:
        return "a value of JSON"
    if kind not in PLAIN:
        return "text or a list of texts" if entries_of(kind) is None else "text or a table of named texts"
    parts = [
        f"{words} {_number(limit)}"
        for constraint in limits
        for sign, words in BOUNDS.items()
        for limit in _limits(constraint, sign)
        if far or abs(limit) < FAR
    ]
    return PLAIN[kind] + (" " + " and ".join(parts) if parts else "")


def _number(limit: float) -> str:
    """Return a limit as a message prints the number: whole numbers in full, with commas."""
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def _limits(constraint: Any, sign: str) -> list[float]:
    """Return the limits of a constraint in a direction, including constraints nested by `Field`."""
    nested = [limit for inner in getattr(constraint, "metadata", ()) for limit in _limits(inner, sign)]
    return [*nested, *([getattr(constraint, sign)] if hasattr(constraint, sign) else [])]


def coerce(text: str, kind: Any) -> Any:
    """Convert the text of a command line to a value of the type `kind`.

    Lists are separated by commas, or written as JSON if an entry holds a comma. The name of an existing file may hold
    commas in a list of texts. An entry of an open table is JSON if
    the text parses as JSON, and text otherwise.

    Raises:
        ValueError: the text does not fit the type.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        return coerce(text, get_args(kind)[0])
    # `bool(text)` would be True for every non-empty text, "false" included.
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if kind in (int, float, str):
        return kind(text)
    # Choices and lengths of tuples are checked later, together with the values of the file.
    if origin is Literal:
        return text
    if origin is tuple:
        return [float(part) for part in _items(text)]
    if origin is dict:
        return _parsed(text)
    if kind is Any:
        return _json_or_text(text)
    if entries_of(kind) is not None:
        return _parsed(text) if text.lstrip().startswith("{") else text
    return _words(text) if text.lstrip().startswith("[") or "," in text else text


def _words(text: str) -> Any:
    """Return the entries of a list of texts; an existing file is a single entry, whatever commas its name has."""
    parts = text.split(",")
    if text.lstrip().startswith("[") or len(parts) > MOST_JOINED:
        return _items(text)
    found, start = [], 0
    while start < len(parts):
        # The longest name of an existing file wins; a part alone needs no file.
        stops = range(len(parts), start + 1, -1)
        stop = next((stop for stop in stops if os.path.lexists(",".join(parts[start:stop]).strip())), start + 1)
        found.append(",".join(parts[start:stop]).strip())
        start = stop
    return found[0] if len(found) == 1 else found


def _items(text: str) -> list[Any]:
    return list(_parsed(text)) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",")]


def _json_or_text(text: str) -> Any:
    try:
        return _parsed(text)
    except json.JSONDecodeError:
        return text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise NestedTooDeeply from error


class NestedTooDeeply(ValueError):
    """Text with more levels of brackets than the JSON reader of Python follows."""


def unusable(value: Any) -> str:
    """Return the reason why no setting can have a value, or ''.

    The run folder records settings as JSON in UTF-8; any other value could not be read back on resume. The checks of a
    value of any shape take bounded time and memory.
    """
    level, count = [value], 0
    for _ in range(MOST_PARTS):
        count += len(level)
        if count > MOST_VALUES:
            return f"more than {MOST_VALUES:,} values"
        if reason := next(filter(None, map(_unusable_alone, level)), ""):
            return reason
        level = [inner for outer in level for inner in _parts(outer)]
        if not level:
            return ""
    return "nested too deeply"


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple) else ()


def _unusable_alone(value: Any) -> str:
    """Return the reason why no setting can have a value, from the value without its parts; '' for none."""
    match value:
        case str() | PurePath():
            text = str(value)
            if "\0" in text:
                return "a null character"
            return "text that is not UTF-8" if any("\ud800" <= c <= "\udfff" for c in text) else ""
        case Mapping():
            return "" if all(isinstance(key, str) for key in value) else "a key that is no text"
        case int():
            return "a number of more than 64 bits" if value.bit_length() > 64 else ""
        case float():
            return "" if math.isfinite(value) else "no finite number"
        case None | list() | tuple():
            return ""
    return f"no value of JSON, but of type {type(value).__name__}"


def shown(value: Any) -> str:
    """Return a value as a message quotes the value: as JSON on a single line, cut to about `MOST_SHOWN` characters."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    # Nested too deeply, a value inside itself, or a number of more digits than Python prints.
    except (RecursionError, ValueError, TypeError):
        return f"a value of type {type(value).__name__}"
    return visible(cut_middle(text, MOST_SHOWN), keep="\\")
