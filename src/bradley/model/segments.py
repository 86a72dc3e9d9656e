"""Attention over a packed row, one call for each piece of it.

It is registered with transformers' attention interface as `bradley_segments`. No mask function goes with the name, so
transformers builds no mask of its own: what attends to what is said in `blocks.py` alone.

Legend: T tokens of the row, N attention heads, M key and value heads, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from .blocks import Block, Segments
from .packing import attention

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
