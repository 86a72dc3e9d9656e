"""Load a `Config` from a TOML file and dotted overrides; all mistakes are reported at once, each with its place."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_origin

from pydantic import ValidationError

from ..common.text import cut_middle
from ..errors import UserError
from . import SINGLE_VALUES, Config, DataSettings, Section
from .fields import FAR, NestedTooDeeply, Setting, coerce, find_setting, settings_of, shown, suggest, unusable, wanted
from .toml import MOST_PARTS, TomlSource, enclosing, read_toml

S = TypeVar("S", bound=Section)
Say = Callable[[str], None]
HINT = "`bradley train --help` lists every setting, its meaning and its default"
MOST_GUESSES = 20
"""Most unknown names with a suggestion."""
REPLACES = {
    "train.max_steps": "train.epochs",
    "train.epochs": "train.max_steps",
    "data.valid": "data.valid_share",
    "data.valid_share": "data.valid",
    "data.test": "data.test_share",
    "data.test_share": "data.test",
    "train.past_interpolation": "train.early_stopping",
    "train.early_stopping": "train.past_interpolation",
    "model.path": "model.config",
}
"""Setting -> its rival. Only one of the two may be given: a setting on the command line replaces its rival in the file.

The rival's value in the file would otherwise switch the override off, or contradict the override.
"""


def silent(line: str) -> None:
    """Take a line, and print nothing."""


def load_config(path: Path | None, overrides: Mapping[str, Any], say: Say = silent) -> Config:
    """Load the configuration of a run: a TOML file, then dotted overrides (`"optim.lr"` -> value or text).

    A setting of the file without effect because of an override is left out: the override switches off all that hangs on
    the switch.

    Args:
        say: takes a line about each setting left out.

    Raises:
        UserError: no such file, invalid TOML, or a line for each unknown key and each wrong value.
    """
    return load_settings(Config, read_toml(path) if path else TomlSource({}, "configuration", {}), overrides, say)


def read_config(mapping: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Config:
    """Load the configuration of a run from nested tables, shaped as in a TOML file. Raises as `load_config`."""
    return load_settings(Config, TomlSource(mapping, "configuration", {}), overrides or {})


def data_settings(files: Sequence[str], overrides: Mapping[str, Any]) -> DataSettings:
    """Load the settings of `bradley data`: no split from the files unless asked for. Raises as `load_config`."""
    # Without a share of 0, `bradley data` would report a held-out set that no file holds.
    source = TomlSource({"data": {"train": list(files), "valid_share": 0.0}}, "configuration", {})
    settings = load_settings(DataSettings, source, overrides)
    idle = [name for name in overrides if name.startswith(("render.", "model."))]
    if idle and not (settings.model.path or settings.model.tokenizer):
        raise UserError(
            f"command line: {idle[0]} has no effect without a tokenizer", "add --model.tokenizer or --model.path"
        )
    return settings


def load_settings(kind: type[S], source: TomlSource, overrides: Mapping[str, Any], say: Say = silent) -> S:
    """Load a section with all sections below, from tables and dotted overrides. Raises as `load_config`."""
    draft = Draft(settings_of(kind), source, overrides)
    for name, value in _leaves(source.table, draft):
        _take(draft, name, value)
    before = _unused(kind, draft) if overrides else {}
    for name, value in overrides.items():
        _override(draft, name, value)
    if overrides:
        _leave_out(kind, draft, before, say)
    checked = _validated(kind, draft)
    # Unknown keys are in `problems` and not in the values, so a valid section alone is no success.
    if checked is None or draft.problems:
        raise UserError([text for _, text in sorted(draft.problems, key=lambda problem: problem[0])], HINT)
    return checked


@dataclass
class Draft:
    """Settings during loading: values and places by dotted name, and (line, problem) pairs."""

    settings: dict[str, Setting]
    source: TomlSource
    overridden: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[tuple[float, str]] = field(default_factory=list)
    guesses: int = 0

    @cached_property
    def sections(self) -> set[str]:
        """Names of the sections, the outermost included."""
        return {outer for name in self.settings for outer in enclosing(name)} - set(self.settings)

    @cached_property
    def overridden_tables(self) -> set[str]:
        """Names of the settings on the command line, and of every table around such a setting."""
        return {outer for given in self.overridden for outer in enclosing(given)}

    def wrong(self, name: str, text: str) -> None:
        """Note a problem with a setting, at the place of the setting: a line of the file, or the command line."""
        # The command line sorts last (infinity), after every line of the file.
        on_command_line = name in self.overridden_tables or any(one in self.overridden for one in enclosing(name))
        line = 0 if on_command_line else self.source.line(name)
        place = "command line" if on_command_line else self.source.name + (f":{line}" if line else "")
        self.problems.append((math.inf if on_command_line else line, f"{place}: {cut_middle(name)}: {text}"))

    def unknown(self, name: str) -> None:
        """Note an unknown name."""
        # A suggestion takes milliseconds, and a file or a command line may hold any number of mistakes.
        self.guesses += 1
        guess = suggest(name, self.settings) if self.guesses <= MOST_GUESSES else ""
        self.wrong(name, "unknown key" + (f"; did you mean {guess}?" if guess else ""))

    def unfit(self, name: str, value: Any) -> None:
        """Note a value not accepted by its setting."""
        found = find_setting(name, self.settings)
        setting, entry = found if found else (None, "")
        reason = unusable(value)
        if setting is None:
            text = f"a section, wanted its settings as [{name}]"
        else:
            kind, limits = (setting.entry, []) if entry else (setting.kind, setting.limits)
            # The limits of a number say more than the reason, where the setting has limits.
            has_limits = kind is not Any and isinstance(value, int | float)
            far = has_limits and FAR < abs(value) < math.inf
            text = f"wanted {wanted(kind, limits, far=far)}" if has_limits or not reason else reason
        self.wrong(name, f"{text}, got {shown(value)}")


def _leaves(table: Mapping[str, Any], draft: Draft, prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield settings and values by dotted name; unknown tables are opened too, to name their entries."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if depth > MOST_PARTS:
            yield name, value
        elif name not in draft.settings and isinstance(value, Mapping) and (value or name in draft.sections):
            yield from _leaves(value, draft, f"{name}.", depth + 1)
        else:
            yield name, value


def _take(draft: Draft, name: str, value: Any) -> None:
    """Put a value of the file into the draft, or note the mistake."""
    # An unquoted date of TOML is a date; every setting of that kind takes the date as text.
    value = value.isoformat() if isinstance(value, date) else value
    if name not in draft.settings and name not in draft.sections:
        draft.unknown(name)
    elif name not in draft.settings or unusable(value):
        draft.unfit(name, value)
    else:
        draft.values[name] = _copied(value)


def _override(draft: Draft, name: str, value: Any) -> None:
    """Put a value of the command line into the draft, or note the mistake."""
    found = find_setting(name, draft.settings)
    if found is None:
        return draft.unknown(name)
    if unusable(name) or name.count(".") >= MOST_PARTS:
        return draft.wrong(name, unusable(name) or f"a name of more than {MOST_PARTS} parts")
    setting, entry = found
    kind = setting.entry if entry else setting.kind
    try:
        value = coerce(value, kind) if isinstance(value, str) else value
    except NestedTooDeeply:
        return draft.wrong(name, f"nested too deeply, got {shown(value)}")
    except (ValueError, TypeError):
        return draft.unfit(name, value)
    if unusable(value):
        return draft.unfit(name, value)
    # A value that switches off, such as `--data.valid ""`, is no choice against the rival in the file.
    rival = REPLACES.get(setting.name)
    if value and value != "off" and rival and not any(_nested(other, rival) for other in draft.overridden):
        draft.values.pop(rival, None)
    # In an open table, dots open nested tables; elsewhere an entry's key may hold dots, such as a file name.
    path = entry.split(".") if kind is Any else [entry]
    # A table for a single source: the name of a column has no dots, and the name of a file may have some.
    if get_origin(kind) is UnionType and isinstance(value, str) and "." in entry:
        path = list(entry.rpartition(".")[::2])
    if entry and not isinstance(draft.values.setdefault(setting.name, {}), dict):
        return draft.wrong(setting.name, "one text for all sources in the file, wanted a table for an entry of its own")
    if entry:
        _set_entry(draft.values[setting.name], path, value)
    else:
        draft.values[setting.name] = _copied(value)


def _unused(kind: type[S], draft: Draft) -> dict[str, str]:
    """Return the settings of a draft that are switched off, with the switch in words; none if a value is wrong."""
    try:
        made = kind.model_validate_json(json.dumps(_tables(draft), default=str), strict=True, context=SINGLE_VALUES)
    except ValidationError:
        return {}
    return made.unused() if isinstance(made, DataSettings) else {}


def _leave_out(kind: type[S], draft: Draft, before: Mapping[str, str], say: Say) -> None:
    """Remove the settings of the file that the command line has switched off.

    Args:
        before: settings switched off by the file alone: these stay, as mistakes of the file.
    """
    # Round by round: a setting left out may be the switch of another.
    while True:
        found = {name: state for name, state in _unused(kind, draft).items() if name not in before}
        # A setting of the command line stays too: whoever types both has made a mistake.
        given = {outer for name in draft.overridden for outer in enclosing(name)}
        gone = [name for name in found if name in draft.values and name not in given]
        if not gone:
            return
        for name in gone:
            del draft.values[name]
            say(f"left out     {name} of {draft.source.name}: {found[name]}")


def _tables(draft: Draft) -> dict[str, Any]:
    """Return the values of a draft as nested tables."""
    nested: dict[str, Any] = {}
    for name, value in draft.values.items():
        _set_entry(nested, name.split("."), value)
    return nested


def _nested(name: str, outer: str) -> bool:
    """Return True if `name` is `outer`, or lies below."""
    return name == outer or name.startswith(f"{outer}.")


def _set_entry(table: dict[str, Any], path: list[str], value: Any) -> None:
    """Set an entry of a nested table; a value in place of a needed table is replaced by a table."""
    *outer, last = path
    for key in outer:
        if not isinstance(table.get(key), dict):
            table[key] = {}
        table = table[key]
    table[last] = value


def _copied(value: Any) -> Any:
    """Copy the tables of a value: an entry set later must not change the value of the caller."""
    return {key: _copied(entry) for key, entry in value.items()} if isinstance(value, Mapping) else value


def _validated(kind: type[S], draft: Draft) -> S | None:
    """Return the section, or None after noting the mistakes.

    Validation reads JSON in strict mode: no text passes for a number and no truth value for a count, but a list may
    fill a tuple. Rules about several settings are reported only if every single setting is right.
    """
    nested = _tables(draft)
    try:
        return kind.model_validate_json(json.dumps(nested, default=str), strict=True)
    except ValidationError as error:
        errors = error.errors()
    # A type with several choices gives an error for each choice; the user needs a single line per setting.
    for path in dict.fromkeys(_error_path(fault["loc"], draft.settings) for fault in errors if fault["loc"]):
        draft.unfit(".".join(path), value_at(nested, list(path)))
    if not draft.problems:
        lines = errors[0]["msg"].removeprefix("Value error, ").split("\n")  # `_consistent` escapes line breaks inside
        draft.problems += [(0, f"{draft.source.name}: {line}") for line in lines]
    return None


def _error_path(place: tuple[int | str, ...], settings: dict[str, Setting]) -> tuple[str, ...]:
    """Return the keys of the setting in a pydantic error, without the parts that point inside a value."""
    parts = tuple(map(str, place))
    depth = next(n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in settings)
    return parts[: depth + 1] if get_origin(settings[".".join(parts[:depth])].kind) is dict else parts[:depth]


def value_at(nested: Any, path: list[str]) -> Any:
    """Return the value under nested keys."""
    return value_at(nested[path[0]], path[1:]) if path else nested
