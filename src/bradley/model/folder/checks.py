"""Checks of a model folder before and after its weights are read: each fault has an error of its own."""

from pathlib import Path
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from ...common.json_files import read_json
from ...common.model_files import check_model_files, library_errors
from ...common.signatures import CARD, OWN_EDIT, check_signed, refuse_edits
from ...errors import CheckpointError
from ..adapters import import_peft
from ..weight_files import ADAPTER_CONFIG, file_hash, weight_files
from .card import read_card
from .safety import COPY, check_intruders

MOST_RANK = 2**20
"""Largest rank of an adapter; PEFT allocates matrices of this size."""


class AdapterConfig(TypedDict):
    """Settings in an `adapter_config.json` that an adapter of bradley decides; every other one keeps PEFT's default."""

    peft_type: Literal["LORA"]
    r: int
    lora_alpha: int | float
    lora_dropout: int | float
    target_modules: list[str]
    use_rslora: NotRequired[bool]
    use_dora: NotRequired[bool]
    fan_in_fan_out: NotRequired[bool]
    modules_to_save: NotRequired[list[str] | None]
    base_model_name_or_path: NotRequired[str | None]
    revision: NotRequired[str | None]
    task_type: NotRequired[str | None]
    inference_mode: NotRequired[bool]
    peft_version: NotRequired[str | None]


class Labels(TypedDict):
    """The labels in a `config.json`."""

    num_labels: NotRequired[int | None]
    id2label: NotRequired[dict[str, str] | None]


def check_files(folder: Path, card: dict[str, Any], accept_edits: bool = False) -> None:
    """Check the files of a model folder without reading their weights.

    Args:
        accept_edits: say which files were edited, in place of an error.

    Raises:
        CheckpointError: unsafe files, see `check_intruders`; a file edited, removed or added. Also a missing or damaged
            weight file of the card, or a config of several labels.
    """
    check_intruders(folder)
    check_signed(folder, card, accepted=accept_edits)
    check_model_files(folder)
    check_adapter_config(folder)
    for name in card.get("weights_sha256", {}):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks the weight file {name}", COPY)
    for path in sorted(folder.glob("*.safetensors")):
        _check_readable(path)
    check_labels(folder)


def check_base(folder: Path, card: dict[str, Any], base: str) -> None:
    """Raise `CheckpointError` if a base model is given for a folder with a whole model."""
    # Ignoring the base would let the caller believe in scores of another model.
    if base and card.get("adapter") is None:
        raise CheckpointError(f"base = {base}, but {folder} holds a whole model", "leave base out")


def _check_readable(path: Path) -> None:
    from safetensors import safe_open

    # Opening compares the header with the length of the file, and finds a truncated file without reading weights.
    with library_errors(f"{path} cannot be read, the file is damaged", COPY), safe_open(path, framework="numpy"):
        pass


def check_labels(folder: Path) -> None:
    """Raise `CheckpointError` for a `config.json` of several labels."""
    path = folder / "config.json"
    if not path.is_file():  # an adapter has the config of its base; other folders are refused by the loader
        return
    config = read_json(path, Labels, hint=COPY)
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
    with library_errors(f"{file} is broken", COPY):
        known = Tokenizer.from_file(str(file)).get_vocab_size() if file.is_file() else len(tokenizer)
    if known > rows:
        raise CheckpointError(
            f"the tokenizer of {folder} knows {known} tokens, and the model has embeddings for {rows}", COPY
        )


def check_weights(folder: Path, card: dict[str, Any], accept_edits: bool = False) -> None:
    """Raise `CheckpointError` unless the weight files are the files saved with the card.

    A card of format 1 names no files. Reading takes about a second for each gigabyte.

    Args:
        accept_edits: say which weight files were edited, in place of an error.
    """
    # Hashes tell weights of another run from the right weights of equal shapes; nothing else could.
    expected = card.get("weights_sha256")
    if expected is None:
        return
    found = {path.name: file_hash(path) for path in sorted(folder.glob("*.safetensors"))}
    edits = [f"{name} (weights of another run, or edited)" for name in found if found[name] != expected.get(name)]
    refuse_edits(folder, edits, accept_edits)


def check_adapter_config(folder: Path) -> None:
    """Check the `adapter_config.json` of a folder, if any: PEFT imports modules named there, and searches by patterns.

    Raises:
        CheckpointError: a setting that no adapter of bradley has.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        return
    content = read_json(path, AdapterConfig, hint=COPY)
    if not 1 <= content["r"] <= MOST_RANK:
        raise CheckpointError(f"{path} has the rank {str(content['r'])[:30]}, wanted 1 to {MOST_RANK:,}", COPY)
    defaults = import_peft().LoraConfig().to_dict()
    for key in sorted(content.keys() - AdapterConfig.__annotations__.keys()):
        # A key of a later PEFT with nothing in it sets nothing.
        if content[key] != defaults.get(key) and content[key] not in (None, False, {}, []):
            raise CheckpointError(f"{path} sets {key}, and an adapter of bradley keeps the default", COPY)


def check_base_folder(folder: Path) -> None:
    """Check the files of a base model that bradley wrote, all but the content of weights; other folders pass.

    Raises:
        CheckpointError: a file was edited, swapped, damaged, removed or added since saving.
    """
    if not (folder / CARD).exists():
        return
    try:
        check_signed(folder, read_card(folder))
    except CheckpointError as error:
        raise CheckpointError(error.message, f"{COPY}; {OWN_EDIT}") from error


def check_base_weights(folder: Path) -> None:
    """Hash the weights of a base model for the identity of the run, and compare with the card if bradley wrote them.

    Raises:
        CheckpointError: weights other than the saved ones, or unreadable ones.
    """
    if not folder.is_dir():
        return
    if not (folder / CARD).exists():
        file_hash(*(folder / name for name in weight_files(folder)))
        return
    try:
        check_weights(folder, read_card(folder))
    except CheckpointError as error:
        raise CheckpointError(error.message, f"{COPY}; {OWN_EDIT}") from error
