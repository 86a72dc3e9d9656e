"""What a run holds in memory, computed from the shapes of its network: nothing is allocated, and nothing measured.

Legend: c bytes of a number in the backbone's arithmetic, H hidden size, F inner size of the feed-forward layer, N and M
heads of queries and of keys, D head size.
"""

import math
from typing import NamedTuple

from ..training.optimizer_bytes import state_bytes

MASTER = 4
"""Bytes of a weight, of its gradient, of a number of the residual stream: float32."""
NF4 = 0.5 + 4 / 64
"""Bytes of a weight in 4 bits, with a float32 scale for each 64 (Dettmers et al., 2023, arXiv:2305.14314, without their
second quantisation)."""
MODES = ("replicate", "shard_optimizer_and_gradients", "shard_all", "hybrid")
PARTS = ("weights", "copies", "gradients", "optimizer", "activations", "working")


class Layer(NamedTuple):
    """One layer of a backbone, as far as memory goes.

    Attributes:
        hidden, inner, heads, key_heads, head_size: H, F, N, M, D.
        gated: whether a second projection to F multiplies the activation.
        norms: for each normalisation its numbers per token, and how many tensors of that many it keeps.
        attention_inputs, feed_forward_inputs: projections of H that keep their input for the gradient of a weight.
        down_input: whether the projection from F does.
        activation_keeps: tensors of F that the activation function keeps.
        low_rank: numbers per token that adapters keep.
        fused: queries, keys and values are views of one tensor, of which values alone go into attention as they are.
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
    """A network, as far as memory goes.

    Attributes:
        trained: shapes of the weights that are trained.
        frozen, quantized: numbers in the others, as float32 and in 4 bits.
        matrices: numbers in the float32 weights of linear layers that are trained, and `frozen_matrices` in the others;
            bfloat16 arithmetic copies both.
        unit: numbers in the largest part that is gathered at once: a layer, or the embedding.
        trains_backbone: whether a weight below the head is trained; where none is, nothing is kept.
        layers: how many, each like `layer`.
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
        """Numbers that are trained."""
        return sum(map(math.prod, self.trained))


class Setup(NamedTuple):
    """What besides the network decides.

    Attributes:
        tokens: of a micro-batch, as the engine runs them.
        longest: tokens of the longest response with its prompt.
        number: c, 4 in float32 and 2 in bfloat16.
        engine: see `model.engine`.
        checkpointing: whether activations are computed again.
        optimizer: its name, and `options` those of its class.
        partial_gradients: held at once: 1, or more where parts of a step are added up in a fixed order.
        mode, shards: how weights are spread over how many processes.
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
    """Bytes of one process at its peak, by part: `PARTS`, and `total`.

    `weights`, `gradients` and `optimizer` are those of ZeRO (Rajbhandari et al., 2020, arXiv:1910.02054): 4 W, 4 T for
    each gradient held, and what the class keeps, each over the processes that share them. `copies`: weights in
    bfloat16, or gathered from other processes. `activations`: what the backward pass needs of a micro-batch. `working`:
    what a layer needs besides on the way back, with the gradient of the largest weight.
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

    A copy for each process: under autocast every matrix in bfloat16, kept until the backward pass; with checkpointing
    frozen ones only while they are used, because autocast remembers trained ones alone. Sharded: everything
    that is gathered from the forward to the backward pass, or, where it is let go in between, two parts at once
    and the gradient of one before it is scattered.
    """
    if setup.mode == "shard_optimizer_and_gradients":
        return setup.number * (network.trained_numbers + network.frozen + network.unit)
    if setup.mode in ("shard_all", "hybrid"):
        return setup.number * 3 * network.unit
    if setup.number == MASTER:
        return 0
    frozen = min(network.frozen_matrices, network.unit) if setup.checkpointing else network.frozen_matrices
    return setup.number * (network.matrices + frozen)


def kept_per_token(network: Network, setup: Setup) -> float:
    """Bytes per token that autograd keeps from the forward to the backward pass.

    The count of Korthikanti et al. (2022, arXiv:2205.05198, section 4.1) for these layers, whose attention keeps its
    inputs and its output but no scores (Dao et al., 2022, arXiv:2205.14135). With checkpointing: the input of every
    layer, and all of one.
    """
    if not network.trains_backbone:
        return 0.0
    one, last = layer_keeps(network.layer, setup), norm_keeps(network.layer.norms[:1])
    kept = MASTER * network.layer.hidden * network.layers + one if setup.checkpointing else one * network.layers
    return kept + last


def layer_keeps(layer: Layer, setup: Setup) -> float:
    """Bytes per token that one layer keeps.

    Normalisations in float32: 4 H for each tensor. Attention: c (2 N D + 2 M D) for queries, keys, values and output,
    with keys and values repeated to N heads where the kernel wants them so, and 4 N for the log-sums. Feed-forward: c F
    for each of what the activation keeps, its result, and what multiplies it; the product is the input of the
    projection from F. Projections: c H for an input, which in float32 all that read it share, while autocast casts it
    for each anew.
    """
    c, attention_width = setup.number, layer.heads * layer.head_size
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
    """Bytes per token that normalisations keep."""
    return float(MASTER * sum(width * kept for width, kept in norms))


def working(network: Network, setup: Setup) -> float:
    """Bytes that come and go: gradients of the widest tensors of one layer, and that of the largest trained weight.

    Per token c max(3 F, 4 N D) + 16 H: three tensors of the feed-forward layer or four of attention, and four of the
    residual stream in float32. A rule of thumb, unlike the rest.
    """
    layer = network.layer
    wide = setup.number * max(3 * layer.inner, 4 * layer.heads * layer.head_size) + 4 * MASTER * layer.hidden
    largest = max(map(math.prod, network.trained), default=0)
    return setup.tokens * wide + MASTER * largest
