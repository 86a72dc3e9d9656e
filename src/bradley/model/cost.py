"""The cost of comparisons on a model: numbers for the planner, from the network, its engine and its device."""

import math
from typing import Any

from ..data.micro_batches import Limit, Load, load_of, measure
from ..data.token_store import TokenStore
from .reward import ScoreModel, is_head_weight

TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 8192}
"""Tokens of a micro-batch by kind of device, if the settings give none. On a CPU the activations of larger
micro-batches fall out of the cache: 1,600 tokens at once train a third faster than 3,200 (hidden 384, two cores, 32
MiB)."""


def load_on(model: ScoreModel, store: TokenStore) -> Load:
    """Compute the load of every comparison of a store on the model's engine."""
    return load_of(measure(store), padded=model.engine == "plain", pairs_per_token=pairs_per_token(model.network))


def limit_for(model: ScoreModel, tokens: int, comparisons: int = 0) -> Limit:
    """Return the limit of a micro-batch.

    Args:
        tokens: strict limit; for 0, the default of the device, and a larger comparison goes alone.
        comparisons: most comparisons (0: only tokens count).
    """
    # A limit from the user protects memory and is strict. The default is about speed, and must not stop a run.
    default = TOKENS_AT_ONCE.get(model.device.type, TOKENS_AT_ONCE["cuda"])
    return Limit(tokens or default, comparisons, bool(tokens))


def matrix_weights(network: Any) -> int:
    """Count the weights multiplied with every token: all matrices except embeddings and head."""
    # An embedding is a lookup, and the head sees pooled tokens alone: neither costs a product for every token.
    embeddings = {id(p) for module in _embeddings(network) for p in module.parameters()}
    return sum(
        p.numel()
        for name, p in network.named_parameters()
        if p.dim() >= 2 and id(p) not in embeddings and not is_head_weight(network, name)
    )


def _embeddings(network: Any) -> list[Any]:
    from torch.nn import Embedding

    return [module for module in network.modules() if isinstance(module, Embedding)]


def pairs_per_token(network: Any) -> float:
    """Return the number of query-key pairs with the arithmetic of one token's matrix products.

    A token takes 2 W operations for W matrix weights. A pair takes 4 N D in each layer, with N heads of size D.
    """
    config = network.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0)
    if not heads:  # a state-space model has no pairs
        return math.inf
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return matrix_weights(network) / float(2 * heads * width * config.num_hidden_layers)
