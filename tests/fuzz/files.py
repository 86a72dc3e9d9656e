"""Damage to any file, whatever its content: bytes changed, cut off or replaced, and what is no file at all."""

import os
import random
from collections.abc import Callable
from pathlib import Path

ODD_LINES = (
    b"\xff\xfe\x80\n",
    b"\x00" * 64,
    b'{"a": "\\ud800"}\n',
    "\ufeff".encode(),
    b"\r\n\r\r\n\n",
    b"\x1b]0;title\x07\x1b[2J\n",
    b"[" * 50_000,
    b"9" * 10_000,
    b"// comment\n",
    b"NaN\n",
)
"""Bytes that are put somewhere into a file."""


def flip(rng: random.Random, path: Path) -> None:
    """Change one to eight bits."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        data[int(rng.random() * len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(rng: random.Random, path: Path) -> None:
    """Keep a part from the beginning."""
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.random() * len(data))])


def headless(rng: random.Random, path: Path) -> None:
    """Lose a part from the beginning."""
    data = path.read_bytes()
    path.write_bytes(data[1 + int(rng.random() * len(data)) :])


def zeros(_rng: random.Random, path: Path) -> None:
    """Replace every byte by zero, as some file systems do after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


def empty(_rng: random.Random, path: Path) -> None:
    """Leave nothing."""
    path.write_bytes(b"")


def garbage(rng: random.Random, path: Path) -> None:
    """Replace the content by random bytes."""
    path.write_bytes(rng.randbytes(rng.choice((1, 8, 100, 5000))))


def insert(rng: random.Random, path: Path) -> None:
    """Put odd bytes somewhere inside, or in front."""
    data, odd = path.read_bytes(), rng.choice(ODD_LINES)
    place = rng.choice((0, len(data), int(rng.random() * len(data))))
    path.write_bytes(data[:place] + odd + data[place:])


def twice(_rng: random.Random, path: Path) -> None:
    """Write the content two times."""
    path.write_bytes(path.read_bytes() * 2)


def missing(_rng: random.Random, path: Path) -> None:
    """Remove the file."""
    path.unlink()


def swapped(rng: random.Random, path: Path) -> None:
    """Replace the content by the content of a neighbour."""
    others = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    path.write_bytes(rng.choice(others).read_bytes() if others else b"{}")


def folder(_rng: random.Random, path: Path) -> None:
    """Put a folder of the same name."""
    path.unlink()
    path.mkdir()
    (path / "inside.txt").write_text("mine")


def pipe(_rng: random.Random, path: Path) -> None:
    """Put a named pipe, from which nothing ever comes."""
    path.unlink()
    os.mkfifo(path)


def linked(target: str) -> Callable[[random.Random, Path], None]:
    """Put a link to `target`."""

    def change(_rng: random.Random, path: Path) -> None:
        path.unlink()
        path.symlink_to(path.name if target == "itself" else target)

    return change


def huge(_rng: random.Random, path: Path) -> None:
    """Make a file of a gigabyte that takes no space on the disk."""
    os.truncate(path, 2**30)


BYTES: dict[str, Callable[[random.Random, Path], None]] = {
    "bits flipped": flip,
    "cut off": cut,
    "the beginning lost": headless,
    "all zero": zeros,
    "empty": empty,
    "random bytes": garbage,
    "odd bytes inside": insert,
    "content twice": twice,
}
"""Changes of the content."""
PLACES: dict[str, Callable[[random.Random, Path], None]] = {
    "missing": missing,
    "content of a neighbour": swapped,
    "a folder": folder,
    "a pipe": pipe,
    "a link to itself": linked("itself"),
    "a link to nothing": linked("nowhere"),
    "a link to endless zeros": linked("/dev/zero"),
    "a gigabyte of holes": huge,
}
"""Changes of what stands under the name."""
ANY = BYTES | PLACES


def damage(rng: random.Random, path: Path, kinds: dict[str, Callable[[random.Random, Path], None]] = ANY) -> str:
    """Damage a file in one of these ways; return what was done."""
    name = rng.choice(list(kinds))
    kinds[name](rng, path)
    return f"{path.name}: {name}"
