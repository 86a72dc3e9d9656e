"""Refusals of a folder from elsewhere, before a loader opens any of its files."""

from pathlib import Path

from ...common.json_files import parse_json, read_bytes
from ...common.model_files import file_errors
from ...common.ownership import real_path
from ...common.text import one_line
from ...errors import CheckpointError

PICKLES = {
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib"),
    *(".npy", ".npz", ".distcp", ".mar", ".h5", ".keras"),
}
"""Endings of files able to run code when opened: pickles, arrays possibly holding pickles, and archives of both."""
HIDDEN_PICKLES = {".metadata"}
"""Names of such files without an ending, as written by torch.distributed.checkpoint by default."""
MEGABYTE = 1024**2
LARGEST = {".json": 16 * MEGABYTE, ".jinja": MEGABYTE, ".safetensors": 0, ".jsonl": 0}
LARGEST_OTHER = 64 * MEGABYTE
"""Most bytes of a file by ending (0: any number), and of every other file. Readers load files as a whole, and make many
times as much of them in memory. The largest tokenizers in use have 40 MB."""
TOKENIZERS = ("tokenizer.json", "vocab.json")
"""JSON files allowed to be as large as other files."""
COPY = "copy the whole model folder again"
"""Hint for a damaged folder."""
KNOWN = "remove it, if you know where it comes from"
"""Hint for an unexpected file."""


def check_intruders(folder: Path) -> None:
    """Check names, kinds and sizes of the files of a folder, and the shape of its JSON.

    Raises:
        CheckpointError: a possible pickle, a link out of the folder, an entry neither file nor folder, or content
            refused by `check_content`.
    """
    allowed = homes(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        # Refused even beside safetensors: another program may open the file, and some loaders prefer pickles.
        if path.suffix.lower() in PICKLES or path.name in HIDDEN_PICKLES:
            raise CheckpointError(
                f"{folder} holds {name}, which may be a pickle and run code when it is opened",
                f"{KNOWN}: weights are read from safetensors alone",
            )
        # A link could make a loader read, and an export copy, any file of this user.
        if path.is_symlink() and not any(real_path(path).is_relative_to(place) for place in allowed):
            raise CheckpointError(
                f"{folder} holds {name}, a link to what is outside of it", f"copy the file, or {KNOWN}"
            )
        # A pipe or a device would keep a reader waiting for ever.
        if not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{folder} holds {name}, which is no file", KNOWN)
        if path.is_file():
            check_content(path)


def homes(folder: Path) -> list[Path]:
    """List the folders allowed as targets of links: the folder, and the files of its Hub cache."""
    # The Hub cache keeps files under `blobs`, and a snapshot holds links to them.
    place = real_path(folder)
    return [place, *([place.parents[1] / "blobs"] if place.parent.name == "snapshots" else [])]


def check_content(path: Path) -> None:
    """Raise `CheckpointError` for a file too large, JSON broken or too deep, or a template not in UTF-8."""
    limit = LARGEST_OTHER if path.name in TOKENIZERS else LARGEST.get(path.suffix, LARGEST_OTHER)
    with file_errors(path):
        size = path.stat().st_size
    if limit and size > limit:
        raise CheckpointError(f"{path} has more than {limit // MEGABYTE} MB", COPY)
    # Deeply nested JSON exhausts the stack of the parser.
    if path.suffix == ".json":
        parse_json(read_bytes(path, hint=COPY), path, hint=COPY)
    elif path.suffix == ".jinja":
        content = read_bytes(path, hint=COPY)
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path} is broken: {one_line(error)}", COPY) from error
