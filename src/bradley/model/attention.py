"""How a packed batch goes through a backbone: the plain path, padded rows as transformers itself would run them.

Legend: T tokens, R responses, L longest full response.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .batch import Batch


class PaddedRows(NamedTuple):
    """Each response as a row of its own, padded on the right.

    Attributes:
        input_ids: [R, L] with `pad_id` beyond the end.
        attention_mask: [R, L] int64, 1 on tokens.
        last: [R] column of the pooled token. By stored length, never by token id, which may occur anywhere in a text.
    """

    input_ids: Tensor
    attention_mask: Tensor
    last: Tensor


def padded_rows(batch: Batch, pad_id: int) -> PaddedRows:
    """Unpack a batch: every response gets its prefix back. Without any, one row is run, and none of it pooled."""
    if not len(batch.own):
        return PaddedRows(batch.tokens[None, :1], torch.ones_like(batch.tokens[None, :1]), batch.last)
    start = batch.segments[:-1]
    size = batch.segments[1:] - start
    prefix_size, own_size = size[batch.prefix], size[batch.own]
    length = prefix_size + own_size
    column = torch.arange(int(length.max()), device=length.device)[None, :]
    in_prefix = column < prefix_size[:, None]
    source = torch.where(
        in_prefix,
        start[batch.prefix][:, None] + column,
        start[batch.own][:, None] + column - prefix_size[:, None],
    )
    real = column < length[:, None]
    ids = batch.tokens[source.clamp(max=len(batch.tokens) - 1)]
    return PaddedRows(torch.where(real, ids, pad_id), real.long(), length - 1)
