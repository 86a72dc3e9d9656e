"""Readback of a save before the save counts: each tensor on disk must be the network's own, bit for bit."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError
from ..adapters import is_adapted
from .weights import tensors_to_save

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of a number -> integer type for the comparison of bits."""


def check_written(network: Any, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Compare the weight files of a folder with the tensors of the saved network, bit for bit.

    Args:
        weights: as for `save_network`; the network's own shards then give only the names and forms of tensors.

    Raises:
        CheckpointError: a tensor differs, is missing, or is none of the network's; the error names the tensor.
        OSError: a file cannot be read.
    """
    own = tensors_to_save(network)
    # Gathered tensors could be of another model than the network; their values cannot be compared, but their forms can.
    if weights is not None:
        _check_forms(own, weights)
    required, optional = _as_written(network, own if weights is None else weights)
    missing = set(required)
    # Tensor by tensor, so the check needs memory for one tensor and not for a second model.
    for name, tensor in _read(folder):
        wanted = required.get(name, optional.get(name))
        if wanted is None or not same_bits(tensor, wanted):
            raise _lost(folder, name, "is none of the model's" if wanted is None else "holds other numbers")
        missing.discard(name)
    for name in sorted(missing):
        raise _lost(folder, name, "is missing")


def _check_forms(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raise `CheckpointError` unless the tensors to be saved have the names, shapes and dtypes of the network."""
    forms, given = ({name: (t.shape, t.dtype) for name, t in each.items()} for each in (own, weights))
    for name in sorted(name for name in {*forms, *given} if forms.get(name) != given.get(name)):
        raise CheckpointError(
            f"{name} was to be saved as {given.get(name)}, and the model computes with {forms.get(name)}",
            "the checkpoints before are whole: go on with --resume",
        )


def _as_written(network: Any, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return two tables by the names in the files: required tensors, and optional tensors tied to the required.

    Some architectures are published under other names than in computation, or with experts apart instead of as a single
    tensor. transformers writes the published form.
    """
    if is_adapted(network):
        return dict(state), {}
    from transformers.core_model_loading import revert_weight_conversion

    # transformers may leave tied tensors out of the files, and restores them at loading.
    optional = {*getattr(network, "all_tied_weights_keys", ()), *(network._keys_to_ignore_on_save or ())}
    required = {name: tensor for name, tensor in state.items() if name not in optional}
    return revert_weight_conversion(network, required), {name: state[name] for name in optional & state.keys()}


def _read(folder: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                yield from ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118 - no dictionary
        except SafetensorError as error:
            raise _lost(folder, path.name, f"cannot be read: {error}") from error


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Return True if two tensors have the same shape, type and bits: NaN equals NaN, and 0 differs from -0."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    # Compared as integers: as numbers, NaN would differ from itself and -0 would equal 0.
    kind = INTEGERS[one.element_size()]
    return torch.equal(*(each.detach().cpu().contiguous().view(kind) for each in (one, other)))


def _lost(folder: Path, name: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"of the weights written to {folder}, {name} {what}: they are not those that the model computes with",
        "the checkpoints before are whole: go on with --resume; if it happens again, try another disk",
    )
