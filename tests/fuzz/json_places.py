"""Every key of every JSON file below a folder, so that each gets a wrong value in its turn."""

import json
import random
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
    """List every key of every JSON and JSONL file below a folder; of a JSONL file, the keys of its first and last line."""
    found: dict[Place, None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json" and path.is_file():
            found |= dict.fromkeys(Place(name, keys) for keys in ways(short(json.loads(path.read_bytes()))))
        elif path.suffix == ".jsonl" and path.is_file():
            lines = path.read_bytes().splitlines()
            for line in {lines[0], lines[-1]} if lines else ():
                found |= dict.fromkeys(Place(name, keys) for keys in ways(short(json.loads(line))))
    return sorted(found, key=lambda place: (place.file, shown(place.keys)))


def short(value: object) -> object:
    """Return a JSON value without most entries of very large objects."""
    if isinstance(value, dict):
        names = list(value)
        if len(names) > 4 * MOST_ENTRIES:
            names = names[:: max(1, len(names) // MOST_ENTRIES)]
        return {name: short(value[name]) for name in names}
    return value


def change(rng: random.Random, folder: Path, place: Place) -> str:
    """Give a key a value of another kind; return what was done."""
    path = folder / place.file
    if path.suffix == ".json":
        return f"{place.file}: {change_value(rng, path, place.keys)}"
    lines = path.read_bytes().splitlines()
    having = [number for number, line in enumerate(lines) if has(json.loads(line), place.keys)]
    number = rng.choice(having)
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


def turn(all_places: list[Place], number: int) -> Place:
    """Return the place whose turn it is; a fixed order, shuffled so that few numbers meet many files."""
    order = list(range(len(all_places)))
    random.Random("the order of the places").shuffle(order)
    return all_places[order[number % len(order)]]
