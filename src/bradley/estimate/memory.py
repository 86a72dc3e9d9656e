"""Peak memory of a run, computed from the shapes of the network: nothing is allocated, and nothing measured.

Legend of the network: H hidden size, F inner size of the feed-forward layer, N and M heads of queries and of keys, D
head size, W weights, T trained weights. Legend of the arithmetic: c bytes of a number in the backbone.
"""

import math
from typing import NamedTuple

from ..training.optimizer_bytes import state_bytes

MASTER = 4
"""Bytes of a weight, of a gradient, of a number of the residual stream: float32."""
NF4 = 0.5 + 4 / 64
"""Bytes of a weight in 4 bits, with a float32 scale for each 64 weights (Dettmers et al., 2023, arXiv:2305.14314,
without double quantization)."""
MODES = ("replicate", "shard_optimizer_and_gradients", "shard_all", "hybrid")
"""Parallel strategies: a copy of the model in each process, or shards of FSDP2."""
PARTS = ("weights", "copies", "gradients", "optimizer", "activations", "working")
"""Parts of the memory; see `memory_of`."""


class Layer(NamedTuple):
    """Shapes of a transformer layer relevant to memory.

    Attributes:
        hidden, inner, heads, key_heads, head_size: H, F, N, M, D.
        gated: True if a second projection to F multiplies the activation.
        norms: (numbers per token, number of tensors of this size kept for the backward pass) of each normalisation.
        attention_inputs, feed_forward_inputs: number of projections of H keeping the input for the gradient of a
            weight.
        down_input: True if the projection from F keeps the input.
        activation_keeps: number of tensors of F kept by the activation function.
        low_rank: numbers per token kept by adapters.
        fused: True if queries, keys and values are views of a single tensor. Only the values then enter attention
            unchanged.
    """

    hidden: int
    inner: int
    heads: int
    key_heads: int
    head_size: int
    gated: bool
    norms: tuple[tuple[int, int], ...]
    attention_inputs: int
    feed_forward_inputs: int
    down_input: bool
    activation_keeps: int
    low_rank: int = 0
    fused: bool = False


class Network(NamedTuple):
    """Shapes of a network relevant to memory.

    Attributes:
        trained: shapes of the trained weights.
        frozen, quantized: numbers in the frozen weights, in float32 and in 4 bits.
        matrices, frozen_matrices: numbers in the float32 weights of linear layers, trained and frozen. Arithmetic in
            bfloat16 copies both.
        unit: numbers in the largest part gathered at once under sharding: a layer, or the embedding.
        trains_backbone: True if a weight below the head is trained. Otherwise no activation is kept.
        layers: number of layers, each like `layer`.
    """

    trained: tuple[tuple[int, ...], ...]
    frozen: int
    quantized: int
    matrices: int
    frozen_matrices: int
    unit: int
    trains_backbone: bool
    layers: int
    layer: Layer

    @property
    def trained_numbers(self) -> int:
        """Number of trained numbers, T."""
        return sum(map(math.prod, self.trained))


class Setup(NamedTuple):
    """Training settings relevant to memory.

    Attributes:
        tokens: tokens of a micro-batch as run by the engine, padding included.
        longest: tokens of the longest response with the prompt.
        number: c, 4 in float32 and 2 in bfloat16.
        engine: attention implementation, see `model.engine`.
        checkpointing: True for gradient checkpointing: the backward pass computes activations again.
        optimizer, options: name of the optimizer class and its options.
        partial_gradients: gradients held at once: 1, or more if parts of a step are summed in a fixed order.
        mode, shards: entry of `MODES`, and number of processes sharing a copy of the weights.
    """

    tokens: int
    longest: int
    number: int
    engine: str
    checkpointing: bool
    optimizer: str
    options: dict[str, object]
    partial_gradients: int = 1
    mode: str = "replicate"
    shards: int = 1


def memory_of(network: Network, setup: Setup) -> dict[str, int]:
    """Compute the bytes of a process at the peak, by part: `PARTS`, and `total`.

    - `weights`, `gradients`, `optimizer`: the parts of ZeRO (Rajbhandari et al., 2020, arXiv:1910.02054). They are 4 W,
      4 T for each gradient held, and the states of the optimizer class. Sharding divides all three.
    - `copies`: weights in bfloat16, or gathered from other processes.
    - `activations`: tensors of a micro-batch kept for the backward pass.
    - `working`: temporary tensors of a layer in the backward pass, with the gradient of the largest weight.

    Raises:
        UserError: the states of the optimizer class are unknown.
    """
    sharded = setup.shards if setup.mode != "replicate" else 1
    whole = MASTER * (network.trained_numbers + network.frozen) + NF4 * network.quantized
    found = {
        "weights": whole / sharded,
        "copies": copies(network, setup),
        "gradients": MASTER * network.trained_numbers * setup.partial_gradients / sharded,
        "optimizer": sum(state_bytes(setup.optimizer, setup.options, shape) for shape in network.trained) / sharded,
        "activations": setup.tokens * kept_per_token(network, setup),
        "working": working(network, setup),
    }
    return {**{part: round(found[part]) for part in PARTS}, "total": round(sum(found.values()))}


def copies(network: Network, setup: Setup) -> float:
    """Bytes of weights held a second time.

    With a copy of the model in each process, autocast holds every matrix in bfloat16 until the backward pass. Under
    gradient checkpointing, frozen matrices are held only while in use.

    With sharding, weights gathered from other processes count instead. `shard_optimizer_and_gradients` holds all
    weights from the forward to the backward pass, and the gradient of a part until the gradient is scattered. The
    other modes free weights in between, and hold two parts at once and such a gradient.
    """
    if setup.mode == "shard_optimizer_and_gradients":
        return setup.number * (network.trained_numbers + network.frozen + network.unit)
    if setup.mode in ("shard_all", "hybrid"):
        return setup.number * 3 * network.unit
    if setup.number == MASTER:
        return 0
    # Autocast caches copies of trained weights alone. A frozen copy survives only as a tensor kept for the backward
    # pass, and checkpointing keeps none of these.
    frozen = min(network.frozen_matrices, network.unit) if setup.checkpointing else network.frozen_matrices
    return setup.number * (network.matrices + frozen)


def kept_per_token(network: Network, setup: Setup) -> float:
    """Bytes per token kept by autograd from the forward to the backward pass.

    The count follows Korthikanti et al. (2022, arXiv:2205.05198, section 4.1). Attention keeps inputs and output but no
    attention scores (Dao et al., 2022, arXiv:2205.14135). Checkpointing keeps the input of every layer, and all
    activations of a single layer.
    """
    if not network.trains_backbone:
        return 0.0
    # The last normalisation lies outside the layers, and the backward pass needs its input too.
    layer, final_norm = layer_keeps(network.layer, setup), norm_keeps(network.layer.norms[:1])
    kept = MASTER * network.layer.hidden * network.layers + layer if setup.checkpointing else layer * network.layers
    return kept + final_norm


def layer_keeps(layer: Layer, setup: Setup) -> float:
    """Bytes per token kept by a single layer.

    - Normalisations in float32: 4 H for each tensor.
    - Attention: c (2 N D + 2 M D) for queries, keys, values and output, and 4 N for the log-sums. Kernels without
      grouped-query attention repeat keys and values to N heads.
    - Feed-forward: c F for each tensor kept by the activation, for the result of the activation, and for the factor of
      a gate. The product is the input of the projection from F.
    - Projections: c H for each kept input. In float32 all projections share an input; autocast casts a copy for each.
    - The engine `plain` adds c bytes per token of the longest response for the attention mask.
    """
    c, attention_width = setup.number, layer.heads * layer.head_size
    # These two engines repeat keys and values to N heads before attention, so the larger tensors are kept.
    repeats = setup.engine in ("segments", "plain") and layer.key_heads < layer.heads
    key_width = (layer.heads if repeats else layer.key_heads) * layer.head_size
    views = attention_width + key_width if layer.fused and not repeats else 0
    shared = setup.number == MASTER
    inputs = sum(min(count, 1) if shared else count for count in (layer.attention_inputs, layer.feed_forward_inputs))
    inner = layer.activation_keeps + layer.down_input + (2 if layer.gated else 0)
    mask = c * setup.longest if setup.engine == "plain" else 0
    return (
        norm_keeps(layer.norms)
        + c * (2 * attention_width + 2 * key_width + views)
        + MASTER * layer.heads
        + mask
        + c * (inner * layer.inner + inputs * layer.hidden + layer.low_rank)
    )


def norm_keeps(norms: tuple[tuple[int, int], ...]) -> float:
    """Bytes per token kept by normalisations, given as (numbers per token, tensors kept)."""
    return float(MASTER * sum(width * kept for width, kept in norms))


def working(network: Network, setup: Setup) -> float:
    """Bytes of temporary tensors: gradients of the widest tensors of a layer, and of the largest trained weight.

    Per token c max(3 F, 4 N D) + 16 H: three tensors of the feed-forward layer or four of attention, and four of the
    residual stream in float32. This part is a rule of thumb, unlike the rest.
    """
    layer = network.layer
    wide = setup.number * max(3 * layer.inner, 4 * layer.heads * layer.head_size) + 4 * MASTER * layer.hidden
    largest = max(map(math.prod, network.trained), default=0)
    return setup.tokens * wide + MASTER * largest
