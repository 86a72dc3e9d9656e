"""Attention over a packed row on CUDA, by FlexAttention: one compiled kernel that skips what nobody attends to.

The row is padded to one of few lengths, so that one kernel serves many batches. The padding is a segment of its own: it
attends to itself, and nothing attends to it.

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

from .batch import Batch
from .contract import Refused, attention

NAME = "bradley_flex"
BLOCK = 128
"""Tokens of a block, the unit in which FlexAttention skips: its kernels are built for this one."""
LENGTHS = 16
"""Lengths of a padded row between one power of two and the next: at most a sixteenth of a long row is padding."""
SMALLEST_HEAD, LARGEST_HEAD = 16, 256


class FlexRow(NamedTuple):
    """How a packed row is attended to, worked out once for all layers.

    Attributes:
        mask: the pairs of blocks that attend, and the rule inside those that do so in part.
        longest: tokens of the longest response, its prefix included.
        dtype: what attention is computed in.
    """

    mask: BlockMask
    longest: int
    dtype: torch.dtype


def missing(device: torch.device, dtype: torch.dtype) -> str:
    """What stands in the way of this attention, or ''."""
    return "" if device.type == "cuda" else f"is on {device.type}, where FlexAttention has no backward pass"


def padded(tokens: int) -> int:
    """The length that a row of `tokens` tokens is padded to: a multiple of `BLOCK` that grows with the row."""
    step = max(BLOCK, (1 << (tokens - 1).bit_length()) // (2 * LENGTHS))
    return -(-tokens // step) * step


def flex_row_of(batch: Batch, dtype: torch.dtype) -> FlexRow:
    """The block mask of a batch."""
    longest = int(batch.positions.max()) + 1
    length = padded(len(batch.tokens))
    ends = pad(batch.segments[1:], (0, 1), value=length)
    parent = torch.full_like(ends, -1)
    parent[batch.own] = batch.prefix
    return FlexRow(_block_mask(ends, parent, length), longest, dtype)


def _block_mask(ends: Tensor, parent: Tensor, length: int) -> BlockMask:
    """The mask of a row, from its segments alone: the T x T pairs of a long row would not fit into memory.

    Args:
        ends: [S] where each segment ends; the last is the padding.
        parent: [S] the segment that each continues, or -1.
    """
    tokens = torch.arange(length, device=ends.device)
    segment = torch.searchsorted(ends, tokens, right=True)
    some, full = _attending_blocks(ends, parent, length // BLOCK)
    return BlockMask.from_kv_blocks(
        *_ordered(some & ~full), *_ordered(full), BLOCK_SIZE=BLOCK, mask_mod=_rule(segment, parent[segment])
    )


def _rule(segment: Tensor, parent: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Whether a query attends to a key: in its own segment up to itself, and to all of the one that this continues."""

    def attends(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (segment[key] == segment[query]) & (key <= query)
        return own | (segment[key] == parent[query])

    return attends


def _attending_blocks(ends: Tensor, parent: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """[B, B] each: whether some query of a block attends to some key of another, and whether all do to all."""
    starts = pad(ends[:-1], (1, 0))
    first = BLOCK * torch.arange(blocks, device=ends.device)[:, None]
    tokens = (ends.minimum(first + BLOCK) - starts.maximum(first)).clamp(min=0)  # [B, S] of each segment in each block
    has, continues = (tokens > 0).float(), parent >= 0
    own = has @ has.T > 0
    prefix = has @ (has[:, parent] * continues).T > 0
    some = (own & (first >= first.T)) | prefix
    seen = (tokens + tokens[:, parent] * continues == BLOCK).float()
    # counts of segments, at most BLOCK, which the bfloat16 of autocast holds exactly
    full = (first > first.T) & (has @ seen.T == has.sum(1, keepdim=True))
    return some, full


def _ordered(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """How many key blocks each query block has, and their numbers first in its row, as FlexAttention reads them."""
    order = torch.argsort(pairs.to(torch.int8), dim=-1, descending=True, stable=True)
    return pairs.sum(-1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]


def _attend(
    query: Tensor, key: Tensor, value: Tensor, segments: FlexRow, scaling: float | None, dropout: float
) -> Tensor:
    """Attention of one layer over a packed row, see `packing.attention`.

    Raises:
        Refused: the model asks for something that this kernel does not do.
    """
    size = query.shape[3]
    if not SMALLEST_HEAD <= size <= LARGEST_HEAD:
        raise Refused(f"has attention heads of size {size}, and flex takes {SMALLEST_HEAD} to {LARGEST_HEAD}", "flex")
    if dropout:
        raise Refused("drops attention weights, which flex cannot", "flex")
    kernel: Any = flex_attention if torch.compiler.is_compiling() else _compiled()
    output: Tensor = kernel(
        *(tensor.to(segments.dtype) for tensor in (query, key, value)),
        block_mask=segments.mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


attend = attention("flex", _attend)
"""What transformers calls."""


@functools.cache
def _compiled() -> Callable[..., Any]:
    """The kernel, compiled once for all layers, models and lengths; inside a compiled model it is part of that."""
    return torch.compile(flex_attention)
