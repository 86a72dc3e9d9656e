"""JSON values of the wrong kind, and their way into JSON texts, with what Python's encoder would never write."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Keys = tuple[str | int, ...]
"""Way to a value inside a JSON value: names of objects, places of lists."""
PLANTED = "planted by the fuzzer"
"""Words of a line that only a value with a line break can begin."""


class Raw(str):
    """JSON text that stands in a file as written here."""


WRONG: dict[str, Callable[[], Any]] = {
    "null": lambda: None,
    "true": lambda: True,
    "false": lambda: False,
    "zero": lambda: 0,
    "minus one": lambda: -1,
    "a fraction": lambda: 1.5,
    "2^63": lambda: 2**63,
    "5,000 digits": lambda: Raw("9" * 5000),
    "infinity by overflow": lambda: Raw("1e400"),
    "NaN": lambda: Raw("NaN"),
    "-Infinity": lambda: Raw("-Infinity"),
    "a text": lambda: "x",
    "an empty text": lambda: "",
    "a number as text": lambda: "7",
    "a lone surrogate": lambda: "\ud800",
    "an escape sequence": lambda: f"\x1b[2J\x07\nerror: {PLANTED}\nhint: {PLANTED}",
    "a null character": lambda: "a\x00b",
    "a long text": lambda: "y" * 200_000,
    "a path": lambda: "../../near/mine.txt",
    "an empty list": list,
    "an odd list": lambda: [None, [], {}, "x", 1],
    "an empty object": dict,
    "an odd object": lambda: {"": None, "a": [1]},
    "deep lists": lambda: Raw("[" * 100_000 + "]" * 100_000),
    "deep objects": lambda: Raw('{"a":' * 50_000 + "1" + "}" * 50_000),
}
"""Values by name; each is made anew, because a text of megabytes in every case would cost more than the case."""
KINDS = {type(None): "null", bool: "bool", int: "number", float: "number", str: "text", list: "list", dict: "object"}


def kind(value: Any) -> str:
    """Name the JSON kind of a value."""
    if isinstance(value, Raw):
        return {"[": "list", "{": "object"}.get(value[:1], "number")
    return KINDS[type(value)]


def of_other_kinds(old: Any) -> list[str]:
    """List the names in `WRONG` of values of another kind than `old`."""
    return [name for name, make in WRONG.items() if kind(make()) != kind(old)]


def ways(value: Any, before: Keys = ()) -> Iterator[Keys]:
    """Yield the way to every value inside a JSON value, the whole first; a list counts by its first and last entry."""
    yield before
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ways(inner, (*before, name))
    elif isinstance(value, list):
        for place in sorted({0, len(value) - 1} if value else ()):
            yield from ways(value[place], (*before, place))


def at(value: Any, keys: Keys) -> Any:
    """Return the value at the end of a way."""
    for key in keys:
        value = value[key]
    return value


def put(value: Any, keys: Keys, new: Any) -> Any:
    """Return a copy of a JSON value with `new` at the end of a way."""
    if not keys:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[keys[0]] = put(copy[keys[0]], keys[1:], new)
    return copy


def without(value: Any, keys: Keys) -> Any:
    """Return a copy of a JSON value without the entry at the end of a way."""
    parent = at(value, keys[:-1])
    copy = dict(parent) if isinstance(parent, dict) else list(parent)
    del copy[keys[-1]]
    return put(value, keys[:-1], copy)


def spelled(value: Any) -> str:
    """Write a JSON text, with every `Raw` as it is."""
    raws: list[str] = []

    def marked(inner: Any) -> Any:
        if isinstance(inner, Raw):
            raws.append(inner)
            return f"@raw{len(raws) - 1}@"
        if isinstance(inner, dict):
            return {name: marked(each) for name, each in inner.items()}
        return [marked(each) for each in inner] if isinstance(inner, list) else inner

    text = json.dumps(marked(value))
    for number, raw in enumerate(raws):
        text = text.replace(f'"@raw{number}@"', raw)
    return text


def shown(keys: Keys) -> str:
    """Name a way: `config.layers.0`."""
    return ".".join(map(str, keys)) or "the content"


def change_value(rng: random.Random, path: Path, keys: Keys) -> str:
    """Give a key of a JSON file a value of another kind; return what was done.

    Every eighth time the entry is removed instead, or repeated with the wrong value.
    """
    value = json.loads(path.read_bytes())
    name = rng.choice(of_other_kinds(at(value, keys)))
    how = rng.randrange(16)
    if how == 0 and keys:
        text, name = spelled(without(value, keys)), "nothing"
    elif how == 1 and keys and isinstance(keys[-1], str):
        text, name = _twice(value, keys, WRONG[name]()), f"{name}, beside the right value"
    else:
        text = spelled(put(value, keys, WRONG[name]()))
    path.write_text(text, encoding="utf-8")
    return f"{shown(keys)} is {name}"


def _twice(value: Any, keys: Keys, wrong: Any) -> str:
    """Spell a JSON value with a key that stands twice; readers believe the last one, which is `wrong`."""
    parent, name = at(value, keys[:-1]), keys[-1]
    inside = ", ".join(f"{json.dumps(key)}: {spelled(each)}" for key, each in parent.items())
    return spelled(put(value, keys[:-1], Raw("{" + f"{inside}, {json.dumps(name)}: {spelled(wrong)}" + "}")))
