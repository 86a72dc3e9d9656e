"""`bradley.json`, the card of a model folder: a JSON object that says how its weights turn text into a score."""

import json
from pathlib import Path
from typing import Any

from ...common.files import sha256, write_text
from ...errors import CheckpointError
from .safety import check_content

CARD = "bradley.json"
FORMAT = 2
"""What a new card says in `format`; a card that says less lacks what came later, and is read all the same."""
FLOAT32, BFLOAT16 = "float32", "bfloat16"
"""What a card may say in `compute`."""


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a model folder.

    Raises:
        CheckpointError: no folder, no card in it, a card that is no JSON of a sensible size, or one of a later format.
    """
    path = folder / CARD
    if not folder.is_dir():
        raise CheckpointError(f"model folder {folder} does not exist", "give the model folder of a run")
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {CARD}, so how its texts were rendered is unknown", "train it here")
    check_content(path)
    try:
        card = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is broken: {error}", "copy the whole model folder again") from error
    if card.get("format", 1) not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{path} has the format {card['format']!r}, and this bradley knows 1 to {FORMAT}",
            "install the bradley that wrote it, or a later one",
        )
    return card


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write the card of a model folder, whole or not at all."""
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")


def hash_weights(folder: Path) -> dict[str, str]:
    """SHA-256 of each weight file of a folder, by its name: what a card says in `weights_sha256`."""
    return {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
