"""Score heads of other trainers: under other names, or in a file beside the weights.

Rule: a head is taken over if its one weight fits the score head, and refused otherwise; no head is dropped in silence.
TRL's value heads and LLaMA-Factory's are `v_head.summary`, LLaMA-Factory's in `value_head.safetensors`; OpenRLHF's are
`score` or `value_head`; older trainers have `v_head`, `reward_head`, `rm_head` and `regression_head`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..common.model_files import COPY, file_errors, library_errors
from ..errors import CheckpointError
from .finite import check_finite
from .reward import CAUSAL_HEAD, is_causal
from .weight_files import ADAPTER_WEIGHTS, VALUE_HEAD, weight_files

NAMES = frozenset(
    {
        *("v_head", "value_head", "reward_head", "rm_head", "score", "score_head", "scalar_head", "reward"),
        *("regression_head", "regression_layer", "reward_model_head", "classifier", "classification_head", "rank_head"),
    }
)
"""Names of modules that are heads of reward models."""
PICKLED = ("value_head.bin", "value_head.pt")
"""The same as a pickle, which is never opened."""
DRAW_ANEW = "to start from the body alone, take these tensors out of the folder: a new head is drawn then"


class Head(NamedTuple):
    """Score head of another trainer.

    Attributes:
        name: name of the weight, with its file.
        weight: [1, H].
        bias: [1], which adds the same number to every score; None without a bias.
    """

    name: str
    weight: Tensor
    bias: Tensor | None


class Tensors(NamedTuple):
    """Tensors of a file, by name."""

    file: Path
    names: tuple[str, ...]


def find_head(network: Any, folder: Path, unexpected: Iterable[str]) -> Head | None:
    """Find the head of another trainer in a folder without a head for this network; None without any head.

    Args:
        network: the classifier.
        folder: folder of the weights.
        unexpected: tensors of the weight files without a place in the network.

    Raises:
        CheckpointError: a head that does not fit, several heads, or a head in a pickle.
    """
    if not folder.is_dir():
        return None
    pickled = next((name for name in PICKLED if (folder / name).is_file()), "")
    if pickled and not (folder / VALUE_HEAD).is_file():
        raise CheckpointError(
            f"{folder} keeps its score head in {pickled}, a pickle, which is never opened",
            f"save the head again as {VALUE_HEAD}: LLaMA-Factory does so with safetensors; or {DRAW_ANEW}",
        )
    found = list(_heads_in(folder, frozenset(unexpected)))
    if not found:
        return None
    tensors = {f"{name} in {file.name}": _tensor(file, name) for file, names in found for name in names}
    check_finite(tensors, str(folder))
    hidden = int(network.config.get_text_config().hidden_size)
    weights = {name: tensor for name, tensor in tensors.items() if list(tensor.shape) == [1, hidden]}
    biases = {name: tensor for name, tensor in tensors.items() if list(tensor.shape) == [1]}
    if not is_causal(network) or len(weights) != 1 or len(biases) > 1 or len(tensors) > len(weights) + len(biases):
        listed = "; ".join(f"{name} {list(tensor.shape)}" for name, tensor in list(tensors.items())[:4])
        raise CheckpointError(
            f"{folder} holds a head that has no place in this {network.config.model_type}: {listed}, and one weight "
            f"[1, {hidden}] of a linear layer behind a decoder is wanted",
            DRAW_ANEW,
        )
    ((name, weight),) = weights.items()
    return Head(name, weight.float(), next((bias.float() for bias in biases.values()), None))


def put_head(network: Any, head: Head) -> None:
    """Write the weight of a head into the score head of a network, in place."""
    getattr(network, CAUSAL_HEAD).weight.data.copy_(head.weight)


def is_head_name(name: str) -> bool:
    """Return True for a tensor inside a module that is called as a head of a reward model."""
    return not NAMES.isdisjoint(name.split(".")[:-1])


def _heads_in(folder: Path, unexpected: frozenset[str]) -> Iterator[Tensors]:
    """Yield the tensors of heads in each safetensors file of a folder, but for tensors with a place in the network."""
    from safetensors import safe_open

    loaded = set(weight_files(folder)) | {ADAPTER_WEIGHTS}
    for path in sorted(folder.glob("*.safetensors")):
        with library_errors(f"{path} cannot be read", COPY), safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if is_head_name(name)]  # noqa: SIM118 - no dictionary
        # A file beside the weights may hold the whole model once more, under the names of another library.
        here = [name for name in names if (name in unexpected if path.name in loaded else path.name == VALUE_HEAD)]
        if here:
            yield Tensors(path, tuple(sorted(here)))


def _tensor(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with file_errors(path), safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor
