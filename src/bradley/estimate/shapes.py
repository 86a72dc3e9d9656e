"""Shapes relevant to memory, read from a network. A network on the `meta` device of PyTorch suffices."""

import math
from typing import Any

from torch import nn

from ..errors import UserError
from ..model.adapters import in_attention, linear_layers
from ..model.reward import is_head_weight
from ..model.trainable import ADAPTER, is_norm
from .memory import Layer, Network

KEEPS = {"NewGELUActivation": 4, "QuickGELUActivation": 2}
"""Tensors kept for gradients by activation functions written in Python. A fused kernel keeps only the input."""


def network_of(network: Any, quantize: str = "none") -> Network:
    """Read the shapes of a classifier.

    Args:
        network: a transformers model for sequence classification, with or without adapters.
        quantize: `nf4` counts frozen linear layers as kept in 4 bits, regardless of their present dtype.

    Raises:
        UserError: the layers are not built from linear layers, as in models with experts or convolutions.
    """
    weights = dict(network.named_parameters())
    layers = _layers(network)
    paths = linear_layers(network)
    linear = {id(network.get_submodule(path).weight) for path in paths}
    frozen = [p for p in weights.values() if not p.requires_grad]
    # An outline holds every weight in full, so layers to be quantized by the run are told by being linear and frozen.
    to_quantize = sum(p.numel() for p in frozen if id(p) in linear) if quantize != "none" else 0
    units = [*layers, *(module for module in network.modules() if isinstance(module, nn.Embedding))]
    return Network(
        trained=tuple(tuple(p.shape) for p in weights.values() if p.requires_grad),
        frozen=sum(p.numel() for p in frozen) - to_quantize,
        quantized=to_quantize,
        matrices=sum(p.numel() for p in weights.values() if id(p) in linear and p.requires_grad),
        frozen_matrices=sum(p.numel() for p in frozen if id(p) in linear) - to_quantize,
        unit=max(sum(p.numel() for p in unit.parameters()) for unit in units),
        trains_backbone=any(p.requires_grad for name, p in weights.items() if not is_head_weight(network, name)),
        layers=len(layers),
        layer=_layer(network, layers[0]),
    )


def _layers(network: Any) -> Any:
    """List of layers of a backbone."""
    wanted = network.config.get_text_config().num_hidden_layers
    found = [m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) == wanted]
    if not found:
        raise _unknown(network, "no list of layers is found in it")
    return found[0]


def _layer(network: Any, layer: Any) -> Layer:
    """Shapes of a layer.

    Projections come in the order of the layer: projections of H come first, inside attention and in the feed-forward
    layer.
    """
    config = network.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    linear = [path for path in linear_layers(network) if ADAPTER not in path]
    inside = {id(module): name for name, module in layer.named_modules()}
    own = [path for path in linear if id(network.get_submodule(path)) in inside]
    attention, rest = [p for p in own if in_attention(p)], [p for p in own if not in_attention(p)]
    if not attention or len(rest) < 2:
        raise _unknown(network, "its layers are not made of linear layers")
    # A gate is a third projection, or part of the first projection, whose output then has 2 F numbers instead of F.
    first, down = network.get_submodule(rest[0]), network.get_submodule(rest[-1])
    inner = _size(down, 0)
    return Layer(
        hidden=config.hidden_size,
        inner=inner,
        heads=heads,
        key_heads=key_heads,
        head_size=size,
        gated=len(rest) > 2 or _size(first, 1) == 2 * inner,
        norms=tuple(_norms(layer, heads, key_heads, config.hidden_size)),
        attention_inputs=_kept(network, attention[:-1] or attention),
        feed_forward_inputs=_kept(network, rest[:-1]),
        down_input=bool(_kept(network, rest[-1:])),
        activation_keeps=next((KEEPS[n] for m in layer.modules() if (n := type(m).__name__) in KEEPS), 1),
        fused=len(attention) == 2 and bool(getattr(config, "rope_parameters", None)),
        low_rank=sum(p.shape[0] for name, p in layer.named_parameters() if f"{ADAPTER}A." in name),
    )


def _size(module: Any, side: int) -> int:
    """Input size (0) or output size (1) of a linear layer, for either layout of the weight."""
    module = getattr(module, "base_layer", module)
    if isinstance(module, nn.Linear):
        return int((module.in_features, module.out_features)[side])
    # Conv1D of GPT-2 stores its weight as [in, out], the transpose of nn.Linear.
    return int(module.weight.shape[side])


def _kept(network: Any, paths: list[str]) -> int:
    """Number of layers in `paths` keeping the input for the gradient of a weight, of the layer or of an adapter."""
    return sum(any(p.requires_grad for p in _owner(network, path).parameters()) for path in paths)


def _owner(network: Any, path: str) -> Any:
    """The layer of `path`, or the PEFT layer wrapping the layer."""
    return network.get_submodule(path.removesuffix(".base_layer"))


def _norms(layer: Any, heads: int, key_heads: int, hidden: int) -> Any:
    """Yield (numbers per token, tensors kept) of each norm of a layer.

    Every norm keeps the input. A norm written in Python with a trained scale keeps the normalised input too.
    """
    for name, module in layer.named_modules():
        if not is_norm(module):
            continue
        width = math.prod(next(module.parameters()).shape)
        # Norms of single heads run once for each head of queries or of keys; their width tells them from layer norms.
        times = 1 if width == hidden else heads if name.rpartition(".")[2].startswith("q") else key_heads
        fused = isinstance(module, nn.LayerNorm | nn.RMSNorm)
        trained = any(p.requires_grad for p in module.parameters())
        yield width * times, 1 if fused or not trained else 2


def _unknown(network: Any, reason: str) -> UserError:
    return UserError(
        f"the memory of a {network.config.model_type} is not known here: {reason}",
        "use `bradley train` with --sanity, and read peak_memory_gib in timing.jsonl",
    )
