"""TOML as text, read with the line of every key."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError


class TomlSource(NamedTuple):
    """A table of settings, where it came from, and the line of each key (dotted, counted from 1)."""

    table: Mapping[str, Any]
    name: str
    lines: Mapping[str, int]

    def line(self, name: str) -> int:
        """The line of a key, or of the nearest table around it; 0 where there is none."""
        while name and name not in self.lines:
            name = name.rpartition(".")[0]
        return self.lines.get(name, 0)


def read_toml(path: Path) -> TomlSource:
    """A TOML file with the line of every key.

    Raises:
        UserError: no such file, not UTF-8, or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"configuration {path} cannot be read: {error.strerror}", _nearest(path)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    try:
        return TomlSource(tomllib.loads(text), str(path), dict(_key_lines(text)))
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else len(text.splitlines())
        raise UserError(
            f"{path}:{line}: not TOML: {reason}", 'wanted lines such as: lr = 1e-4, or: path = "x"'
        ) from error


def _nearest(path: Path) -> str:
    candidates = {file.name: file for folder in (Path("configs"), path.parent) for file in folder.glob("*.toml")}
    guesses = difflib.get_close_matches(path.name, [*candidates, *(Path(name).stem for name in candidates)], 1, 0.6)
    if not guesses:
        return "`bradley configs` lists the configurations of this folder"
    return f"did you mean {candidates.get(guesses[0]) or candidates[guesses[0] + '.toml']}?"


def _key_lines(text: str) -> Iterator[tuple[str, int]]:
    """Dotted names with their lines; a name that occurs twice keeps its last place, the one TOML would refuse."""
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("["):
            table = _dotted(line) or table
            yield table, number
        elif "=" in line and (key := _dotted(line.partition("=")[0] + "= 0")):
            yield f"{table}.{key}" if table else key, number


def _dotted(line: str) -> str:
    """The dotted name that one line of TOML opens or sets, or '' where the line is part of something else."""
    try:
        content: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ""
    parts = []
    while isinstance(content, dict) and content:
        key, content = next(iter(content.items()))
        parts.append(key)
    return ".".join(parts)
