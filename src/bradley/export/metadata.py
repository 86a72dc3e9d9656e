"""What `config.json` must say besides for servers and loaders that are not transformers 5."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

LOCAL = ("/", "./", "../", "~")
"""How paths begin that lead through the folders of one machine."""
TEXTS = ("system_prompt", "template_kwargs")
"""Settings that are texts, whatever they begin with."""


def without_local_paths(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card whose data, settings and template are named by the last part of their paths.

    The base of an adapter stays as it was given: it is needed to load it.
    """
    shortened = {key: last_parts(card[key]) for key in ("config", "data", "render") if key in card}
    return {**card, **shortened}


def last_parts(value: Any) -> Any:
    """A nested value with the last part of every local path; names on the Hub and other texts stay."""
    if isinstance(value, dict):
        return {key: entry if key in TEXTS else last_parts(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [last_parts(entry) for entry in value]
    return PurePath(value).name if isinstance(value, str) and value.startswith(LOCAL) else value


Json = dict[str, Any]
IDENTITY = "torch.nn.modules.linear.Identity"
MOVED = ("rope_theta", "partial_rotary_factor")
"""Rotary settings that transformers 5 keeps in `rope_parameters`, and others read at the top."""


def server_config(config: Json, *, text: str, pad: int, dtype: str) -> Json:
    """A `config.json` by which a server gives the raw score of each response.

    One label and `problem_type` regression: transformers computes a squared error, vLLM applies no sigmoid; the
    activation named under `sentence_transformers` says the same to CrossEncoder and to older servers.

    Args:
        text: key of the config of the language model in a composite one; "" where it is the whole.
        pad: id of the pad token, by which loaders find the last token; read from the language model's part.
        dtype: of the backbone's weights.
    """
    whole = {
        **config,
        "num_labels": 1,
        "problem_type": "regression",
        "sentence_transformers": {"activation_fn": IDENTITY},
        "pad_token_id": pad,
        "dtype": dtype,
    }
    if text:
        inner = {**config[text], "pad_token_id": pad, "dtype": dtype}
        return {**whole, text: inner | rotary(inner)}
    return whole | rotary(whole)


def rotary(config: Json) -> Json:
    """The rotary settings of a config under their older names, beside `rope_parameters`; {} where there are none.

    A config with settings for each kind of layer gets those of full attention.
    """
    known = config.get("rope_parameters")
    if not isinstance(known, dict):
        return {}
    nested = any(isinstance(value, dict) for value in known.values())
    chosen = known.get("full_attention", {}) if nested else known
    moved = {key: chosen[key] for key in MOVED if key in chosen}
    if nested or chosen.get("rope_type", "default") == "default":
        return moved
    return {**moved, "rope_scaling": {key: value for key, value in chosen.items() if key != "rope_theta"}}
