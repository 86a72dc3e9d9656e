"""The weight files of a model folder, and their hash."""

import time
from pathlib import Path

from typing_extensions import TypedDict

from ..common.files import sha256
from ..common.json_files import read_json
from ..common.model_files import CONFIG, COPY, file_errors
from ..data.tokenizer import locate
from ..errors import CheckpointError

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
"""File names in transformers: a single file of weights, and the index of several files."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""File names of an adapter in PEFT."""
VALUE_HEAD = "value_head.safetensors"
"""LLaMA-Factory's file for the head of a reward model."""
SETTLED = 2 * 10**9
"""Nanoseconds after a change until the time of a file tells the next change from this one, on every file system."""
_hashes: dict[tuple[tuple[str, int, int, int, int], ...], str] = {}


class Index(TypedDict):
    """Content of the index of several weight files: the file of each tensor."""

    weight_map: dict[str, str]


def weights_hash(path: str, revision: str = "") -> str:
    """Compute SHA-256 over the weight files of a folder or a loaded Hub name, in the order of file names.

    The hash of a model with a single file is the hash of this file.

    Raises:
        CheckpointError: the folder does not exist.
    """
    place = locate(path, revision=revision)
    if not Path(place).is_dir():
        from huggingface_hub import snapshot_download

        # The caller has loaded the model. A download here could bring files other than the loaded ones.
        place = snapshot_download(place, revision=revision or None, local_files_only=True)
    folder = Path(place)
    return file_hash(*(folder / name for name in weight_files(folder)))


def weights_folder(path: str, revision: str = "") -> Path:
    """Return the folder of a model, with the head that LLaMA-Factory keeps in a file of its own.

    For a loaded Hub name this is the folder of the cache; a head beside the weights is fetched into this folder.
    """
    place = locate(path, revision=revision)
    if Path(place).is_dir():
        return Path(place)
    from transformers.utils import cached_file

    # Without the file, or without a connection, the answer is None.
    lenient = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = [cached_file(place, name, revision=revision or "main", **lenient) for name in (VALUE_HEAD, CONFIG)]
    return Path(str(found[1])).parent


def file_hash(*paths: Path) -> str:
    """Compute SHA-256 over files as `sha256` does, once for each state of the files in this process.

    Loading checks the hash of the weights, and the identity of a run holds the same hash: a file of gigabytes is read
    once for both.

    Raises:
        CheckpointError: a file cannot be read.
    """
    if not paths:
        return sha256()
    with file_errors(paths[0]):
        state = tuple((str(path), *_state(path)) for path in paths)
        if state not in _hashes:
            digest = sha256(*paths)
            # A file changed just now may change again within the resolution of its time.
            if time.time_ns() - max(changed for *_, changed in state) < SETTLED:
                return digest
            _hashes[state] = digest
        return _hashes[state]


def _state(path: Path) -> tuple[int, int, int, int]:
    """Device, inode, size, and time of the last change, which no program can set."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


def weight_files(folder: Path) -> list[str]:
    """List the names of a model's weight files, as read by transformers."""
    single, index = WEIGHT_FILES
    # transformers prefers the single file if a folder has both.
    if (folder / single).is_file():
        return [single]
    if not (folder / index).is_file():
        return [ADAPTER_WEIGHTS] if all((folder / name).is_file() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)) else []
    content = read_json(folder / index, Index, hint=COPY)
    names = sorted(set(content["weight_map"].values()))
    for name in names:
        # A name with a folder could lead to any file.
        if "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{folder / index} names {name[:100]!r}, and no safetensors file beside it", COPY)
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks the weight file {name}", COPY)
    return names
