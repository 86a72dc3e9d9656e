"""The weight files of a model folder, and their hash."""

import json
from pathlib import Path

from ..common.files import sha256
from ..data.tokenizer import locate

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
"""File names in transformers: a single file of weights, and the index of several files."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""File names of an adapter in PEFT."""


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
    return sha256(*(folder / name for name in weight_files(folder)))


def weight_files(folder: Path) -> list[str]:
    """List the names of a model's weight files, as read by transformers."""
    single, index = WEIGHT_FILES
    # transformers prefers the single file if a folder has both.
    if (folder / single).is_file():
        return [single]
    return sorted(set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()))
