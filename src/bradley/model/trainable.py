"""The trained weights of a network, and the number of weights by kind."""

from typing import Any

from torch import nn

from ..errors import UserError
from .reward import is_head_weight

ADAPTER = ".lora_"
"""Part of the name of every adapter weight, and of no other weight."""
TRAINED = {
    "all": {"head", "norms", "rest"},
    "head": {"head"},
    "head_and_norms": {"head", "norms"},
}
"""`model.trainable` -> kinds of trained weights."""


def set_trainable(network: Any, trainable: str) -> None:
    """Freeze in place every weight outside of `trainable`, a key of `TRAINED`.

    Weights frozen by the network's own code, such as a table of sinusoids, stay frozen.

    Raises:
        UserError: the network has no weights of a requested kind.
    """
    kinds = weight_kinds(network)
    wanted = TRAINED[trainable]
    # Without this check, `head` on a network with an unknown head would train nothing at all.
    absent = wanted - {"rest"} - set(kinds.values())
    if absent and trainable != "all":
        raise UserError(
            f"model.trainable = {trainable}, but no weight of this {network.config.model_type} is known as part of "
            f"its {' or '.join(sorted(absent))}",
            "use --model.trainable all",
        )
    for name, parameter in network.named_parameters():
        # Never thawed, only frozen: a table of sinusoids must not become a trained weight.
        parameter.requires_grad_(parameter.requires_grad and kinds[name] in wanted)


def weight_kinds(network: Any) -> dict[str, str]:
    """Return the kind of each weight by name: `adapter`, `head`, `norms` or `rest`; a norm inside a head is `head`."""
    # By identity of the parameters: names of norms differ between architectures.
    norms = {id(p) for module in network.modules() if is_norm(module) for p in module.parameters(recurse=False)}
    return {name: _kind(network, name, id(weight) in norms) for name, weight in network.named_parameters()}


def _kind(network: Any, name: str, in_norm: bool) -> str:
    # The order decides overlaps: a norm inside a head counts as head.
    if ADAPTER in name:
        return "adapter"
    if is_head_weight(network, name):
        return "head"
    return "norms" if in_norm else "rest"


def is_norm(module: nn.Module) -> bool:
    """Return True if a module is a normalisation layer: a leaf with a scale and perhaps a shift, a number per feature.

    The norms of transformers, from `LlamaRMSNorm` to `T5LayerNorm`, have no class in common. The shape of the weights
    tells norms from blocks merely named after a norm inside.
    """
    named = isinstance(module, nn.LayerNorm | nn.RMSNorm) or "norm" in type(module).__name__.lower()
    leaf = next(module.children(), None) is None
    return named and leaf and all(parameter.ndim == 1 for parameter in module.parameters(recurse=False))


def count_weights(network: Any) -> dict[str, tuple[int, int]]:
    """Count the numbers in each kind of weight: kind -> (trained, all)."""
    kinds = weight_kinds(network)
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in network.named_parameters():
        trained, total = counts.get(kinds[name], (0, 0))
        size = _size(parameter)
        counts[kinds[name]] = (trained + size * parameter.requires_grad, total + size)
    return counts


def _size(parameter: Any) -> int:
    """Count the numbers in a weight; a weight in 4 bits stores two numbers in a byte and remembers the shape."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
