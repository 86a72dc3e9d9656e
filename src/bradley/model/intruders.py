"""What is refused of somebody's folder before a loader opens any of its files."""

import json
from collections.abc import Iterator
from pathlib import Path

from ..errors import CheckpointError, one_line

PICKLES = {
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib"),
    *(".npy", ".npz", ".distcp", ".mar", ".h5", ".keras"),
}
"""Endings of files that may run code when they are opened: pickles, arrays that may hold some, archives of them."""
HIDDEN_PICKLES = {".metadata"}
"""Names of such files without an ending: what torch.distributed.checkpoint writes by default."""
LARGEST_JSON = 16 * 1024**2
LARGEST_TOKENIZER = 64 * 1024**2
"""Most bytes of a JSON file and of a tokenizer's: more would fill the memory. The largest in use have 40 MB."""
TOKENIZERS = ("tokenizer.json", "vocab.json")
KNOWN = "remove it, if you know where it comes from"


def check_intruders(folder: Path) -> None:
    """Look at the names, kinds and sizes of the files of a folder, and at the shape of its JSON.

    Raises:
        CheckpointError: a file that may be a pickle, a link out of the folder, something that is no file, or JSON that
            is broken, or too large or too deep to be read.
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
        if path.suffix == ".json":
            check_json(path)


def homes(folder: Path) -> Iterator[Path]:
    """Where the links of a folder may lead: into it, and in the cache of the Hub to where that keeps all files."""
    place = folder.resolve()
    return iter([place, *([place.parents[1] / "blobs"] if place.parent.name == "snapshots" else [])])


def check_json(path: Path) -> None:
    """Raise `CheckpointError` for JSON that is broken, too large, or nested too deeply."""
    most = LARGEST_TOKENIZER if path.name in TOKENIZERS else LARGEST_JSON
    if path.stat().st_size > most:
        raise CheckpointError(f"{path} has more than {most // 1024**2} MB", "copy the whole folder again")
    if path.name in TOKENIZERS:  # large, and read by a parser that bounds the depth
        return
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is broken: {one_line(error)}", "copy the whole folder again") from error
