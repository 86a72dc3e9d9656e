"""The engine `flex`: attention over a packed row on CUDA, by one compiled FlexAttention kernel.

The kernel skips blocks of tokens without any attending pair. The row is padded to one of few lengths, and one kernel
serves many batches. The padding is a segment of its own: padding attends to itself, and no other token attends to the
padding.

Legend: T tokens of the padded row, N attention heads, M key and value heads, D head size, S segments, B blocks of
tokens.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import pad

from .batch import Batch, longest_of
from .contract import Refused, attention

NAME = "bradley_flex"
BLOCK = 128
"""Tokens of a block, the unit of skipping; the kernels of FlexAttention are built for this size."""
LENGTHS = 16
"""Lengths of a padded row between a power of two and the next: at most a sixteenth of a long row is padding."""
SMALLEST_HEAD, LARGEST_HEAD = 16, 256
"""Smallest and largest head size of the kernels."""


class FlexRow(NamedTuple):
    """Attention pattern of a packed row, computed once per micro-batch and shared by all layers.

    Attributes:
        mask: attending pairs of blocks, and the rule inside partly attending pairs.
        longest: tokens of the longest response, prefix included.
        dtype: dtype of the attention arithmetic.
    """

    mask: BlockMask
    longest: int
    dtype: torch.dtype


def missing(device: torch.device, dtype: torch.dtype) -> str:
    """Return the reason against this attention on `device` in `dtype`, or ''."""
    return "" if device.type == "cuda" else f"is on {device.type}, where FlexAttention has no backward pass"


def padded(tokens: int) -> int:
    """Return the padded length of a row of `tokens` tokens: a multiple of `BLOCK`, in steps growing with the row."""
    # The next power of two in 2 * LENGTHS steps: finer steps mean more lengths, coarser steps more padding.
    step = max(BLOCK, (1 << (tokens - 1).bit_length()) // (2 * LENGTHS))
    return -(-tokens // step) * step


def flex_row_of(batch: Batch, dtype: torch.dtype) -> FlexRow:
    """Build the attention pattern of a batch."""
    length = padded(len(batch.tokens))
    # The padding becomes the last segment: outside of all segments, its tokens would have no rule.
    ends = pad(batch.segments[1:], (0, 1), value=length)
    # Prefixes and padding continue no segment; -1 equals no segment number in the rule.
    parent = torch.full_like(ends, -1)
    parent[batch.own] = batch.prefix
    return FlexRow(_block_mask(ends, parent, length), longest_of(batch), dtype)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, segments: FlexRow, scaling: float | None, dropout: float
) -> Tensor:
    """Compute the attention of one layer over a packed row, see `contract.attention`.

    Raises:
        Refused: the model requests a feature unknown to the kernel.
    """
    size = query.shape[3]
    if not SMALLEST_HEAD <= size <= LARGEST_HEAD:
        raise Refused(f"has attention heads of size {size}, and flex takes {SMALLEST_HEAD} to {LARGEST_HEAD}", "flex")
    if dropout:
        raise Refused("drops attention weights, which flex cannot", "flex")
    # Uncompiled, FlexAttention forms the whole T x T matrix. Inside a compiled model, the kernel is part of the model.
    kernel: Any = flex_attention if torch.compiler.is_compiling() else _compiled()
    output: Tensor = kernel(
        *(tensor.to(segments.dtype) for tensor in (query, key, value)),
        block_mask=segments.mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


attend = attention("flex", _attend)
"""Attention function registered with transformers."""


@functools.cache
def _compiled() -> Callable[..., Any]:
    """Return the kernel, compiled once for all layers, models and lengths."""
    return torch.compile(flex_attention)


def _block_mask(ends: Tensor, parent: Tensor, length: int) -> BlockMask:
    """Build the mask of a row from its segments alone: the T x T pairs of a long row would not fit into memory.

    Args:
        ends: [S] end of each segment in the row; the last segment is the padding.
        parent: [S] number of the prefix continued by each segment, or -1.
    """
    tokens = torch.arange(length, device=ends.device)
    # Segments are sorted by place; `right=True` skips the empty prefixes of unshared prompts.
    segment = torch.searchsorted(ends, tokens, right=True)
    some, full = _attending_blocks(ends, parent, length // BLOCK)
    # `create_block_mask` would evaluate the rule for all T x T pairs. Full blocks skip the rule inside the kernel.
    return BlockMask.from_kv_blocks(
        *_ordered(some & ~full), *_ordered(full), BLOCK_SIZE=BLOCK, mask_mod=_rule(segment, parent[segment])
    )


def _rule(segment: Tensor, parent: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Build the rule of attention for FlexAttention.

    A query attends to its own segment up to itself, and to the whole prefix of its segment.

    Args:
        segment: [T] segment of each token.
        parent: [T] prefix of each token's segment, or -1.
    """

    def attends(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (segment[key] == segment[query]) & (key <= query)
        return own | (segment[key] == parent[query])

    return attends


def _attending_blocks(ends: Tensor, parent: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """Find the pairs of query block and key block with attention, without any T x T tensor.

    Returns:
        Two masks [B, B]: some query attends to some key; every query attends to every key.
    """
    starts = pad(ends[:-1], (1, 0))
    # Sums over segments stand for pairs of tokens: B x S numbers instead of T x T.
    first = BLOCK * torch.arange(blocks, device=ends.device)[:, None]
    tokens = (ends.minimum(first + BLOCK) - starts.maximum(first)).clamp(min=0)  # [B, S] of each segment in each block
    # Parent -1 would index the last segment; `continues` sets these entries to 0.
    has, continues = (tokens > 0).float(), parent >= 0
    own = has @ has.T > 0
    prefix = has @ (has[:, parent] * continues).T > 0
    # A prefix is earlier in the row than its responses, so only pairs inside a segment need the causal test.
    some = (own & (first >= first.T)) | prefix
    seen = (tokens + tokens[:, parent] * continues == BLOCK).float()
    # A key block is full for a query block if each segment there sees all BLOCK keys. Earlier blocks only: on the
    # diagonal causality hides pairs. Counts are at most BLOCK, exact even in the bfloat16 of autocast.
    full = (first > first.T) & (has @ seen.T == has.sum(1, keepdim=True))
    return some, full


def _ordered(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Count the key blocks of each query block [1, 1, B], and list their numbers first in each row [1, 1, B, B]."""
    # A stable sort keeps key blocks in ascending order, as `create_block_mask` gives them.
    order = torch.argsort(pairs.to(torch.int8), dim=-1, descending=True, stable=True)
    return pairs.sum(-1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]
