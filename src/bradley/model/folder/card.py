"""The card of a model folder, `bradley.json`: JSON saying how the weights turn text into a score."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from ...common.files import write_text
from ...common.json_files import read_json
from ...common.model_files import check_name, file_errors
from ...common.signatures import CARD as CARD
from ...common.signatures import COPY, card_edits, refuse_edits, refuse_run_folder, sign
from ...common.signatures import MODEL_MARK as MODEL_MARK
from ...common.signatures import hash_files as hash_files
from ...errors import CheckpointError
from .safety import check_content

FORMAT = 2
"""Value of `format` in a new card; a card of an earlier format lacks later keys, and is read all the same."""
FLOAT32, BFLOAT16 = "float32", "bfloat16"
"""Values of `compute` in a card."""
MOST_IDS = 2**31
"""Bound of a token id."""


class Turn(TypedDict):
    """A turn of a sample conversation."""

    role: str
    content: str


class SampleRow(TypedDict):
    """A conversation of the parity sample, with its scores."""

    messages: list[Turn]
    ids: list[int]
    score: float
    float32: NotRequired[float]
    args: NotRequired[dict[str, Any]]


class Parity(TypedDict):
    """The parity sample."""

    compute: str
    rows: list[SampleRow]


class Tokenization(TypedDict):
    """Rules about special tokens."""

    add_special_tokens: bool
    append_eos: int | None


class Probe(TypedDict):
    """A text with known ids."""

    text: str
    ids: list[int]


class AdapterBase(TypedDict):
    """The base model of an adapter."""

    base: str
    base_sha256: str
    revision: str
    quantize: str
    vocabulary: int
    pad_token_id: int


class Unit(TypedDict):
    """The normalization of scores."""

    set: str
    n: int
    sha256: str
    mean: float
    std: float


class Probabilities(TypedDict):
    """The temperature of probabilities."""

    temperature: float
    low: float | None
    high: float | None
    scale: float
    beta: float
    n: int
    clusters: int
    set: str
    set_sha256: NotRequired[str]


class Card(TypedDict):
    """Content of a card, as far as bradley acts on an entry; cards of earlier formats lack some entries."""

    format: NotRequired[int]
    render: dict[str, Any]
    template: str
    template_sha256: NotRequired[str | None]
    tool_template_sha256: NotRequired[str]
    kind: NotRequired[str]
    tokenization: NotRequired[Tokenization]
    probe: NotRequired[Probe]
    compute: NotRequired[str]
    weights_sha256: NotRequired[dict[str, str]]
    files_sha256: NotRequired[dict[str, str]]
    card_sha256: NotRequired[str]
    adapter: NotRequired[AdapterBase]
    parity: NotRequired[Parity]
    normalization: NotRequired[Unit]
    temperature: NotRequired[Probabilities]
    export: NotRequired[dict[str, Any]]


def read_card(folder: Path, *, accept_edits: bool = False) -> dict[str, Any]:
    """Read the card of a model folder, and check the hash inside.

    Args:
        accept_edits: say that the card was edited, in place of an error.

    Raises:
        UserError: a name that is not UTF-8.
        CheckpointError: no folder, no card, a card too large or no JSON, or a value of the wrong kind. Also an edited
            card, or a card of a later format.
    """
    path = folder / CARD
    check_name(folder)
    with file_errors(path):
        there, known = folder.is_dir(), path.exists()
    if not there:
        raise CheckpointError(
            f"model folder {folder} does not exist", "give the path of a run's `model/` or of an export"
        )
    if not known:
        refuse_run_folder(folder)
        hint = f"{COPY}; a model of another trainer is given to `bradley train` as model.path"
        raise CheckpointError(f"{folder} holds no {CARD}, so how its texts were rendered is unknown", hint)
    # Before parsing: a huge or deeply nested file from elsewhere could exhaust memory or stack.
    check_content(path)
    card: dict[str, Any] = read_json(path, dict[str, Any], hint=COPY)
    # A later format may give a key another meaning, and a wrong score is worse than a refusal.
    if card.get("format", 1) not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{path} has the format {str(card['format'])[:30]}, and this bradley knows 1 to {FORMAT}",
            "install the bradley that wrote it, or a later one",
        )
    refuse_edits(folder, card_edits(card), accept_edits)
    card = read_json(path, Card, hint=COPY)
    _check_numbers(path, card)
    return card


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card of a model folder with the hash of its content, whole or not at all.

    The hashes of the other files are those that the card names: a caller who wrote or changed files gives new hashes,
    see `hash_files`. Hashing here would take over an edit made in between.
    """
    write_text(folder / CARD, json.dumps(sign(card), indent=2) + "\n")


def _check_numbers(path: Path, card: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for numbers of a card that no model can have."""
    rows = card.get("parity", {}).get("rows", [])
    ids = [*card.get("probe", {}).get("ids", []), *(id for row in rows for id in row["ids"])]
    sizes = [card["adapter"][key] for key in ("vocabulary", "pad_token_id")] if "adapter" in card else []
    if wrong := next((number for number in (*ids, *sizes) if not 0 <= number < MOST_IDS), None):
        raise CheckpointError(f"{path} is broken: {str(wrong)[:30]} is no token id", COPY)
    if any(not row["ids"] or not row["messages"] for row in rows):
        raise CheckpointError(f"{path} is broken: a conversation of its parity sample is empty", COPY)
