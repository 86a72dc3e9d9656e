"""TOML files, read with the line of every key."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, NamedTuple

from ..common.json_files import read_bytes
from ..common.text import cut_middle, nearest, one_line, quoted
from ..errors import UserError

PRESET = "preset:"
"""Beginning of the name of a configuration that comes with bradley: `preset:quickstart`."""
PRESETS = Path(__file__).parent / "presets"
MOST_BYTES = 2**20
"""Largest configuration file, in bytes (1 MiB)."""
TOML_HINT = 'wanted lines such as: lr = 1e-4, or: path = "x"'
MOST_PARTS = 50
"""Most parts of a dotted name, and most levels of a nested value; no setting of any library is nested as deeply."""
TOKEN = re.compile(
    r"""
    "{3} (?: [^"\\]+ | \\.? | "(?!"") )*+ (?: "{3,5} )?
    | '{3} (?: [^']+ | '(?!'') )*+ (?: '{3,5} )?
    | " (?: [^"\\\n]+ | \\. )*+ "?
    | ' [^'\n]*+ '?
    | \#[^\n]*+
    | [\[\]{}\n]
    """,
    re.DOTALL | re.VERBOSE,
)
"""Parts of TOML that decide where a value ends: strings of both kinds, comments, brackets, line breaks.

A string without an end matches too. A text of any kind therefore takes time in proportion to its length.
"""
DEEP = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"")[ \t]*+\.[ \t]*+){{{MOST_PARTS}}}""")
"""Dotted name of too many parts, in a text whose strings are empty."""
KEY = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^="'])*=""")
"""Key of a line with the equals sign; a quoted key may hold equals signs too."""


class TomlSource(NamedTuple):
    """A table of settings with its origin.

    Attributes:
        table: nested settings.
        name: path of the file, or a word for another origin, as messages quote the origin.
        lines: dotted key -> line, from 1.
    """

    table: Mapping[str, Any]
    name: str
    lines: Mapping[str, int]

    def line(self, name: str) -> int:
        """Return the line of a key, or of the nearest enclosing table; 0 for an unknown key."""
        return next((self.lines[outer] for outer in enclosing(name) if outer in self.lines), 0)


def enclosing(name: str) -> Iterator[str]:
    """Yield a dotted name and the names of its enclosing tables, from the inside out; at most `MOST_PARTS` names."""
    for _ in range(MOST_PARTS):
        if not name:
            return
        yield name
        name = name.rpartition(".")[0]


def read_toml(path: Path) -> TomlSource:
    """Read a TOML file with the line of every key.

    Raises:
        UserError: as `read_source`, or not TOML.
    """
    text = read_source(path)
    # tomllib takes time by the square of the number of parts of a name.
    if DEEP.search(TOKEN.sub(_emptied, text)):
        raise UserError(f"{path}: a name of more than {MOST_PARTS} parts", TOML_HINT)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # tomllib before Python 3.14 gives the line in the message alone; "at end of document" has no number.
        reason, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else len(text.splitlines())
        raise UserError(f"{path}:{line}: not TOML: {cut_middle(reason)}", TOML_HINT) from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply", TOML_HINT) from error
    except ValueError as error:  # a number of more digits than Python converts
        raise UserError(f"{path}: not TOML: {one_line(error)}", TOML_HINT) from error
    return TomlSource(_dates_as_text(table), str(path), dict(_key_lines(text)))


def _dates_as_text(value: Any) -> Any:
    """Replace every date and time by its ISO text: settings are JSON, and JSON has no dates."""
    if isinstance(value, dict):
        return {key: _dates_as_text(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_dates_as_text(entry) for entry in value]
    return value.isoformat() if isinstance(value, date | time) else value


def read_source(path: Path) -> str:
    """Read the text of a configuration file; no other function opens such a file.

    Raises:
        UserError: no such file, no regular file, not readable, too large, or not UTF-8.
    """
    try:
        data = read_bytes(path, most=MOST_BYTES, error=UserError)
    except UserError as error:
        hint = "give a TOML file of settings" if os.path.lexists(path) else _nearest(path)
        raise UserError(f"configuration {error.message}", hint) from error
    try:
        # Editors on Windows begin a file with a byte-order mark, and tomllib refuses the mark as a key.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def config_file(path: Path | str) -> Path:
    """Return the file of a configuration: of a preset for `preset:NAME`, else the path as given.

    Raises:
        UserError: no such preset.
    """
    text = str(path)
    if not text.startswith(PRESET):
        return Path(path)
    known = {f"{PRESET}{file.stem}": file for file in preset_files()}
    if text not in known:
        raise UserError(f"there is no {quoted(text)}", f"wanted {' or '.join(known)}, or a TOML file")
    return known[text]


def preset_files() -> list[Path]:
    """List the configurations that come with bradley, each known as `preset:NAME`."""
    return _toml_files(PRESETS)


def _emptied(token: re.Match[str]) -> str:
    """Replace a string by an empty string, and a comment by nothing."""
    return {'"': '""', "'": '""', "#": ""}.get(token[0][0], token[0])


def _nearest(path: Path) -> str:
    """Return the hint for an unusable configuration: a similar name beside the path or in `configs`."""
    candidates = {file.name: f"{PRESET}{file.stem}" for file in preset_files()}
    candidates |= {file.name: str(file) for folder in (Path("configs"), path.parent) for file in _toml_files(folder)}
    known = [*candidates, *(Path(name).stem for name in candidates)]
    # The given path is no file: a file of the same name elsewhere may be meant, and the same path is none.
    guess = nearest(path.name, [name for name in known if candidates.get(name) != str(path)])
    if not guess:
        return "`bradley configs` lists the configurations of this folder, and those that come with bradley"
    return f"did you mean {candidates.get(guess) or candidates[guess + '.toml']}?"


def _toml_files(folder: Path) -> list[Path]:
    """List the TOML files of a folder; none if the folder is missing, closed to this user, or no name at all."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".toml")]
    except (OSError, ValueError):
        return []


def _key_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield dotted names with their lines, for a text that is TOML."""
    # tomllib keeps no positions, so each line is parsed once more as a document of its own.
    # `splitlines` would also end lines at form feeds and U+2028, which no editor counts.
    table, inside = "", _inside_values(text)
    for number, line in enumerate(text.split("\n"), start=1):
        if number in inside:
            continue
        if line.lstrip().startswith("["):
            table = _dotted(line)
            yield table, number
        # A value may span lines, so a placeholder stands for the value: only the key has to parse.
        elif (found := KEY.match(line)) and (key := _dotted(f"{found[0]} 0")):
            yield f"{table}.{key}" if table else key, number


def _inside_values(text: str) -> set[int]:
    """Return the lines that begin inside a value of several lines; such a line may look like a table or a key."""
    inside: set[int] = set()
    line, depth = 1, 0
    for token in TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case "\n":
                line += 1
                if depth:
                    inside.add(line)
            case string:
                breaks = string.count("\n")
                inside.update(range(line + 1, line + breaks + 1))
                line += breaks
    return inside


def _dotted(line: str) -> str:
    """Return the dotted name opened or set by a line of TOML, or '' for a line inside a larger value."""
    try:
        content: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ""
    parts = []
    while isinstance(content, dict) and content:
        key, content = next(iter(content.items()))
        parts.append(key)
    return ".".join(parts)
