"""The engine `segments`: attention over a packed row, one fused attention call for each piece of the row.

The attention function is registered with transformers' attention interface as `bradley_segments`. No mask function is
registered under this name, and transformers therefore builds no mask. The attention rule is in `_mask` alone.

Two costs are balanced. Short neighbouring segments share a call if a further call costs more than the pairs hidden by
their common mask. Long texts go in pieces of queries, each with the keys up to its last query. PyTorch's causal kernel
for CPUs would not help: the kernel skips whole blocks of 512 keys only.

Legend: T tokens of the row, S segments, B blocks, N attention heads, M key and value heads, D head size.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from .batch import Batch, longest_of, sent
from .contract import attention

NAME = "bradley_segments"
CALL_PAIRS = 1024
CALL_QUERIES = 30
"""Fixed cost of an attention call: Q queries and K keys cost CALL_PAIRS + (Q + CALL_QUERIES) K, in query-key pairs.
Measured on two CPU cores, heads of 64, forward and backward."""
MOST_PIECES = 16
"""Most pieces of a block; `_pieces` tries every number up to this bound."""


class Piece(NamedTuple):
    """Queries of one attention call.

    Attributes:
        start, stop: range of the queries among the tokens of the block.
        mask: [stop - start, keys] added to the attention scores; covers the first keys of the block.
    """

    start: int
    stop: int
    mask: Tensor

    @property
    def keys(self) -> int:
        """Number of the block's keys in reach, counted from the first key of the prefix."""
        return self.mask.shape[1]


class Block(NamedTuple):
    """Neighbouring segments and their common keys: a prefix, then their own tokens.

    Attributes:
        start, size: range of the block's tokens in the row.
        prefix: number of keys from an earlier block, the prefix of the first segment (0: none).
        prefix_start: place of this prefix in the row.
        pieces: attention calls of the block, in order; together the pieces hold every query once.
    """

    start: int
    size: int
    prefix: int
    prefix_start: int
    pieces: list[Piece]


class Segments(NamedTuple):
    """Attention pattern of a packed row, computed once per micro-batch and shared by all layers.

    Attributes:
        blocks: [B] in the order of the row; together the blocks hold every token once.
        longest: tokens of the longest response, prefix included.
        dtype: dtype of the attention arithmetic.
    """

    blocks: list[Block]
    longest: int
    dtype: torch.dtype


def segments_of(batch: Batch, dtype: torch.dtype) -> Segments:
    """Build the attention pattern of a batch, with masks in `dtype`."""
    # Plain integers: slicing by device tensors would make every layer wait for the device.
    host = batch.on_host
    offsets = host.segments.tolist()
    # Only responses are listed in `batch.own`. A prefix keeps itself as the parent, and `_mask` needs no special case.
    parent = list(range(len(offsets) - 1))
    for own, prefix in zip(host.own.tolist(), host.prefix.tolist(), strict=True):
        parent[own] = prefix
    layout = Layout(offsets, [end - start for start, end in pairwise(offsets)], parent)
    blocks = [_block(span, layout, batch.tokens.device, dtype) for span in _spans(layout)]
    return Segments(blocks, longest_of(batch), dtype)


def _attend(query: Tensor, key: Tensor, value: Tensor, row: Segments, scaling: float | None, dropout: float) -> Tensor:
    """Compute the attention of one layer over a packed row, see `contract.attention`."""
    # Grouped-query attention: `_by_autograd` calls PyTorch for equal numbers of heads.
    copies = query.shape[1] // key.shape[1]
    if copies > 1:
        key, value = (tensor.repeat_interleave(copies, dim=1) for tensor in (key, value))
    # Norms with float32 weights, as in Qwen3, leave queries and keys in float32 under autocast. Kernels take one dtype.
    query, key, value = (tensor.to(row.dtype) for tensor in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # The direct kernel is for CPUs, refuses dropout, and wants values of the same head size as queries.
    if dropout or query.device.type != "cpu" or query.shape[-1] != value.shape[-1]:
        return _by_autograd(query, key, value, row, scale, dropout)
    output: Tensor = _CpuAttention.apply(query, key, value, row, scale)  # type: ignore[no-untyped-call]
    return output


attend = attention("segments", _attend)
"""Attention function registered with transformers."""


class _CpuAttention(torch.autograd.Function):
    """Direct calls of the CPU kernels behind `scaled_dot_product_attention`.

    Through autograd, each piece would save a copy of keys and values, and each slice would have a gradient of full
    size. Here the gradients of all pieces are added up in place.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, row: Segments, scale: float) -> Tensor:
        """Map query, key and value [1, N, T, D] to the output [1, T, N, D]."""
        output, sums = torch.empty_like(query.transpose(1, 2)), []
        for block in row.blocks:
            keys, values = _of_block(key, block), _of_block(value, block)
            for piece in block.pieces:
                queries = slice(block.start + piece.start, block.start + piece.stop)
                # The operator behind the public function also returns the log-sum-exp, needed by the backward pass.
                piece_output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    query[:, :, queries],
                    keys[:, :, : piece.keys],
                    values[:, :, : piece.keys],
                    attn_mask=piece.mask,
                    scale=scale,
                )
                output[:, queries] = piece_output.transpose(1, 2)
                sums.append(log_sum)
        # One copy of query, key and value for all pieces; the backward pass slices them again.
        ctx.save_for_backward(query, key, value, output, *sums)
        ctx.row, ctx.scale = row, scale
        return output

    @staticmethod
    # The gradient of the kernel cannot be differentiated again; the mark turns an attempt into an error.
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Compute the gradients of query, key and value, [1, N, T, D] each, from [1, T, N, D]."""
        query, key, value, output, *sums = ctx.saved_tensors
        # Each query lies in one piece, and its gradient is written once. Prefix keys collect from several blocks.
        by_query, by_key, by_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        gradient, output = gradient.transpose(1, 2), output.transpose(1, 2)
        # Reversed, because `sums.pop()` takes from the end. A fixed order of addition gives equal runs equal bits.
        for block in reversed(ctx.row.blocks):
            keys, values = _of_block(key, block), _of_block(value, block)
            by_keys, by_values = torch.zeros_like(keys), torch.zeros_like(values)
            for piece in reversed(block.pieces):
                queries = slice(block.start + piece.start, block.start + piece.stop)
                by_query[:, :, queries], piece_keys, piece_values = (
                    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                        gradient[:, :, queries],
                        query[:, :, queries],
                        keys[:, :, : piece.keys],
                        values[:, :, : piece.keys],
                        output[:, :, queries],
                        sums.pop(),
                        dropout_p=0.0,
                        is_causal=False,
                        attn_mask=piece.mask,
                        scale=ctx.scale,
                    )
                )
                by_keys[:, :, : piece.keys] += piece_keys
                by_values[:, :, : piece.keys] += piece_values
            _add_of_block(by_key, by_keys, block)
            _add_of_block(by_value, by_values, block)
        return by_query, by_key, by_value, None, None


def _of_block(tensor: Tensor, block: Block) -> Tensor:
    """Return the keys or values of a block, [1, N, prefix + size, D], prefix first."""
    own = tensor.narrow(2, block.start, block.size)
    # A view suffices here; `cat` would copy the keys of the whole block.
    if not block.prefix:
        return own
    return torch.cat([tensor.narrow(2, block.prefix_start, block.prefix), own], dim=2)


def _add_of_block(total: Tensor, part: Tensor, block: Block) -> None:
    """Add the gradient of a block's keys or values to the gradient of the whole row, in place."""
    # The single copy of a prefix collects the gradients of all its responses, as K copies would in padded rows.
    total.narrow(2, block.start, block.size).add_(part.narrow(2, block.prefix, block.size))
    if block.prefix:
        total.narrow(2, block.prefix_start, block.prefix).add_(part.narrow(2, 0, block.prefix))


def _by_autograd(query: Tensor, key: Tensor, value: Tensor, row: Segments, scale: float, dropout: float) -> Tensor:
    """Compute the same attention with the public function of PyTorch, for every device and for dropout."""
    outputs = []
    for block in row.blocks:
        keys, values = _of_block(key, block), _of_block(value, block)
        for piece in block.pieces:
            output = scaled_dot_product_attention(
                query[:, :, block.start + piece.start : block.start + piece.stop],
                keys[:, :, : piece.keys],
                values[:, :, : piece.keys],
                attn_mask=piece.mask,
                dropout_p=dropout,
                scale=scale,
            )
            outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, dim=1)


class Layout(NamedTuple):
    """The segments of a batch as plain integers.

    Attributes:
        offsets: [S + 1] start of each segment in the row.
        sizes: [S] tokens of each segment.
        parent: [S] number of the prefix continued by each segment; a prefix is its own parent.
    """

    offsets: list[int]
    sizes: list[int]
    parent: list[int]


class Span(NamedTuple):
    """Consecutive segments, `first` to before `stop`, planned as one block.

    Attributes:
        size: tokens of the segments.
        prefix: number of keys from an earlier span.
    """

    first: int
    stop: int
    size: int
    prefix: int


def _spans(layout: Layout) -> list[Span]:
    """Group segments into spans: neighbours join if their joint calls cost no more than separate calls."""
    spans: list[Span] = []
    for segment, (size, parent) in enumerate(zip(layout.sizes, layout.parent, strict=True)):
        alone = Span(segment, segment + 1, size, 0 if parent == segment else layout.sizes[parent])
        last = spans[-1] if spans else alone
        joined = Span(last.first, segment + 1, last.size + size, last.prefix)
        # A segment may join only if its prefix is among the keys of the span: inside, or shared with the first segment.
        has_keys = parent >= last.first or parent == layout.parent[last.first]
        if spans and has_keys and _cost(joined, layout) <= _cost(last, layout) + _cost(alone, layout):
            spans[-1] = joined
        else:
            spans.append(alone)
    return spans


def _cost(span: Span, layout: Layout) -> float:
    """Compute the least cost of the attention calls of a span, in query-key pairs."""
    return _cost_in(_pieces(span, layout), span)


def _cost_in(pieces: int, span: Span) -> float:
    """Compute the cost of a span in `pieces` equal pieces, each with the keys up to its last query.

    Piece i of n sees prefix + size i / n keys, on average prefix + size (n + 1) / (2 n).
    """
    keys = span.prefix + span.size * (pieces + 1) / (2 * pieces)
    return pieces * (CALL_PAIRS + (span.size / pieces + CALL_QUERIES) * keys)


def _pieces(span: Span, layout: Layout) -> int:
    """Find the cheapest number of pieces; only a single text is cut, because its early queries reach fewer keys."""
    # The default is for the empty prefix of an unshared prompt: a span of size 0 has no pieces to try.
    most = min(span.size, MOST_PIECES) if _one_text(span, layout) else 1
    return min(range(1, most + 1), key=lambda pieces: _cost_in(pieces, span), default=1)


def _one_text(span: Span, layout: Layout) -> bool:
    """Return True if each query reaches all earlier keys of a span: one segment, or a prefix and one response."""
    # Empty prefixes hold no query, and must not stop a lone response from being cut.
    filled = [segment for segment in range(span.first, span.stop) if layout.sizes[segment]]
    return len(filled) == 1 or (not span.prefix and len(filled) == 2 and layout.parent[filled[1]] == filled[0])


def _block(span: Span, layout: Layout, device: torch.device, dtype: torch.dtype) -> Block:
    mask, count = sent(_mask(span, layout, dtype), device), _pieces(span, layout)
    # Equal pieces up to rounding. Each mask is cut to the reach of its last query: the saving of cutting.
    bounds = [round(number * span.size / count) for number in range(count + 1)]
    pieces = [
        Piece(first, stop, mask[first:stop, : span.prefix + stop]) for first, stop in pairwise(bounds) if stop > first
    ]
    prefix_start = layout.offsets[layout.parent[span.first]]
    return Block(layout.offsets[span.first], span.size, span.prefix, prefix_start, pieces)


def _mask(span: Span, layout: Layout, dtype: torch.dtype) -> Tensor:
    """Build the mask of a span, [size, prefix + size]: 0 for attended keys, minus infinity for all others.

    A token attends to its own segment up to itself, and to the whole prefix of its segment.
    """
    # Segment numbers per query and key say who may attend. Keys of the earlier prefix carry the number of the prefix.
    numbers = torch.arange(span.first, span.stop)
    segment = torch.repeat_interleave(numbers, torch.tensor(layout.sizes[span.first : span.stop]))
    parent = torch.tensor(layout.parent[span.first : span.stop])[segment - span.first]
    keys = torch.cat([torch.full((span.prefix,), layout.parent[span.first]), segment])
    # Prefix keys get negative places: the prefix lies before every query, and the causal test passes.
    place = torch.arange(-span.prefix, span.size)
    attends = (keys == segment[:, None]) | (keys == parent[:, None])
    attends &= place <= place[span.prefix :, None]
    # Every query attends to itself. A row of minus infinity alone would make the softmax NaN.
    return torch.zeros(attends.shape, dtype=dtype).masked_fill_(~attends, float("-inf"))
