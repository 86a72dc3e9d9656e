"""Model folders opened without bradley's own loader: plain transformers, and PEFT for an adapter."""

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..common.model_files import COPY, library_errors
from ..data.chat_template import transcript
from ..data.tokenizer import locate
from ..model.adapters import find_base
from ..model.folder.parity import written_ids
from ..model.network import load_config
from ..model.weight_files import ADAPTER_CONFIG
from ..records import Message


class Folder(NamedTuple):
    """Model folder with options for loading.

    Attributes:
        path: path of the folder.
        card: content of `bradley.json`.
        trust: run the model code named by the folder.
        base: folder or Hub name of an adapter's base model, if the base model has moved since the run.
    """

    path: Path
    card: dict[str, Any]
    trust: bool = False
    base: str = ""

    @property
    def adapter(self) -> bool:
        """True if the folder holds the weights of an adapter alone."""
        return (self.path / ADAPTER_CONFIG).is_file()


def _loading(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Turn the errors of transformers and PEFT about an unloadable folder into a `CheckpointError`."""
    return library_errors(f"plain transformers cannot load {folder}", COPY)


def plain_tokenizer(folder: Folder) -> Any:
    """Load the tokenizer of a folder by `AutoTokenizer`, or raise `CheckpointError`."""
    from transformers import AutoTokenizer

    with _loading(folder.path):
        return AutoTokenizer.from_pretrained(folder.path, trust_remote_code=folder.trust)


def plain_text(tokenizer: Any, card: dict[str, Any], row: Mapping[str, Any]) -> str:
    """Render a conversation of a sample by the tokenizer's own chat template, with the arguments of row and card."""
    # Training puts the card's system prompt before every conversation without a system turn.
    render, messages = card["render"], row["messages"]
    system = [{"role": "system", "content": render["system_prompt"]}]
    opened = [*(system if render["system_prompt"] and messages[0]["role"] != "system" else []), *messages]
    if card["template"] == "raw":
        turns = tuple(Message(turn["role"], turn["content"]) for turn in opened)
        return transcript(turns[:-1], turns[-1:])
    args = {**render.get("template_kwargs", {}), **row.get("args", {})}
    return str(tokenizer.apply_chat_template(opened, tokenize=False, **args))


def plain_ids(tokenizer: Any, card: dict[str, Any], row: Mapping[str, Any]) -> list[int]:
    """Token ids of a conversation by the tokenizer alone, with the card's rule about the end token."""
    if row["messages"][0]["role"] == "ids":
        return written_ids(row["messages"])
    rule = card["tokenization"]
    text = plain_text(tokenizer, card, row)
    ids = list(tokenizer(text, add_special_tokens=rule["add_special_tokens"])["input_ids"])
    return ids if rule["append_eos"] in (None, *ids[-1:]) else [*ids, rule["append_eos"]]


def depth(folder: Folder) -> int:
    """Read the number of layers from the model's configuration, or raise `CheckpointError`."""
    place, revision = base_of(folder) if folder.adapter else (str(folder.path), "main")
    return int(_config(folder, place, revision).get_text_config().num_hidden_layers)


def _config(folder: Folder, place: str, revision: str) -> Any:
    """Load a config without the kernels named there: no code runs that the user did not name."""
    return load_config(place, place, dropout=True, remote_code=folder.trust, revision=revision)


def base_of(folder: Folder) -> tuple[str, str]:
    """Folder or Hub name of an adapter's base model, and the revision."""
    if folder.base:
        return locate(folder.base), "main"
    adapter = folder.card["adapter"]
    place = find_base(folder.path, adapter["base"])
    # A folder has no revision.
    return locate(place), (adapter.get("revision") if place == adapter["base"] else "") or "main"


def plain_network(folder: Folder, tokenizer: Any, dtype: torch.dtype) -> Any:
    """Load the classifier by transformers, or by PEFT on the base model, for evaluation; or raise `CheckpointError`.

    Args:
        dtype: dtype of all weights.
    """
    with _loading(folder.path):
        network = _adapted(folder, tokenizer, dtype) if folder.adapter else _whole(folder, dtype)
    return network.eval()


def _whole(folder: Folder, dtype: torch.dtype) -> Any:
    """Load a full model."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        folder.path,
        config=_config(folder, str(folder.path), "main"),
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=folder.trust,
    )


def _adapted(folder: Folder, tokenizer: Any, dtype: torch.dtype) -> Any:
    """Load an adapter on the base model."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    place, revision = base_of(folder)
    base = AutoModelForSequenceClassification.from_pretrained(
        place,
        config=_config(folder, place, revision),
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=folder.trust,
        revision=revision,
    )
    # The run may have added tokens: the adapter's embeddings fit only a base model of the same vocabulary.
    if len(tokenizer) > base.get_input_embeddings().num_embeddings:
        base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    # transformers finds the last real token of a row by the padding id, and many base models have none.
    base.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    # By default PEFT would keep adapter weights in float32, a different computation from a bfloat16 model.
    return PeftModel.from_pretrained(base, folder.path, autocast_adapter_dtype=False).to(dtype)


def needs_positions(network: Any) -> bool:
    """Return True if rows padded on the left need position ids: positions come from a table, not from distances."""
    bare = network.get_base_model() if hasattr(network, "peft_config") else network
    config = bare.config.get_text_config()
    relative = getattr(config, "rope_parameters", None) or getattr(config, "alibi", False)
    return not relative and "position_ids" in inspect.signature(bare.base_model.forward).parameters


def plain_scores(
    network: Any, tokenizer: Any, rows: Sequence[list[int]], size: int, side: str, positions: bool = False
) -> list[float]:
    """Score rows of token ids in batches, padded by the tokenizer to the longest of all rows.

    Args:
        rows: token ids of each conversation.
        size: rows per batch.
        side: side of the padding, `right` or `left`.
        positions: give position ids, counted from the first token after the padding.

    Returns:
        A float32 score for each row.
    """
    # All batches are padded to the same length, so that batches of 1 test padding as well.
    longest = max(map(len, rows))
    scores: list[float] = []
    for start in range(0, len(rows), size):
        batch = tokenizer.pad(
            {"input_ids": [list(row) for row in rows[start : start + size]]},
            padding="max_length",
            max_length=longest,
            padding_side=side,
            return_tensors="pt",
        )
        inputs = {name: batch[name].to(network.device) for name in ("input_ids", "attention_mask")}
        if positions:
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            scores += network(**inputs).logits[:, 0].float().tolist()
    return scores
