"""Attention over a packed row on CUDA, by PyTorch's flash attention for sequences of different lengths.

Each response is a sequence of one call: its own tokens ask, its prefix and its own tokens answer. A prefix asks
together with the first of its responses, which lies right behind it. The keys and values of a prefix are copied for
each further response, in the order of the sequences.

Legend: T tokens of the row, N attention heads, M key and value heads, D head size, R responses, K keys of all
sequences.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .batch import Batch
from .contract import Refused, attention

NAME = "bradley_varlen"
LARGEST_HEAD = 256


class Sequences(NamedTuple):
    """How a packed row is attended to, worked out once for all layers.

    Attributes:
        queries, keys: [R + 1] int32 offsets of the sequences among their queries, which lie as in the row, and keys.
        source: [K] where each key lies in the row.
        most_queries: queries of the longest sequence.
        longest: keys of the longest sequence: tokens of the longest response, its prefix included.
        dtype: what attention is computed in.
        keywords: what `varlen_attn` can be told in this release of PyTorch.
    """

    queries: Tensor
    keys: Tensor
    source: Tensor
    most_queries: int
    longest: int
    dtype: torch.dtype
    keywords: frozenset[str]


def missing(device: torch.device, dtype: torch.dtype) -> str:
    """What stands in the way of this attention, or ''."""
    if device.type != "cuda":
        return f"is on {device.type}, and varlen needs CUDA"
    if dtype == torch.float32:
        return "computes in float32, and varlen in bfloat16 alone"
    if torch.cuda.get_device_capability(device) < (8, 0) or not torch.backends.cuda.is_flash_attention_available():
        return f"is on {torch.cuda.get_device_name(device)}, for which PyTorch has no flash attention here"
    return ""


def sequences_of(batch: Batch, dtype: torch.dtype) -> Sequences:
    """The sequences of a batch. It waits for the device once, for their lengths."""
    from torch.nn.attention.varlen import varlen_attn  # a second that only this engine is to cost

    start, size = batch.segments[:-1], batch.segments.diff()
    asks, prefix = (batch.own, batch.prefix) if len(batch.own) else (nothing := torch.zeros_like(start), nothing)
    own = size[asks]
    before = torch.where(asks == prefix, 0, size[prefix])  # without a response, the row is a sequence by itself
    keys = before + own
    queries = torch.where(asks == prefix + 1, keys, own)
    total, most, longest = torch.stack([keys.sum(), queries.max(), keys.max()]).tolist()
    key_ends = keys.cumsum(0)
    sequence = torch.repeat_interleave(torch.arange(len(keys), device=keys.device), keys, output_size=total)
    place = torch.arange(total, device=keys.device) - (key_ends - keys)[sequence]
    in_own = place - before[sequence]
    source = torch.where(in_own < 0, start[prefix][sequence] + place, start[asks][sequence] + in_own)
    query_offsets, key_offsets = (pad(ends, (1, 0)).to(torch.int32) for ends in (queries.cumsum(0), key_ends))
    return Sequences(query_offsets, key_offsets, source, most, longest, dtype, _keywords(varlen_attn))


@functools.cache
def _keywords(kernel: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(kernel).parameters)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequences, scaling: float | None, dropout: float
) -> Tensor:
    """Attention of one layer over a packed row, see `packing.attention`.

    Raises:
        Refused: the model asks for something that this kernel does not do.
    """
    from torch.nn.attention.varlen import varlen_attn

    options = _options(query, key, scaling, dropout, segments.keywords)
    queries, keys, values = (tensor[0].transpose(0, 1).to(segments.dtype) for tensor in (query, key, value))
    output = varlen_attn(
        queries.contiguous(),
        _taken(keys, segments.source),
        _taken(values, segments.source),
        segments.queries,
        segments.keys,
        segments.most_queries,
        segments.longest,
        **options,
    )
    assert isinstance(output, Tensor)
    return output[None]


attend = attention("varlen", _attend)
"""What transformers calls."""


def _options(
    query: Tensor, key: Tensor, scaling: float | None, dropout: float, known: frozenset[str]
) -> dict[str, Any]:
    """The keywords of the call. Causal here means: the last query sees every key, the one before all but the last.

    `window_size`, `scale` and `enable_gqa` came with later releases; the kernel knew groups of heads all along.
    """
    heads, size = query.shape[1], query.shape[3]
    if size % 8 or size > LARGEST_HEAD:
        raise Refused(
            f"has attention heads of size {size}, and varlen takes multiples of 8 up to {LARGEST_HEAD}", "varlen"
        )
    if dropout:
        raise Refused("drops attention weights, which varlen cannot", "varlen")
    scale = size**-0.5 if scaling is None else scaling
    if "scale" not in known and not math.isclose(scale, size**-0.5):
        raise Refused("scales its attention scores, which varlen cannot in this release of PyTorch", "varlen")
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "scale" in known:
        options["scale"] = scale
    if "enable_gqa" in known:
        options["enable_gqa"] = heads != key.shape[1]
    return options


def _taken(source: Tensor, index: Tensor) -> Tensor:
    """The rows `index` [K] of `source` [T, M, D]."""
    return torch.as_tensor(_Take.apply(source, index))  # type: ignore[no-untyped-call]


class _Take(torch.autograd.Function):
    """Rows of a tensor by number, some of them several times; their gradients are added up in float32.

    A prefix of K responses collects K gradients, and as many roundings where bfloat16 adds them.
    """

    @staticmethod
    def forward(ctx: Any, source: Tensor, index: Tensor) -> Tensor:
        """[K, M, D] of [T, M, D]."""
        ctx.save_for_backward(index)
        ctx.rows = source.shape[0]
        return source.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """[T, M, D] of [K, M, D]."""
        (gradient,) = gradients
        (index,) = ctx.saved_tensors
        total = gradient.new_zeros((ctx.rows, *gradient.shape[1:]), dtype=torch.float32)
        return total.index_add(0, index, gradient.float()).to(gradient.dtype), None
