"""Attention over a packed row, one call for each piece of it.

It is registered with transformers' attention interface as `bradley_segments`. No mask function goes with the name, so
transformers builds no mask of its own: what attends to what is said in `blocks.py` alone.

Legend: T tokens of the row, N attention heads, M key and value heads, D head size.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from .batch import Batch
from .contract import attention

CALL_PAIRS = 1024
CALL_QUERIES = 30
"""What an attention call costs besides its own pairs of query and key: as much as so many pairs, and as so many queries
more. Measured on two CPU cores, heads of 64, forward and backward."""

MOST_PIECES = 16


class Piece(NamedTuple):
    """Queries that go through one attention call.

    Attributes:
        start, stop: which of the block's tokens they are.
        mask: [stop - start, keys] added to the attention scores: for the first so many keys of the block.
    """

    start: int
    stop: int
    mask: Tensor

    @property
    def keys(self) -> int:
        """How many of the block's keys are within reach, those of its prefix first."""
        return self.mask.shape[1]


class Block(NamedTuple):
    """Segments side by side, with the keys that they share: their prefix, and themselves.

    Attributes:
        start, size: its tokens in the row.
        prefix: keys before its own: the prefix of the first segment, where it lies in an earlier block (0: none).
        prefix_start: where in the row this lies.
        pieces: they hold every query once, in order.
    """

    start: int
    size: int
    prefix: int
    prefix_start: int
    pieces: list[Piece]


class Segments(NamedTuple):
    """How a packed row is attended to, worked out once for all layers.

    Attributes:
        blocks: [B] in the order of the row; together they hold every token once.
        longest: tokens of the longest response, its prefix included.
        dtype: that attention is computed in.
    """

    blocks: list[Block]
    longest: int
    dtype: torch.dtype


class Layout(NamedTuple):
    """The segments of a batch as plain integers.

    Attributes:
        offsets: [S + 1] where each begins.
        sizes: [S] tokens of each.
        parent: [S] the segment that each continues; a prefix continues itself.
    """

    offsets: list[int]
    sizes: list[int]
    parent: list[int]


class Span(NamedTuple):
    """A run of segments, `first` to before `stop`: its queries, and the keys that come before its own."""

    first: int
    stop: int
    size: int
    prefix: int


def segments_of(batch: Batch, dtype: torch.dtype) -> Segments:
    """The blocks of a batch, their masks in the dtype that attention is computed in."""
    offsets = batch.segments.tolist()
    parent = list(range(len(offsets) - 1))
    for own, prefix in zip(batch.own.tolist(), batch.prefix.tolist(), strict=True):
        parent[own] = prefix
    layout = Layout(offsets, [end - start for start, end in pairwise(offsets)], parent)
    blocks = [_block(span, layout, batch.tokens.device, dtype) for span in _spans(layout)]
    return Segments(blocks, int(batch.positions.max()) + 1, dtype)


def _spans(layout: Layout) -> list[Span]:
    """Neighbours join where the pairs that their common mask hides cost less than a call of their own."""
    spans: list[Span] = []
    for segment, (size, parent) in enumerate(zip(layout.sizes, layout.parent, strict=True)):
        alone = Span(segment, segment + 1, size, 0 if parent == segment else layout.sizes[parent])
        last = spans[-1] if spans else alone
        joined = Span(last.first, segment + 1, last.size + size, last.prefix)
        has_keys = parent >= last.first or parent == layout.parent[last.first]
        if spans and has_keys and _cost(joined, layout) <= _cost(last, layout) + _cost(alone, layout):
            spans[-1] = joined
        else:
            spans.append(alone)
    return spans


def _cost(span: Span, layout: Layout) -> float:
    """Of the attention calls of a span, in pairs of query and key."""
    return _cost_in(_pieces(span, layout), span)


def _cost_in(pieces: int, span: Span) -> float:
    """The same where the queries go in so many equal pieces, each to the keys that its last query reaches."""
    keys = span.prefix + span.size * (pieces + 1) / (2 * pieces)
    return pieces * (CALL_PAIRS + (span.size / pieces + CALL_QUERIES) * keys)


def _pieces(span: Span, layout: Layout) -> int:
    """In how many pieces a span costs least: only in one text does an early query reach fewer keys."""
    most = min(span.size, MOST_PIECES) if _one_text(span, layout) else 1
    return min(range(1, most + 1), key=lambda pieces: _cost_in(pieces, span), default=1)


def _one_text(span: Span, layout: Layout) -> bool:
    """Whether every query of a span reaches all that comes before it: a segment, or a prefix and one response."""
    filled = [segment for segment in range(span.first, span.stop) if layout.sizes[segment]]
    return len(filled) == 1 or (not span.prefix and len(filled) == 2 and layout.parent[filled[1]] == filled[0])


def _block(span: Span, layout: Layout, device: torch.device, dtype: torch.dtype) -> Block:
    mask, count = _mask(span, layout, dtype).to(device), _pieces(span, layout)
    bounds = [round(number * span.size / count) for number in range(count + 1)]
    pieces = [Piece(a, b, mask[a:b, : span.prefix + b]) for a, b in pairwise(bounds) if b > a]
    prefix_start = layout.offsets[layout.parent[span.first]]
    return Block(layout.offsets[span.first], span.size, span.prefix, prefix_start, pieces)


def _mask(span: Span, layout: Layout, dtype: torch.dtype) -> Tensor:
    """[size, prefix + size]: 0 where a query attends, minus infinity where it does not."""
    numbers = torch.arange(span.first, span.stop)
    segment = torch.repeat_interleave(numbers, torch.tensor(layout.sizes[span.first : span.stop]))
    parent = torch.tensor(layout.parent[span.first : span.stop])[segment - span.first]
    keys = torch.cat([torch.full((span.prefix,), layout.parent[span.first]), segment])
    place = torch.arange(-span.prefix, span.size)
    attends = (keys == segment[:, None]) | (keys == parent[:, None])
    attends &= place <= place[span.prefix :, None]
    return torch.zeros(attends.shape, dtype=dtype).masked_fill_(~attends, float("-inf"))


NAME = "bradley_segments"


def _attend(query: Tensor, key: Tensor, value: Tensor, row: Segments, scaling: float | None, dropout: float) -> Tensor:
    """Attention of one layer over a packed row, see `packing.attention`."""
    copies = query.shape[1] // key.shape[1]
    if copies > 1:
        key, value = (tensor.repeat_interleave(copies, dim=1) for tensor in (key, value))
    query, key, value = (tensor.to(row.dtype) for tensor in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout or query.device.type != "cpu" or query.shape[-1] != value.shape[-1]:
        return _by_autograd(query, key, value, row, scale, dropout)
    output: Tensor = _CpuAttention.apply(query, key, value, row, scale)  # type: ignore[no-untyped-call]
    return output


attend = attention("segments", _attend)
"""What transformers calls."""


class _CpuAttention(torch.autograd.Function):
    """The CPU kernels behind `scaled_dot_product_attention`, called directly.

    Through autograd, each piece would save its own copy of keys and values, and each slice would have a gradient of the
    full size; here the gradients of all pieces are added up in place.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, row: Segments, scale: float) -> Tensor:
        """Query, key and value [1, N, T, D] to [1, T, N, D]."""
        output, sums = torch.empty_like(query.transpose(1, 2)), []
        for block in row.blocks:
            keys, values = _of_block(key, block), _of_block(value, block)
            for piece in block.pieces:
                at = slice(block.start + piece.start, block.start + piece.stop)
                part, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    query[:, :, at],
                    keys[:, :, : piece.keys],
                    values[:, :, : piece.keys],
                    attn_mask=piece.mask,
                    scale=scale,
                )
                output[:, at] = part.transpose(1, 2)
                sums.append(log_sum)
        ctx.save_for_backward(query, key, value, output, *sums)
        ctx.row, ctx.scale = row, scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of query, key and value."""
        query, key, value, output, *sums = ctx.saved_tensors
        by_query, by_key, by_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        gradient, output = gradient.transpose(1, 2), output.transpose(1, 2)
        for block in reversed(ctx.row.blocks):
            keys, values = _of_block(key, block), _of_block(value, block)
            by_keys, by_values = torch.zeros_like(keys), torch.zeros_like(values)
            for piece in reversed(block.pieces):
                at = slice(block.start + piece.start, block.start + piece.stop)
                by_query[:, :, at], one, other = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    gradient[:, :, at],
                    query[:, :, at],
                    keys[:, :, : piece.keys],
                    values[:, :, : piece.keys],
                    output[:, :, at],
                    sums.pop(),
                    dropout_p=0.0,
                    is_causal=False,
                    attn_mask=piece.mask,
                    scale=ctx.scale,
                )
                by_keys[:, :, : piece.keys] += one
                by_values[:, :, : piece.keys] += other
            _add_of_block(by_key, by_keys, block)
            _add_of_block(by_value, by_values, block)
        return by_query, by_key, by_value, None, None


def _of_block(tensor: Tensor, block: Block) -> Tensor:
    """The keys or values of a block [1, N, prefix + size, D], those of its prefix first."""
    own = tensor.narrow(2, block.start, block.size)
    if not block.prefix:
        return own
    return torch.cat([tensor.narrow(2, block.prefix_start, block.prefix), own], dim=2)


def _add_of_block(total: Tensor, part: Tensor, block: Block) -> None:
    """Add what belongs to the keys or values of a block to that of the whole row, in place."""
    total.narrow(2, block.start, block.size).add_(part.narrow(2, block.prefix, block.size))
    if block.prefix:
        total.narrow(2, block.prefix_start, block.prefix).add_(part.narrow(2, 0, block.prefix))


def _by_autograd(query: Tensor, key: Tensor, value: Tensor, row: Segments, scale: float, dropout: float) -> Tensor:
    """The same by the public function, which runs everywhere and can drop attention weights."""
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
