"""Generated damage to the JSON files of a model folder: at each key, a value of each other kind."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HUGE = 2**63 - 1
KINDS: dict[str, Any] = {
    "null": None,
    "true": True,
    "a text": "x",
    "no text": "",
    "a list": ["a"],
    "an object": {"a": 1},
    "zero": 0,
    "minus one": -1,
    "a fraction": 0.5,
    "a huge number": HUGE,
    "a huge float": 1e300,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "10^12": 10**12,
    "deep": json.loads("[" * 200 + "]" * 200),
}


def keys(value: Any, most: int = 60) -> list[tuple[Any, ...]]:
    """Paths of the keys of a nested value; of long lists and vocabularies the first few."""

    def walk(part: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if path:
            yield path
        inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for number, (key, entry) in enumerate(inner):
            if number < (3 if len(part) > 60 else 60):
                yield from walk(entry, (*path, key))

    return list(walk(value, ()))[:most]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a nested value with another value at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def damage(file: Path, path: tuple[Any, ...], kind: str) -> None:
    """Put a value of another kind at a path of a JSON file."""
    file.write_text(json.dumps(replaced(json.loads(file.read_text()), path, KINDS[kind])))
