"""Weights that are numbers: NaN or infinity anywhere in the weights of a model is an error, used by a text or not."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.model_files import file_errors, library_errors
from ..errors import CheckpointError

HINT = "copy the model again, or train again: a score that meets such a weight is no number"


def check_finite(tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]], place: str) -> None:
    """Check that every number of the given tensors is finite.

    Rule: a number that cannot be right is no model. Bases, finished models and adapters all pass here.

    Args:
        tensors: tensors by name; integers, and tensors without numbers on `meta`, are left out.
        place: place of the model, for the message.

    Raises:
        CheckpointError: NaN or infinity; the error names the tensor, and counts both.
    """
    for name, tensor in tensors.items() if isinstance(tensors, Mapping) else tensors:
        if tensor.is_meta or not tensor.is_floating_point() or is_finite(tensor):
            continue
        numbers = tensor.detach().float()
        nan, infinite = int(numbers.isnan().sum()), int(numbers.isinf().sum())
        counts = [f"{n:,} {word}" for n, word in ((nan, "NaN"), (infinite, "infinite")) if n]
        raise CheckpointError(f"{place}: of {tensor.numel():,} numbers in {name}, {' and '.join(counts)}", HINT)


def is_finite(tensor: Tensor) -> bool:
    """Return True if every number of a tensor is finite."""
    values = tensor.detach()
    # Numbers of one byte know no sum.
    values = values.float() if values.element_size() == 1 else values
    # A sum reads the tensor once and writes nothing; NaN and infinity survive in a sum. A sum of finite numbers may
    # overflow, and is then looked at number by number.
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def network_tensors(network: Any) -> Iterable[tuple[str, Tensor]]:
    """Yield parameters and buffers of a network by name, tied ones once; buffers outside of files are included."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def check_files_finite(folder: Path, names: Iterable[str], known: Iterable[str] = ()) -> None:
    """Check the tensors of weight files that no network holds, such as the output layer of a language model.

    Args:
        names: weight files.
        known: names of tensors checked already.

    Raises:
        CheckpointError: NaN or infinity, or an unreadable file.
    """
    from safetensors import safe_open

    checked = set(known)
    for path in (folder / name for name in names):
        with file_errors(path), library_errors(f"{path} cannot be read", HINT), safe_open(path, framework="pt") as file:
            for name in sorted(set(file.keys()) - checked):
                check_finite({name: file.get_tensor(name)}, str(folder))
