"""What is refused of somebody's folder before a loader opens any of its files."""

import json
from pathlib import Path

from ...common.text import one_line
from ...errors import CheckpointError

PICKLES = {
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib"),
    *(".npy", ".npz", ".distcp", ".mar", ".h5", ".keras"),
}
"""Endings of files that may run code when they are opened: pickles, arrays that may hold some, archives of them."""
HIDDEN_PICKLES = {".metadata"}
"""Names of such files without an ending: what torch.distributed.checkpoint writes by default."""
MEGABYTE = 1024**2
LARGEST = {".json": 16 * MEGABYTE, ".jinja": MEGABYTE, ".safetensors": 0, ".jsonl": 0}
LARGEST_OTHER = 64 * MEGABYTE
"""Most bytes of a file by its ending, 0 for any number, and of every other one. Readers take files as a whole, and make
many times as much of them in memory. The largest tokenizers in use have 40 MB."""
TOKENIZERS = ("tokenizer.json", "vocab.json")
"""JSON that may be as large as any other file."""
COPY = "copy the whole model folder again"
KNOWN = "remove it, if you know where it comes from"


def check_intruders(folder: Path) -> None:
    """Look at the names, kinds and sizes of the files of a folder, and at the shape of its JSON.

    Raises:
        CheckpointError: a file that may be a pickle, a link out of the folder, something that is no file, or what
            `check_content` refuses.
    """
    home = homes(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix.lower() in PICKLES or path.name in HIDDEN_PICKLES:
            raise CheckpointError(
                f"{folder} holds {name}, which may be a pickle and run code when it is opened",
                f"{KNOWN}: weights are read from safetensors alone",
            )
        if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in home):
            raise CheckpointError(
                f"{folder} holds {name}, a link to what is outside of it", f"copy the file, or {KNOWN}"
            )
        if not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{folder} holds {name}, which is no file", KNOWN)
        if path.is_file():
            check_content(path)


def homes(folder: Path) -> list[Path]:
    """Where the links of a folder may lead: into it, and in the cache of the Hub to where that keeps all files."""
    place = folder.resolve()
    return [place, *([place.parents[1] / "blobs"] if place.parent.name == "snapshots" else [])]


def check_content(path: Path) -> None:
    """Raise `CheckpointError` for a file that is too large, JSON that is broken or too deep, or a template that is no
    text.
    """
    most = LARGEST_OTHER if path.name in TOKENIZERS else LARGEST.get(path.suffix, LARGEST_OTHER)
    if most and path.stat().st_size > most:
        raise CheckpointError(f"{path} has more than {most // MEGABYTE} MB", COPY)
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".jinja":
            path.read_text(encoding="utf-8")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is broken: {one_line(error)}", COPY) from error
