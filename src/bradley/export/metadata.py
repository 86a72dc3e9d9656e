"""Entries of `config.json` and `tokenizer_config.json` for servers and older loaders; cards without local paths."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..model.build import RAW_SCORE

Json = dict[str, Any]
LOCAL = ("/", "./", "../", "~")
"""Beginnings of local paths."""
TEXTS = ("system_prompt", "template_kwargs")
"""Settings holding text, never paths."""
MOVED = ("rope_theta", "partial_rotary_factor")
"""Rotary settings kept in `rope_parameters` by transformers 5, and read at the top by other loaders."""

WRITTEN_BY_5 = ("backend", "is_local", "local_files_only")
"""Entries of `tokenizer_config.json` about the process that saved the tokenizer."""


def server_config(
    config: Json, *, text: str, pad: int, dtype: str, normalization: Mapping[str, Any] | None = None
) -> Json:
    """Extend a `config.json` so that servers return the raw score of each response.

    A single label and the `problem_type` regression make vLLM apply no sigmoid; transformers computes a squared error
    as the loss. The activation under `sentence_transformers` has the same effect on CrossEncoder and older servers.

    Args:
        config: content of `config.json`.
        text: key of the language model in a composite config; "" for a plain config.
        pad: id of the pad token. Loaders find the last token by this id, read from the config of the language model.
        dtype: dtype of the weights of the backbone.
        normalization: `mean` and `std` of the scores on a reference set. OpenRLHF reads both from `config.json` and
            applies them under `--reward.normalize_enable` alone; other programs ignore them.
    """
    measured = {key: float(normalization[key]) for key in ("mean", "std")} if normalization else {}
    whole = {
        **config,
        "num_labels": 1,
        "problem_type": "regression",
        "sentence_transformers": {"activation_fn": RAW_SCORE},
        "pad_token_id": pad,
        "dtype": dtype,
        **measured,
    }
    # Some loaders read the top of a composite config, and some the part of the language model.
    if text:
        inner = {**config[text], "pad_token_id": pad, "dtype": dtype}
        return {**whole, text: inner | rotary(inner)}
    return whole | rotary(whole)


def rotary(config: Json) -> Json:
    """Rotary settings of a config under their older names, to stand beside `rope_parameters`; {} without any.

    A config with settings for each kind of layer gets the settings of full attention.
    """
    known = config.get("rope_parameters")
    if not isinstance(known, dict):
        return {}
    nested = any(isinstance(value, dict) for value in known.values())
    rope = known.get("full_attention", {}) if nested else known
    moved = {key: rope[key] for key in MOVED if key in rope}
    if nested or rope.get("rope_type", "default") == "default":
        return moved
    return {**moved, "rope_scaling": {key: value for key, value in rope.items() if key != "rope_theta"}}


def tokenizer_config(config: Mapping[str, Any]) -> Json:
    """Rewrite a `tokenizer_config.json` of transformers 5 so that transformers 4 reads the same tokenizer.

    Transformers 4 knows no `TokenizersBackend`, expects a mapping under `extra_special_tokens`, and by default passes
    `token_type_ids`, which decoders refuse. Transformers 5 reads the old names too.
    """
    kept = {key: value for key, value in config.items() if key not in WRITTEN_BY_5}
    if kept.get("tokenizer_class") == "TokenizersBackend":
        kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(kept.get("extra_special_tokens"), list):
        kept["additional_special_tokens"] = kept.pop("extra_special_tokens")
    return {**kept, "model_input_names": ["input_ids", "attention_mask"]}


def without_local_paths(card: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten the local paths of a card in data, settings and template to their last part.

    The base of an adapter stays as given: loading the adapter needs the full path.
    """
    # A published card must not show the user names and folders of the training machine.
    shortened = {key: last_parts(card[key]) for key in ("config", "data", "render") if key in card}
    return {**card, **shortened}


def last_parts(value: Any) -> Any:
    """Shorten every local path in a nested value to its last part; names on the Hub and other texts stay."""
    if isinstance(value, dict):
        return {key: entry if key in TEXTS else last_parts(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [last_parts(entry) for entry in value]
    return PurePath(value).name if isinstance(value, str) and value.startswith(LOCAL) else value
