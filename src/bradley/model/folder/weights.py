"""The weights of a model folder: a whole network, or an adapter in PEFT's format and the place of its base model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...common.model_files import library_errors, quiet_transformers
from ...common.ownership import real_path
from ...config import Model
from ...data.tokenizer import locate
from ...errors import CheckpointError, UserError
from ..adapters import NAME, PREFIX, Adapted, adapter_state, find_base, import_peft, inject, is_adapted
from ..finite import check_finite
from ..network import build_shell, load_network, reproducible_init
from ..quantize import check_quantize, quantized_on
from ..reward import is_head_weight
from ..weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weights_hash
from .checks import check_base, check_base_folder

CARD_KEYS = ("base", "base_sha256", "revision", "quantize")
"""Entries of a card about the base model of an adapter, under the names of `Adapted`."""
CPU = torch.device("cpu")
COPY_AGAIN = "copy the whole model folder again"
GIVE_BASE = 'base="FOLDER" in Python, --base FOLDER of `bradley score`, `verify` and `export`'
"""Ways to give the place of a base model, for hints."""


def save_network(network: Any, folder: Path, weights: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """Write the weights of a network into a folder, with the config for loading.

    Args:
        weights: tensors by the names of `tensors_to_save`, if the network itself holds shards.

    Returns:
        Entries for the card: none for a whole network; for an adapter its base model, under `adapter`.

    Raises:
        OSError: the weights cannot be written, a full disk included.
    """
    from safetensors import SafetensorError

    try:
        (_save_adapter if is_adapted(network) else _save_whole)(network, folder, weights)
    except SafetensorError as error:
        # safetensors reports a full disk by its own error. After an OSError, old checkpoints are removed for a retry.
        raise OSError(str(error)) from error
    return _entries(network)


def save_config(network: Any, folder: Path) -> dict[str, Any]:
    """Write the config of a network into a folder as `save_network` does, without weights, and return the entries.

    Raises:
        Exception: the library or the JSON writer refuses a value of the config.
    """
    if is_adapted(network):
        _write_adapter_config(network, folder)
    else:
        _save_whole(network, folder, {})
    return _entries(network)


def load_shapes(folder: Path, card: dict[str, Any], *, remote_code: bool = False) -> dict[str, torch.Size]:
    """Build the network of a folder without weights, and return the shapes of `tensors_to_save`.

    Args:
        card: `bradley.json` of the folder.

    Raises:
        CheckpointError: the config cannot be read, or makes no network.
    """
    adapter = card.get("adapter")
    adapted = None if adapter is None else _adapted(folder, adapter)
    path, revision = (str(real_path(folder)), "") if adapted is None else (adapted.base, adapted.revision)
    with torch.device("meta"):
        network = build_shell(Model(path=path, revision=revision, trust_remote_code=remote_code))
        if adapted is not None:
            config = read_adapter_config(folder)
            _fit(network, adapter, folder)
            inject(network, config, adapted._replace(modules=tuple(sorted(config.modules_to_save or ()))))
    return {name: tensor.shape for name, tensor in tensors_to_save(network).items()}


def tensors_to_save(network: Any) -> dict[str, Tensor]:
    """Return the tensors of a network kept by a folder, by name: all, or with an adapter the trained ones.

    The tensors are not copies.
    """
    state: dict[str, Tensor] = adapter_state(network) if is_adapted(network) else network.state_dict()
    return state


def load_saved(
    folder: Path,
    card: dict[str, Any],
    *,
    remote_code: bool = False,
    base: str = "",
    device: torch.device = CPU,
    compute: torch.dtype = torch.float32,
) -> tuple[Any, list[str]]:
    """Load the network of a model folder in float32, without dropout, and list the missing weights by name.

    Args:
        card: `bradley.json` of the folder.
        base: place of an adapter's base model, if moved since training.
        device, compute: device and dtype of the later arithmetic, needed by 4-bit layers at loading.

    Raises:
        CheckpointError: the weights cannot be read, or do not fit the network. An adapter has no score head, or is for
            another base model. The base model is missing. Or `base` is given for a whole model.
    """
    adapter = card.get("adapter")
    if (adapter is None) == (folder / ADAPTER_CONFIG).is_file():
        raise CheckpointError(
            f"{folder} {'has' if adapter is None else 'lacks'} {ADAPTER_CONFIG}, and its card says otherwise",
            COPY_AGAIN,
        )
    if adapter is not None:
        return _load_adapter(folder, adapter, base, remote_code, device, compute), []
    check_base(folder, card, base)
    # `exact`: a saved reward model has no weights without a place, unlike a base for training.
    loaded = load_network(str(real_path(folder)), dropout=False, remote_code=remote_code, exact=True)
    return loaded.network, loaded.missing


def read_tensors(network: Any, folder: Path, card: dict[str, Any], *, remote_code: bool = False) -> dict[str, Tensor]:
    """Read the tensors of a model folder for `tensors_to_save` of the saving run's network.

    Args:
        card: `bradley.json` of the folder.

    Raises:
        CheckpointError: the weights cannot be read, or do not fit the network.
    """
    adapter = card.get("adapter")
    if (adapter is None) == is_adapted(network):
        raise CheckpointError(f"{folder} holds {'no' if adapter is None else 'an'} adapter, unlike the run", COPY_AGAIN)
    if adapter is not None:
        state = read_adapter_weights(folder)
        _check_adapter(network, state, folder, adapter["base"])
        return state
    saved, missing = load_saved(folder, card, remote_code=remote_code)
    own, values = tensors_to_save(network), dict(saved.state_dict())
    if missing or {name: value.shape for name, value in own.items()} != {n: value.shape for n, value in values.items()}:
        raise CheckpointError(f"{folder} holds other weights than the run has", COPY_AGAIN)
    return values


def _save_whole(network: Any, folder: Path, weights: Mapping[str, Tensor] | None) -> None:
    with quiet_transformers():
        # transformers removes tensors from the dictionary while writing, and a second attempt needs all of them.
        network.save_pretrained(folder, state_dict=None if weights is None else dict(weights))


def _save_adapter(network: Any, folder: Path, weights: Mapping[str, Tensor] | None) -> None:
    from safetensors.torch import save_file

    # safetensors refuses views with gaps.
    state = {name: weight.contiguous().cpu() for name, weight in (weights or adapter_state(network)).items()}
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    _write_adapter_config(network, folder)


def _write_adapter_config(network: Any, folder: Path) -> None:
    (folder / ADAPTER_CONFIG).write_text(json.dumps(_peft_config(network), indent=2, sort_keys=True), encoding="utf-8")


def _entries(network: Any) -> dict[str, Any]:
    """Return the entries of a card about the base model of an adapter; none for a whole network."""
    return {"adapter": {**_card(network.adapted), **_sizes(network)}} if is_adapted(network) else {}


def _card(adapted: Adapted) -> dict[str, str]:
    return {key: getattr(adapted, key) for key in CARD_KEYS}


def _sizes(network: Any) -> dict[str, int]:
    """Return the changes to a base model outside of its weights: rows of the embedding, and the pad token."""
    # A pad token absent from the base adds a row; an adapter does not save embeddings, so the card keeps the size.
    pad = network.config.get_text_config().pad_token_id
    return {"vocabulary": network.get_input_embeddings().num_embeddings, "pad_token_id": pad}


def _peft_config(network: Any) -> dict[str, Any]:
    """Build the content of `adapter_config.json`, with head and norms as modules replaced whole by PEFT."""
    values = network.peft_config[NAME].to_dict()
    changes = {
        "modules_to_save": list(network.adapted.modules),
        "task_type": "SEQ_CLS",
        "inference_mode": True,
    }
    return _without_sets({**values, **changes})  # type: ignore[no-any-return]


def _without_sets(value: Any) -> Any:
    """Turn every set inside a value into a sorted list: JSON has no sets, and equal runs then write equal bytes."""
    if isinstance(value, dict):
        return {key: _without_sets(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_sets(inner) for inner in value]
    return sorted(value) if isinstance(value, set | frozenset) else value


def _load_adapter(
    folder: Path, known: Any, base: str, remote_code: bool, device: torch.device, compute: torch.dtype
) -> Any:
    # Both before the base model, because loading the base takes longer than finding a fault here.
    state, config = read_adapter_weights(folder), read_adapter_config(folder)
    adapted = _adapted(folder, known)._replace(modules=tuple(sorted(config.modules_to_save or ())))
    quantized = _quantized(folder, adapted.quantize, device, compute)
    network = _load_base(folder, adapted, base, remote_code, quantized)
    _fit(network, known, folder)
    other = _other_base(folder, base or adapted.base, "")
    with reproducible_init(0), library_errors(other.message.removesuffix(": "), other.hint):
        # The drawn factors are overwritten below; the fixed seed only spares the global generator.
        inject(network, config, adapted)
    _fill(network, state, folder, base or adapted.base)
    return network


def _quantized(folder: Path, quantize: str, device: torch.device, compute: torch.dtype) -> dict[str, Any] | None:
    """Return loading arguments for a base model in the number format of training."""
    if quantize == "none":
        return None
    try:
        check_quantize(quantize, device)
    except UserError as error:
        raise CheckpointError(
            f"{folder} was trained on a base model in {quantize} and scores otherwise on another: {error.message}",
            'load it with device="cuda", where bitsandbytes is installed',
        ) from error
    return quantized_on(device, compute)


def _adapted(folder: Path, known: Any) -> Adapted:
    try:
        return Adapted(**{key: str(known[key]) for key in CARD_KEYS}, modules=())
    except (TypeError, KeyError) as error:
        raise CheckpointError(
            f"the card of {folder} does not say on what its adapter was trained: {error}", COPY_AGAIN
        ) from error


def read_adapter_weights(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of an adapter's file; raise `CheckpointError` for an unreadable file or for no numbers."""
    from safetensors.torch import load_file

    with library_errors(f"{folder / ADAPTER_WEIGHTS} cannot be read", COPY_AGAIN):
        state: dict[str, Tensor] = load_file(folder / ADAPTER_WEIGHTS)
    check_finite(state, str(folder))
    return state


def read_adapter_config(folder: Path) -> Any:
    """Read PEFT's config of an adapter."""
    peft = import_peft()
    with library_errors(f"{folder / ADAPTER_CONFIG} is broken", COPY_AGAIN):
        config = peft.LoraConfig.from_pretrained(str(folder))
    # PEFT would freeze the adapters of a config for inference, and a resumed run trains them.
    config.inference_mode = False
    return config


def _load_base(folder: Path, adapted: Adapted, base: str, remote_code: bool, quantized: dict[str, Any] | None) -> Any:
    """Load the base model below an adapter: the base model of training and no other."""
    path = base or find_base(folder, adapted.base)
    # A folder has no revision.
    revision = adapted.revision if path == adapted.base else ""
    try:
        check_base_folder(Path(locate(path, revision=revision)))
        loaded = load_network(path, dropout=False, remote_code=remote_code, revision=revision, quantized=quantized)
        found = weights_hash(path, revision)
    except (CheckpointError, UserError) as error:
        raise CheckpointError(
            f"the base model of the adapter {folder} cannot be loaded: {error.message}",
            f"give the place of the base model: {GIVE_BASE}",
        ) from error
    # Another base of equal shapes would load without an error and give other scores.
    if found != adapted.base_sha256:
        raise _other_base(folder, path, f"its weights have the hash {found[:12]}, wanted {adapted.base_sha256[:12]}")
    return loaded.network


def _other_base(folder: Path, base: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"the adapter {folder} is not for the base model {base}: {why}", f"give the right one: {GIVE_BASE}"
    )


def _fit(network: Any, known: Any, folder: Path) -> None:
    """Give a base model the embedding rows and the pad token of the run; no score depends on the added rows."""
    try:
        rows, pad = int(known["vocabulary"]), int(known["pad_token_id"])
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"the card of {folder} does not say how large its vocabulary is", COPY_AGAIN) from error
    if rows > network.get_input_embeddings().num_embeddings:
        with reproducible_init(0):
            network.resize_token_embeddings(rows, mean_resizing=False)
    network.config.get_text_config().pad_token_id = pad
    network.config.problem_type = "regression"


def _fill(network: Any, state: dict[str, Tensor], folder: Path, base: str) -> None:
    """Write the tensors of an adapter's file into a network."""
    _check_adapter(network, state, folder, base)
    for name, weight in adapter_state(network).items():
        weight.copy_(state[name])


def _check_adapter(network: Any, state: dict[str, Tensor], folder: Path, base: str) -> None:
    """Raise `CheckpointError` unless an adapter's file holds exactly the trained tensors of the network."""
    if not any(is_head_weight(network, name.removeprefix(PREFIX)) for name in state):
        raise CheckpointError(
            f"{folder} holds an adapter without a score head", "scores would be random: retrain or re-export"
        )
    own = adapter_state(network)
    # Both directions: PEFT itself would ignore unknown tensors and leave missing ones as drawn.
    for word, names in (("lacks", own.keys() - state.keys()), ("has unexpected", state.keys() - own.keys())):
        if names:
            raise CheckpointError(
                f"{folder / ADAPTER_WEIGHTS} {word} {', '.join(sorted(names)[:3])} ({len(names)} in all)", COPY_AGAIN
            )
    for name, weight in own.items():
        if weight.shape != state[name].shape:
            raise _other_base(
                folder, base, f"{name} is {list(state[name].shape)} there and {list(weight.shape)} wanted"
            )
