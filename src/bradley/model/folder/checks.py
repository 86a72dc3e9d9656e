"""Checks of a model folder before and after its weights are read: each fault has an error of its own."""

import json
from pathlib import Path
from typing import Any

from ...common.text import one_line
from ...errors import CheckpointError
from .card import CARD, hash_weights
from .safety import COPY, check_intruders


def check_files(folder: Path, card: dict[str, Any]) -> None:
    """Check the files of a model folder without reading their weights.

    Raises:
        CheckpointError: unsafe files, see `check_intruders`; a weight file of the card is missing or damaged; or a
            config has more than one label.
    """
    check_intruders(folder)
    for name in card.get("weights_sha256", {}):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks the weight file {name}", COPY)
    for path in sorted(folder.glob("*.safetensors")):
        _check_readable(path)
    _check_labels(folder)


def check_base(folder: Path, card: dict[str, Any], base: str) -> None:
    """Raise `CheckpointError` if a base model is given for a folder with a whole model."""
    # Ignoring the base would let the caller believe in scores of another model.
    if base and card.get("adapter") is None:
        raise CheckpointError(f"base = {base}, but {folder} holds a whole model", "leave base out")


def _check_readable(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        # Opening compares the header with the length of the file, and finds a truncated file without reading weights.
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read, the file is damaged: {one_line(error)}", COPY) from error


def _check_labels(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():  # an adapter has the config of its base; other folders are refused by the loader
        return
    try:
        config = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is broken: {one_line(error)}", COPY) from error
    # transformers saves the names of labels instead of their number. Without both, a wrong head fails at loading.
    labels = config.get("num_labels") or len(config.get("id2label") or {}) or 1
    if labels != 1:
        raise CheckpointError(
            f"the model of {folder} has {labels} labels, and a reward model has one score",
            "give the folder of a reward model; a classifier of several labels can only be a base for training",
        )


def check_vocabulary(network: Any, tokenizer: Any, folder: Path) -> None:
    """Raise `CheckpointError` if a tokenizer has more tokens than the model has embeddings.

    The tokenizer's file is counted. transformers may add a token of the model's kind to a loaded tokenizer, and no text
    here becomes this token.
    """
    from tokenizers import Tokenizer

    file, rows = folder / "tokenizer.json", network.get_input_embeddings().num_embeddings
    known = Tokenizer.from_file(str(file)).get_vocab_size() if file.is_file() else len(tokenizer)
    if known > rows:
        raise CheckpointError(
            f"the tokenizer of {folder} knows {known} tokens, and the model has embeddings for {rows}", COPY
        )


def check_weights(folder: Path, card: dict[str, Any]) -> None:
    """Raise `CheckpointError` unless the weight files are the files saved with the card.

    A card of format 1 names no files. Reading takes about a second for each gigabyte.
    """
    # Hashes tell weights of another run from the right weights of equal shapes; nothing else could.
    expected = card.get("weights_sha256")
    if expected is None:
        return
    found = hash_weights(folder)
    changed = next((name for name in found if found[name] != expected.get(name)), None)
    if changed is not None:
        raise CheckpointError(
            f"{folder / changed} is not the file that was saved with its {CARD}: weights of another run, or edited",
            COPY,
        )
