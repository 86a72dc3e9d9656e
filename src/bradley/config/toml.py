"""TOML files, read with the line of every key."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError


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
        while name and name not in self.lines:
            name = name.rpartition(".")[0]
        return self.lines.get(name, 0)


def read_toml(path: Path) -> TomlSource:
    """Read a TOML file with the line of every key.

    Raises:
        UserError: no such file, not UTF-8, or not TOML.
    """
    try:
        # Editors on Windows begin a file with a byte-order mark, and tomllib refuses the mark as a key.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"configuration {path} cannot be read: {error.strerror}", _nearest(path)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    try:
        return TomlSource(tomllib.loads(text), str(path), dict(_key_lines(text)))
    except tomllib.TOMLDecodeError as error:
        # tomllib before Python 3.14 gives the line in the message alone; "at end of document" has no number.
        reason, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else len(text.splitlines())
        raise UserError(
            f"{path}:{line}: not TOML: {reason}", 'wanted lines such as: lr = 1e-4, or: path = "x"'
        ) from error


def _nearest(path: Path) -> str:
    """Return the hint for a missing configuration: a similar name beside the path or in `configs`."""
    candidates = {file.name: file for folder in (Path("configs"), path.parent) for file in folder.glob("*.toml")}
    guesses = difflib.get_close_matches(path.name, [*candidates, *(Path(name).stem for name in candidates)], 1, 0.6)
    if not guesses:
        return "`bradley configs` lists the configurations of this folder"
    return f"did you mean {candidates.get(guesses[0]) or candidates[guesses[0] + '.toml']}?"


def _key_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield dotted names with their lines; a repeated name keeps the last line, the line that TOML would refuse."""
    # tomllib keeps no positions, so each line is parsed once more as a document of its own.
    # `splitlines` would also end lines at form feeds and U+2028, which no editor counts.
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("["):
            # A line inside a list of several lines may begin with a bracket too; the table then stays.
            table = _dotted(line) or table
            yield table, number
        # A value may span lines, so a placeholder stands for the value: only the key has to parse.
        elif "=" in line and (key := _dotted(line.partition("=")[0] + "= 0")):
            yield f"{table}.{key}" if table else key, number


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
