"""Which weights of a network are trained, and how many there are of each kind."""

from typing import Any

from torch import nn

from ..errors import UserError
from .reward import is_head_weight

ADAPTER = ".lora_"
"""What the names of all weights of an adapter contain, and no others'."""
TRAINED = {
    "all": {"head", "norms", "rest"},
    "head": {"head"},
    "head_and_norms": {"head", "norms"},
}
"""`model.trainable` -> the kinds of weights that it trains."""


def set_trainable(network: Any, trainable: str) -> None:
    """Freeze every weight in place that `trainable`, a key of `TRAINED`, does not name.

    What a network keeps frozen by itself, such as a table of sinusoids, stays so.

    Raises:
        UserError: the network has no weights of a kind that is asked for.
    """
    kinds = weight_kinds(network)
    wanted = TRAINED[trainable]
    absent = wanted - {"rest"} - set(kinds.values())
    if absent and trainable != "all":
        raise UserError(
            f"model.trainable = {trainable}, but no weight of this {network.config.model_type} is known as part of "
            f"its {' or '.join(sorted(absent))}",
            "use --model.trainable all",
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and kinds[name] in wanted)


def weight_kinds(network: Any) -> dict[str, str]:
    """The kind of each weight by its name: `adapter`, `head`, `norms` or `rest`; a norm inside a head is head."""
    norms = {id(p) for module in network.modules() if is_norm(module) for p in module.parameters(recurse=False)}
    return {name: _kind(network, name, id(weight) in norms) for name, weight in network.named_parameters()}


def _kind(network: Any, name: str, in_norm: bool) -> str:
    if ADAPTER in name:
        return "adapter"
    if is_head_weight(network, name):
        return "head"
    return "norms" if in_norm else "rest"


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer: a scale and perhaps a shift, one number per feature, nothing below it.

    Transformers writes its own, from `LlamaRMSNorm` to `T5LayerNorm`, without a class in common; the shape of the
    weights tells them from blocks that are only named after the norm in them.
    """
    named = isinstance(module, nn.LayerNorm | nn.RMSNorm) or "norm" in type(module).__name__.lower()
    leaf = next(module.children(), None) is None
    return named and leaf and all(parameter.ndim == 1 for parameter in module.parameters(recurse=False))


def count_weights(network: Any) -> dict[str, tuple[int, int]]:
    """Numbers of each kind of weight that the network has: (trained, all)."""
    kinds = weight_kinds(network)
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in network.named_parameters():
        trained, total = counts.get(kinds[name], (0, 0))
        size = _size(parameter)
        counts[kinds[name]] = (trained + size * parameter.requires_grad, total + size)
    return counts


def _size(parameter: Any) -> int:
    """Numbers in a weight; one in 4 bits is stored two to a byte and remembers its shape."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
