"""The card of a model folder, `bradley.json`: JSON saying how the weights turn text into a score."""

import json
from pathlib import Path
from typing import Any

from ...common.files import sha256, write_text
from ...common.ownership import Mark
from ...errors import CheckpointError
from .safety import check_content

CARD = "bradley.json"
MODEL_MARK = Mark(CARD, frozenset({"weights_sha256"}))
"""File by which a folder is known as a model of ours."""
FORMAT = 2
"""Value of `format` in a new card; a card of an earlier format lacks later keys, and is read all the same."""
FLOAT32, BFLOAT16 = "float32", "bfloat16"
"""Values of `compute` in a card."""


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a model folder.

    Raises:
        CheckpointError: no folder, no card, a card too large or no JSON, or a card of a later format.
    """
    path = folder / CARD
    if not folder.is_dir():
        raise CheckpointError(f"model folder {folder} does not exist", "give the model folder of a run")
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {CARD}, so how its texts were rendered is unknown", "train it here")
    # Before parsing: a huge or deeply nested file from elsewhere could exhaust memory or stack.
    check_content(path)
    try:
        card = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is broken: {error}", "copy the whole model folder again") from error
    # A later format may give a key another meaning, and a wrong score is worse than a refusal.
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
    """Compute SHA-256 of each weight file of a folder, by name: the value of `weights_sha256` in a card."""
    return {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
