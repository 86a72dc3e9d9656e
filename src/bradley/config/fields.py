"""The settings as a flat list of dotted names: what each wants, how text becomes its value, what a wrong name meant.

The list is read off the models of `config`, so the command line, the configuration file and the help say one thing.
"""

import difflib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from . import Section
from .aliases import ALIASES

BOUNDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class Setting(NamedTuple):
    """One field of one section.

    Attributes:
        name: dotted, as on the command line: `optim.lr`.
        kind: its type annotation.
        limits: pydantic's constraints, such as `Ge(0)`.
        text: its docstring.
        default: its value when nobody gives one.
    """

    name: str
    kind: Any
    limits: list[Any]
    text: str
    default: Any

    @property
    def table(self) -> bool:
        """Whether it takes named entries: `model.config.hidden_size`."""
        return get_origin(self.kind) is dict

    @property
    def metavar(self) -> str:
        """The word for its value in a usage line."""
        if get_origin(self.kind) is Literal:
            return "|".join(get_args(self.kind))
        words = {int: "INTEGER", float: "NUMBER", bool: "true|false", str: "TEXT"}
        return words.get(self.kind, "JSON" if self.table else "LIST")

    @property
    def shown_default(self) -> str:
        """Its default as it would be typed; '' where that is empty."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return str(self.default) if self.default not in ("", {}) else ""


def settings_of(section: type[Section], prefix: str = "") -> dict[str, Setting]:
    """Every setting below a section, by dotted name, in the order of the source."""
    found: dict[str, Setting] = {}
    for key, info in section.model_fields.items():
        name, kind = prefix + key, info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found |= settings_of(kind, f"{name}.")
        else:
            found[name] = Setting(name, kind, info.metadata, info.description or "", info.default)
    return found


def find_setting(name: str, settings: dict[str, Setting]) -> tuple[Setting, str] | None:
    """The setting that a dotted name belongs to, and the rest of the name where the setting is a table."""
    if name in settings:
        return settings[name], ""
    for setting in settings.values():
        if setting.table and name.startswith(f"{setting.name}.") and not name.endswith("."):
            return setting, name.removeprefix(f"{setting.name}.")
    return None


def suggest(name: str, known: Iterable[str]) -> str:
    """What a wrong name probably meant: another trainer's word, the right word in a wrong section, or a slip; or ''."""
    names = list(known)
    last = name.rpartition(".")[2].lower().replace("-", "_")
    if last in ALIASES:
        return ALIASES[last]
    by_last = {known.rpartition(".")[2]: known for known in reversed(names)}
    slips = difflib.get_close_matches(name.lower(), names, 1, 0.75)
    if last in by_last and by_last[last].rpartition(".")[0] != name.rpartition(".")[0]:
        return by_last[last]
    if not slips:
        slips = [by_last[word] for word in difflib.get_close_matches(last, list(by_last), 1, 0.75)]
    slips += [full for full in names if full.startswith(name)]
    return slips[0] if slips else ""


def wanted(kind: Any, limits: Iterable[Any] = ()) -> str:
    """What a type accepts, in words: `a whole number of at least 2 and of at most 8`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return wanted(args[0], kind.__metadata__)
    if origin is Literal:
        return f"{', '.join(map(str, args[:-1]))} or {args[-1]}"
    if origin is tuple:
        return f"{len(args)} values, each {wanted(args[0])}"
    if origin is dict:
        return "a table of named values"
    if kind not in PLAIN:
        return "text or a list of texts"
    parts = [f"{words} {limit:g}" for one in limits for sign, words in BOUNDS.items() for limit in _limits(one, sign)]
    return PLAIN[kind] + (" " + " and ".join(parts) if parts else "")


def _limits(constraint: Any, sign: str) -> list[float]:
    """Limits of one constraint in one direction, also of the ones that `Field` keeps nested."""
    nested = [limit for inner in getattr(constraint, "metadata", ()) for limit in _limits(inner, sign)]
    return [*nested, *([getattr(constraint, sign)] if hasattr(constraint, sign) else [])]


def coerce(text: str, kind: Any) -> Any:
    """A value of the type `kind` from the text of a command line.

    Lists are separated by commas, or written as JSON where an entry holds a comma. Entries of an open table are JSON
    where they can be read as such, and text otherwise.

    Raises:
        ValueError: the text does not fit the type.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        return coerce(text, get_args(kind)[0])
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if kind in (int, float, str):
        return kind(text)
    if origin is Literal:
        return text
    if origin is tuple:
        return [float(part) for part in _items(text)]
    if origin is dict:
        return json.loads(text)
    if kind is Any:
        return _json_or_text(text)
    return _items(text) if text.lstrip().startswith("[") or "," in text else text


def _items(text: str) -> list[Any]:
    return list(json.loads(text)) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",")]


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
