"""Damage to a safetensors file: odd headers, values that cannot be right, tensors swapped, changed or missing."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.values import WRONG, Raw, of_other_kinds, put, spelled, ways

Change = Callable[[random.Random, Path], str]


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Split a file into header and data."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def write(path: Path, header: str, data: bytes) -> None:
    """Join header and data."""
    text = header.encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def odd_header(rng: random.Random, path: Path) -> str:
    """Give a key of the header a value of another kind."""
    header, data = read(path)
    keys = rng.choice(list(ways(header)))
    value: Any = header
    for key in keys:
        value = value[key]
    name = rng.choice(of_other_kinds(value))
    write(path, spelled(put(header, keys, WRONG[name]())), data)
    return f"header: {keys} is {name}"


def odd_numbers(rng: random.Random, path: Path) -> str:
    """Give a tensor another type, shape or place in the file."""
    header, data = read(path)
    name = rng.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    change, value = rng.choice(
        (
            ("dtype", rng.choice(("F64", "I32", "BF16", "F4", "", "x" * 1000))),
            ("shape", rng.choice(([], [0], [2**62, 4], [-1, 8], entry["shape"][::-1], [2**31] * 3, [1] * 5000))),
            ("data_offsets", rng.choice(([0, 0], [0, 2**60], [8, 0], [-8, 0], [1, 2], [2**63, 2**64]))),
        )
    )
    write(path, spelled(put(header, (name, change), value)), data)
    return f"header: {change} of {name} is {str(value)[:40]}"


def odd_size(rng: random.Random, path: Path) -> str:
    """Lie about the length of the header."""
    size = rng.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1))
    path.write_bytes(struct.pack("<Q", size) + path.read_bytes()[8:])
    return f"header of {size} bytes"


def other_names(rng: random.Random, path: Path) -> str:
    """Rename, remove, repeat or exchange tensors of one shape."""
    header, data = read(path)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    how = rng.choice(("renamed", "removed", "one more", "exchanged", "pointing to another", "twice"))
    if how == "exchanged" or how == "pointing to another":
        alike = [other for other in names if other != name and header[other]["shape"] == header[name]["shape"]]
        if not alike:
            return odd_header(rng, path)
        other = rng.choice(alike)
        old = dict(header)
        header[name] = old[other]
        header[other] = old[name] if how == "exchanged" else old[other]
    elif how == "one more":
        header["more"] = header[name]
    elif how == "twice":
        text = spelled(header | {"@": Raw("0")})
        write(path, text.replace('"@": 0', f'"{name}": {json.dumps(header[name])}'), data)
        return f"{name} twice"
    else:
        entry = header.pop(name)
        header |= {"renamed": entry} if how == "renamed" else {}
    write(path, spelled(header), data)
    return f"{name} {how}"


def other_values(rng: random.Random, path: Path) -> str:
    """Change a value of a tensor, or put one that is no number."""
    header, data = read(path)
    name = rng.choice([name for name in header if name != "__metadata__"])
    begin, end = header[name]["data_offsets"]
    values = np.frombuffer(data[begin:end], np.float32).copy()
    value = rng.choice((np.nan, np.inf, -np.inf, 1e38, 0.0, 1.0))
    values[int(rng.random() * len(values)) if rng.random() < 0.7 else slice(None)] = value
    write(path, json.dumps(header), data[:begin] + values.tobytes() + data[end:])
    return f"{name} is {value}"


CHANGES: tuple[Change, ...] = (odd_header, odd_numbers, odd_size, other_names, other_values)


def damage(rng: random.Random, path: Path) -> str:
    """Damage a safetensors file; return what was done."""
    # The state of an optimizer that made no step holds no tensor to change.
    changes = CHANGES if set(read(path)[0]) - {"__metadata__"} else (odd_header, odd_size)
    return f"{path.name}, {rng.choice(changes)(rng, path)}"
