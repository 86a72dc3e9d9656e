"""One micro-batch as tensors, always packed: each prompt once, no padding.

Legend: T tokens, S segments, R responses, J judgments, G comparisons of the micro-batch.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.token_store import TokenStore
from ...losses import Targets


@dataclass(frozen=True)
class Batch:
    """Packed comparisons.

    Attributes:
        tokens: [T] token ids, segment after segment.
        positions: [T] place of each token in its own sequence; a response continues its prefix.
        segments: [S + 1] offsets of the segments; each comparison is its shared prefix, then its responses.
        prefix: [R] segment of the prefix that a response continues.
        own: [R] segment of the response's own tokens, never empty.
        last: [R] index into `tokens` of the token that is pooled.
        targets: what was judged of the responses.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    prefix: Tensor
    own: Tensor
    last: Tensor
    targets: Targets

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return Batch(**moved)


def collate(store: TokenStore, chosen: np.ndarray, judgment_weights: np.ndarray) -> Batch:
    """The comparisons `chosen` of a store as one batch.

    Args:
        chosen: [G] comparison numbers, in the order they are to lie in. None of them makes a token without a response:
            a process that is short of work still takes part in each exchange of gradients, which are zero.
        judgment_weights: [all J of the store] effective weights, see `TokenStore.judgment_weights`.
    """
    if not len(chosen):
        return _nothing()
    counts = store.first_response[chosen + 1] - store.first_response[chosen]
    first_segment = store.first_response[chosen] + chosen
    sources = _runs(first_segment, counts + 1)
    sizes = store.segments[sources + 1] - store.segments[sources]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    group = np.repeat(np.arange(len(chosen)), counts)
    prefix = (np.cumsum(counts + 1) - (counts + 1))[group]
    own = np.arange(len(group)) + group + 1
    shift = np.zeros(len(sizes), dtype=np.int64)
    shift[own] = sizes[prefix]
    return Batch(
        tokens=torch.from_numpy(store.tokens[_runs(store.segments[sources], sizes)].astype(np.int64)),
        positions=torch.from_numpy(_runs(shift, sizes)),
        segments=torch.from_numpy(offsets),
        prefix=torch.from_numpy(prefix),
        own=torch.from_numpy(own),
        last=torch.from_numpy(offsets[own + 1] - 1),
        targets=_targets(store, chosen, counts, group, judgment_weights),
    )


def _nothing() -> Batch:
    none, some = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    return Batch(
        tokens=torch.zeros(1, dtype=torch.int64),
        positions=torch.zeros(1, dtype=torch.int64),
        segments=torch.tensor([0, 1]),
        prefix=none,
        own=none,
        last=none,
        targets=Targets(better=none, worse=none, probability=some, margin=some, weight=some, group=none, rank=some),
    )


def _targets(
    store: TokenStore, chosen: np.ndarray, counts: np.ndarray, group: np.ndarray, weights: np.ndarray
) -> Targets:
    judged = store.first_judgment[chosen + 1] - store.first_judgment[chosen]
    rows = _runs(store.first_judgment[chosen], judged)
    start = np.repeat(np.cumsum(counts) - counts, judged)
    return Targets(
        better=torch.from_numpy(start + store.better[rows]),
        worse=torch.from_numpy(start + store.worse[rows]),
        probability=torch.from_numpy(store.probability[rows]),
        margin=torch.from_numpy(store.margin[rows]),
        weight=torch.from_numpy(weights[rows]),
        group=torch.from_numpy(group),
        rank=torch.from_numpy(store.rank[_runs(store.first_response[chosen], counts)]),
    )


def _runs(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The integers start, start + 1, ..., of each run, one run after another."""
    ends = np.cumsum(sizes)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes - starts, sizes))


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
