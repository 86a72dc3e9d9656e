"""Which weights a model has: its files, and their hash."""

import json
from pathlib import Path

from ..common.files import sha256
from ..data.tokenizer import locate

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
"""What transformers calls a file of weights, and the index of several."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""What PEFT calls the files of an adapter."""


def weights_hash(path: str, revision: str = "") -> str:
    """SHA-256 of the files of weights of a folder or a loaded Hub name, in the order of their names.

    Of a single file it is the file's own.
    """
    place = locate(path, revision=revision)
    if not Path(place).is_dir():
        from huggingface_hub import snapshot_download

        place = snapshot_download(place, revision=revision or None, local_files_only=True)
    folder = Path(place)
    return sha256(*(folder / name for name in weight_files(folder)))


def weight_files(folder: Path) -> list[str]:
    """Names of the files that transformers reads a model's weights from."""
    single, index = WEIGHT_FILES
    if (folder / single).is_file():
        return [single]
    return sorted(set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()))
