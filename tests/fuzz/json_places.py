"""Every key of every JSON file below a folder, so that each gets a wrong value in its turn."""

import contextlib
import json
import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.values import Keys, change_value, shown, ways

MOST_ENTRIES = 12
"""Most entries counted of an object with very many, such as a vocabulary."""


class Place(NamedTuple):
    """A key in a JSON file, or in a line of a JSONL file.

    Attributes:
        file: path below the folder.
        keys: way to the value.
    """

    file: str
    keys: Keys


def places(folder: Path) -> list[Place]:
    """List every key of every JSON file below a folder, and of the first and last line of every JSONL file."""
    found: dict[Place, None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json" and path.is_file():
            found |= dict.fromkeys(Place(name, keys) for keys in ways(short(json.loads(path.read_bytes()))))
        elif path.suffix == ".jsonl" and path.is_file():
            values = list(parsed(path.read_bytes().splitlines()).values())
            for value in values[:1] + values[-1:]:
                found |= dict.fromkeys(Place(name, keys) for keys in ways(short(value)))
    return sorted(found, key=lambda place: (place.file, shown(place.keys)))


def parsed(lines: list[bytes]) -> dict[int, object]:
    """Return the lines that are JSON by number; a token store keeps bare texts in between."""
    found = {}
    for number, line in enumerate(lines):
        with contextlib.suppress(ValueError):
            found[number] = json.loads(line)
    return found


def short(value: object) -> object:
    """Return a JSON value without most entries of very large objects, and without entries built as an earlier one.

    Figures of the sets `valid` and `train_probe` are read by the same code: a key in one of them stands for both.
    """
    if isinstance(value, list):
        return [short(each) for each in value]
    if not isinstance(value, dict):
        return value
    names = list(value)
    if len(names) > 4 * MOST_ENTRIES:
        names = names[:: max(1, len(names) // MOST_ENTRIES)]
    alike: dict[object, str] = {}
    for name in names:
        built = frozenset(value[name]) if isinstance(value[name], dict) and value[name] else name
        alike.setdefault(built, name)
    return {name: short(value[name]) for name in alike.values()}


def change(rng: random.Random, folder: Path, place: Place) -> str:
    """Give a key a value of another kind; return what was done."""
    path = folder / place.file
    if path.suffix == ".json":
        return f"{place.file}: {change_value(rng, path, place.keys)}"
    lines = path.read_bytes().splitlines()
    number = rng.choice([number for number, value in parsed(lines).items() if has(value, place.keys)])
    single = path.with_name("line.json")
    single.write_bytes(lines[number])
    done = change_value(rng, single, place.keys)
    lines[number] = single.read_bytes()
    single.unlink()
    path.write_bytes(b"\n".join(lines) + b"\n")
    return f"{place.file}, line {number + 1}: {done}"


def has(value: object, keys: Keys) -> bool:
    """Tell if a way leads somewhere in a JSON value."""
    for key in keys:
        try:
            value = value[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def turn(count: int, number: int) -> int:
    """Return the place, of `count`, whose turn it is; in a shuffled order, so that a few numbers meet many files."""
    return shuffled(count)[number % count]


@cache
def shuffled(count: int) -> list[int]:
    """The numbers below `count` in a fixed order."""
    order = list(range(count))
    random.Random("the order of the places").shuffle(order)
    return order
