"""The engine `varlen`: attention over a packed row on CUDA, by PyTorch's flash attention for sequences of any lengths.

Each response is a sequence of a single kernel call. The queries are the response's own tokens; the keys are the tokens
of the prefix, then the own tokens. The queries of a prefix join the sequence of the first response, placed right behind
the prefix. Keys and values of a prefix are copied for each further response, in the order of the sequences.

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

from .batch import Batch, sent
from .contract import Refused, attention

NAME = "bradley_varlen"
LARGEST_HEAD = 256
"""Largest head size of the kernel."""


class Sequences(NamedTuple):
    """Attention pattern of a packed row, computed once per micro-batch and shared by all layers.

    Attributes:
        queries, keys: [R + 1] int32 offsets of the sequences among all queries and among all keys. Queries lie as in
            the row.
        source: [K] place of each key in the row.
        most_queries: queries of the longest sequence.
        longest: keys of the longest sequence: tokens of the longest response, prefix included.
        dtype: dtype of the attention arithmetic.
        keywords: parameters of `varlen_attn` in this release of PyTorch.
    """

    queries: Tensor
    keys: Tensor
    source: Tensor
    most_queries: int
    longest: int
    dtype: torch.dtype
    keywords: frozenset[str]


def missing(device: torch.device, dtype: torch.dtype) -> str:
    """Return the reason against this attention on `device` in `dtype`, or ''."""
    if device.type != "cuda":
        return f"is on {device.type}, and varlen needs CUDA"
    if dtype == torch.float32:
        return "computes in float32, and varlen in bfloat16 alone"
    # The flash attention kernels of PyTorch are built for compute capability 8.0 (A100) and later.
    if torch.cuda.get_device_capability(device) < (8, 0) or not torch.backends.cuda.is_flash_attention_available():
        return f"is on {torch.cuda.get_device_name(device)}, for which PyTorch has no flash attention here"
    return ""


def sequences_of(batch: Batch, dtype: torch.dtype) -> Sequences:
    """Build the sequences of a batch: small tensors, made on the CPU, so that no length is read from the device."""
    from torch.nn.attention.varlen import varlen_attn  # takes a second, paid by this engine alone

    device, batch = batch.tokens.device, batch.on_host
    start, size = batch.segments[:-1], batch.segments.diff()
    # A process without work runs one token as its own sequence: skipping would leave others waiting for its gradients.
    asks, prefix = (batch.own, batch.prefix) if len(batch.own) else (nothing := torch.zeros_like(start), nothing)
    # Queries lie as in the row, and responses need not: a prefix is followed by its own responses alone.
    order = asks.argsort()
    asks, prefix = asks[order], prefix[order]
    own = size[asks]
    # Without a response, segment 0 asks itself, and must not count its own tokens twice as keys.
    before = torch.where(asks == prefix, 0, size[prefix])
    keys = before + own
    # Every token asks exactly once. The first response follows its prefix, so both are one range of queries.
    queries = torch.where(asks == prefix + 1, keys, own)
    total, most, longest = torch.stack([keys.sum(), queries.max(), keys.max()]).tolist()
    key_ends = keys.cumsum(0)
    sequence = torch.repeat_interleave(torch.arange(len(keys)), keys)
    place = torch.arange(total) - (key_ends - keys)[sequence]
    in_own = place - before[sequence]
    # The first keys of a sequence come from its prefix, the rest from its own tokens.
    source = torch.where(in_own < 0, start[prefix][sequence] + place, start[asks][sequence] + in_own)
    # The kernel reads offsets as int32; keys and queries of one sequence have different offsets.
    offsets = (pad(ends, (1, 0)).to(torch.int32) for ends in (queries.cumsum(0), key_ends))
    query_offsets, key_offsets, source = (sent(tensor, device) for tensor in (*offsets, source))
    return Sequences(query_offsets, key_offsets, source, most, longest, dtype, _keywords(varlen_attn))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequences, scaling: float | None, dropout: float
) -> Tensor:
    """Compute the attention of one layer over a packed row, see `contract.attention`.

    Raises:
        Refused: the model requests a feature unknown to the kernel.
    """
    from torch.nn.attention.varlen import varlen_attn

    options = _options(query, key, scaling, dropout, segments.keywords)
    # The kernel wants [T, N, D] without a batch axis, in one dtype. Norms of queries may leave float32 under autocast.
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
    # A tuple comes back only on request of further outputs; the assertion is for the type checker.
    assert isinstance(output, Tensor)
    return output[None]


attend = attention("varlen", _attend)
"""Attention function registered with transformers."""


@functools.cache
def _keywords(kernel: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the parameters of a kernel."""
    return frozenset(inspect.signature(kernel).parameters)


def _options(
    query: Tensor, key: Tensor, scaling: float | None, dropout: float, known: frozenset[str]
) -> dict[str, Any]:
    """Return the keywords of the kernel call.

    Causal means here: the last query sees every key, the query before sees all keys but the last. Later releases added
    `window_size`, `scale` and `enable_gqa`; the kernel always knew groups of heads.

    Raises:
        Refused: a head size, dropout or scale unknown to the kernel.
    """
    heads, size = query.shape[1], query.shape[3]
    # Checked on the tensors: a config need not state the head size.
    if size % 8 or size > LARGEST_HEAD:
        raise Refused(
            f"has attention heads of size {size}, and varlen takes multiples of 8 up to {LARGEST_HEAD}", "varlen"
        )
    if dropout:
        raise Refused("drops attention weights, which varlen cannot", "varlen")
    scale = size**-0.5 if scaling is None else scaling
    # An older kernel always scales by 1 / sqrt(D); a model with another scale would get wrong scores.
    if "scale" not in known and not math.isclose(scale, size**-0.5):
        raise Refused("scales its attention scores, which varlen cannot in this release of PyTorch", "varlen")
    # A window without limit to the left and of 0 to the right is causal; older kernels have a flag.
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "scale" in known:
        options["scale"] = scale
    if "enable_gqa" in known:
        options["enable_gqa"] = heads != key.shape[1]
    return options


def _taken(source: Tensor, index: Tensor) -> Tensor:
    """Return the rows `index` [K] of `source` [T, M, D], as [K, M, D]."""
    return torch.as_tensor(_Take.apply(source, index))  # type: ignore[no-untyped-call]


class _Take(torch.autograd.Function):
    """Rows of a tensor by number, some repeatedly, with gradients added up in float32.

    A prefix of K responses collects K gradients. Adding in bfloat16 would round K times: 300 gradients near 1 stop
    growing at 256.
    """

    @staticmethod
    def forward(ctx: Any, source: Tensor, index: Tensor) -> Tensor:
        """Map [T, M, D] to [K, M, D]."""
        ctx.save_for_backward(index)
        ctx.rows = source.shape[0]
        return source.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Map the gradient [K, M, D] to [T, M, D]."""
        (gradient,) = gradients
        (index,) = ctx.saved_tensors
        # One sum in float32, one rounding at the end.
        total = gradient.new_zeros((ctx.rows, *gradient.shape[1:]), dtype=torch.float32)
        return total.index_add(0, index, gradient.float()).to(gradient.dtype), None
