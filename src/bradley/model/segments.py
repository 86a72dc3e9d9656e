"""Attention over a packed row, by segments: a prefix attends to itself, a response to its prefix and to itself.

It is registered with transformers' attention interface as `bradley_segments`. No mask function goes with the name, so
transformers builds no mask of its own: what attends to what is said here alone.

Legend: T tokens of the row, N attention heads, M key and value heads, D head size, B blocks, S segments.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .batch import Batch
from .packing import attention

NAME = "bradley_segments"
CALL_AREA = 1024
"""What one attention call costs besides its arithmetic, in pairs of query and key: 80 microseconds for a call of 8
tokens and 0.06 for each pair, five heads of 64, forward and backward, measured on one CPU core."""

CAUSAL_BLOCK = 512
"""Keys that the causal kernel of a CPU takes at once: of those that a query does not attend to, it leaves out whole
blocks alone, so that a short text costs as much as its full square."""


class Block(NamedTuple):
    """Segments side by side that go through one attention call.

    Attributes:
        size: queries, and the keys of their own.
        prefix: keys before these: the prefix of the first segment, where it lies in an earlier block (0: none).
        home, offset: the block that holds this prefix, and where in it.
        mask: [size, prefix + size] added to the attention scores; None: causal, over the prefix read again and these.
    """

    size: int
    prefix: int
    home: int
    offset: int
    mask: Tensor | None


class Segments(NamedTuple):
    """How a packed row is attended to, worked out once for all layers.

    Attributes:
        blocks: [B] in the order of the row; together they hold every token once.
        longest: tokens of the longest response, its prefix included.
    """

    blocks: list[Block]
    longest: int


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

    @property
    def area(self) -> int:
        """Pairs of query and key in one attention call that leaves none out."""
        return self.size * (self.prefix + self.size)

    @property
    def text(self) -> int:
        """Pairs of query and key in one causal call over prefix and own tokens together."""
        length = self.prefix + self.size
        return min(length**2, (length**2 + CAUSAL_BLOCK * length) // 2)


def segments_of(batch: Batch, dtype: torch.dtype) -> Segments:
    """The blocks of a batch, their masks in the dtype that attention is computed in."""
    offsets = batch.segments.tolist()
    parent = list(range(len(offsets) - 1))
    for own, prefix in zip(batch.own.tolist(), batch.prefix.tolist(), strict=True):
        parent[own] = prefix
    layout = Layout(offsets, [end - start for start, end in pairwise(offsets)], parent)
    spans = _spans(layout)
    home = [number for number, span in enumerate(spans) for _ in range(span.first, span.stop)]
    blocks = [_block(span, spans, home, layout, batch.tokens.device, dtype) for span in spans]
    return Segments(blocks, int(batch.positions.max()) + 1)


def _spans(layout: Layout) -> list[Span]:
    """Neighbours join where the pairs that their common mask hides cost less than a call of their own."""
    spans: list[Span] = []
    for segment, (size, parent) in enumerate(zip(layout.sizes, layout.parent, strict=True)):
        alone = Span(segment, segment + 1, size, 0 if parent == segment else layout.sizes[parent])
        last = spans[-1] if spans else alone
        joined = Span(last.first, segment + 1, last.size + size, last.prefix)
        has_keys = parent >= last.first or parent == layout.parent[last.first]
        if spans and has_keys and _area(joined, layout) <= _area(last, layout) + _area(alone, layout) + CALL_AREA:
            spans[-1] = joined
        else:
            spans.append(alone)
    return spans


def _area(span: Span, layout: Layout) -> int:
    """Pairs of query and key that the attention call of a span computes."""
    return span.text if _causal(span, layout) else span.area


def _block(
    span: Span, spans: list[Span], home: list[int], layout: Layout, device: torch.device, dtype: torch.dtype
) -> Block:
    parent = layout.parent[span.first]
    where = home[parent]
    offset = layout.offsets[parent] - layout.offsets[spans[where].first]
    mask = None if _causal(span, layout) else _mask(span, layout, device, dtype)
    return Block(span.size, span.prefix, where, offset, mask)


def _causal(span: Span, layout: Layout) -> bool:
    """Whether a span goes through the fused causal kernel, which leaves out much of what no query attends to.

    It reads one text: a segment, a prefix and one response, or one response after a prefix that lies elsewhere. The
    last reads that prefix again, which pays where the response is long and the prefix is not.
    """
    filled = [segment for segment in range(span.first, span.stop) if layout.sizes[segment]]
    if span.prefix:
        return len(filled) == 1 and span.text < span.area
    return len(filled) == 1 or (len(filled) == 2 and layout.parent[filled[1]] == filled[0])


def _mask(span: Span, layout: Layout, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[size, prefix + size]: 0 where a query attends, minus infinity where it does not."""
    numbers = torch.arange(span.first, span.stop)
    segment = torch.repeat_interleave(numbers, torch.tensor(layout.sizes[span.first : span.stop]))
    parent = torch.tensor(layout.parent[span.first : span.stop])[segment - span.first]
    keys = torch.cat([torch.full((span.prefix,), layout.parent[span.first]), segment])
    place = torch.arange(-span.prefix, span.size)
    attends = (keys == segment[:, None]) | (keys == parent[:, None])
    attends &= place <= place[span.prefix :, None]
    return torch.zeros(attends.shape, dtype=dtype).masked_fill_(~attends, float("-inf")).to(device)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None, dropout: float
) -> Tensor:
    """Attention of one layer over a packed row, see `packing.attention`."""
    sizes = [block.size for block in segments.blocks]
    queries, keys, values = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    gqa = query.shape[1] != key.shape[1]
    outputs = []
    for number, block in enumerate(segments.blocks):
        causal = block.mask is None
        output = scaled_dot_product_attention(
            _with_prefix(queries, number, block) if causal else queries[number],
            _with_prefix(keys, number, block),
            _with_prefix(values, number, block),
            attn_mask=block.mask,
            dropout_p=dropout,
            is_causal=causal,
            scale=scaling,
            enable_gqa=gqa,
        )
        outputs.append(_part(output, output.shape[2] - block.size, block.size).transpose(1, 2))
    return torch.cat(outputs, dim=1)


attend = attention("segments", _attend)
"""What transformers calls."""


def _with_prefix(pieces: tuple[Tensor, ...], number: int, block: Block) -> Tensor:
    """The keys, values or queries of a block after those of its prefix, [1, M or N, prefix + size, D]."""
    if not block.prefix:
        return pieces[number]
    return torch.cat([_part(pieces[block.home], block.offset, block.prefix), pieces[number]], dim=2)


def _part(tensor: Tensor, start: int, size: int) -> Tensor:
    """Tokens of a tensor [1, ., T, D]; itself where that is all of them, for a part's gradient is a whole of zeros."""
    return tensor if size == tensor.shape[2] else tensor.narrow(2, start, size)
