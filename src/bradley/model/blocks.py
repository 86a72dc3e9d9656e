"""What attends to what in a packed row, cut into attention calls: a prefix attends to itself, a response to its prefix
and to itself.

Legend: B blocks, S segments.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .batch import Batch

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
