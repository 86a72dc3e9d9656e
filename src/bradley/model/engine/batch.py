"""One micro-batch as tensors, always packed: each shared prompt once, no padding.

Legend: T tokens, S segments, R responses, J judgments, G comparisons of the micro-batch, L tokens of a padded row.
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
    """Packed comparisons of a micro-batch.

    Attributes:
        tokens: [T] token ids, segment after segment.
        positions: [T] place of each token in the text of prefix and response; a response continues the prefix.
        segments: [S + 1] offsets of the segments; each shared prefix precedes its responses.
        prefix: [R] number of the prefix segment of each response.
        own: [R] number of the segment with a response's own tokens, never empty. The own tokens of the responses of a
            prefix follow the prefix; responses are in the order of the store, which may be another.
        last: [R] index into `tokens` of the pooled token.
        targets: judgments of the responses.
        host: the batch on the CPU, from which `to` has copied; None for a batch never copied.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    prefix: Tensor
    own: Tensor
    last: Tensor
    targets: Targets
    host: "Batch | None" = None

    @property
    def on_host(self) -> "Batch":
        """The batch to read lengths and offsets from: a number read from a GPU makes the host wait for all work."""
        return self.host or self

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch on another device."""
        targets = Targets(**{f.name: sent(getattr(self.targets, f.name), device) for f in fields(self.targets)})
        own: dict[str, Any] = {
            f.name: sent(getattr(self, f.name), device) for f in fields(self) if f.name not in ("targets", "host")
        }
        return Batch(**own, targets=targets, host=self.on_host)


def collate(store: TokenStore, chosen: np.ndarray, judgment_weights: np.ndarray) -> Batch:
    """Build a batch from the comparisons `chosen` of a store.

    Args:
        chosen: [G] comparison numbers, in the order of the batch. No numbers give one token without a response: a
            process without work still takes part in each exchange of gradients, with zeros.
        judgment_weights: effective weights of all judgments of the store, see `TokenStore.judgment_weights`.
    """
    if not len(chosen):
        return _nothing()
    counts = store.first_response[chosen + 1] - store.first_response[chosen]
    responses = _runs(store.first_response[chosen], counts)
    # A comparison keeps the run of its segments, in the order of the store.
    segments = store.first_segment[chosen + 1] - store.first_segment[chosen]
    sources = _runs(store.first_segment[chosen], segments)
    sizes = store.segments[sources + 1] - store.segments[sources]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    group = np.repeat(np.arange(len(chosen)), counts)
    # The store counts segments within their comparison; the batch counts through.
    first = (np.cumsum(segments) - segments)[group]
    prefix, own = first + store.prefix[responses], first + store.own[responses]
    # A response takes the positions of a row of its own. Without the shift its positions would restart at 0.
    shift = np.zeros(len(sizes), dtype=np.int64)
    shift[own] = sizes[prefix]
    return Batch(
        # Copied out of the memory-mapped store: uint32 there, int64 for the embedding.
        tokens=torch.from_numpy(store.tokens[_runs(store.segments[sources], sizes)].astype(np.int64)),
        positions=torch.from_numpy(_runs(shift, sizes)),
        segments=torch.from_numpy(offsets),
        prefix=torch.from_numpy(prefix),
        own=torch.from_numpy(own),
        # Pooling by stored offset: pad and end token may share an id, and a search by id would pool another token.
        last=torch.from_numpy(offsets[own + 1] - 1),
        targets=_targets(store, chosen, counts, responses, group, judgment_weights),
    )


def _nothing() -> Batch:
    """Build a batch of one token without a response."""
    no_ids, no_numbers = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    return Batch(
        tokens=torch.zeros(1, dtype=torch.int64),
        positions=torch.zeros(1, dtype=torch.int64),
        segments=torch.tensor([0, 1]),
        prefix=no_ids,
        own=no_ids,
        last=no_ids,
        targets=Targets(
            better=no_ids,
            worse=no_ids,
            probability=no_numbers,
            margin=no_numbers,
            weight=no_numbers,
            group=no_ids,
            rank=no_numbers,
        ),
    )


def _targets(
    store: TokenStore,
    chosen: np.ndarray,
    counts: np.ndarray,
    responses: np.ndarray,
    group: np.ndarray,
    weights: np.ndarray,
) -> Targets:
    """Build the targets of the chosen comparisons, with responses numbered within the batch."""
    judged = store.first_judgment[chosen + 1] - store.first_judgment[chosen]
    rows = _runs(store.first_judgment[chosen], judged)
    # The store counts responses within their comparison; losses index the scores of the whole batch.
    start = np.repeat(np.cumsum(counts) - counts, judged)
    return Targets(
        better=torch.from_numpy(start + store.better[rows]),
        worse=torch.from_numpy(start + store.worse[rows]),
        probability=torch.from_numpy(store.probability[rows]),
        margin=torch.from_numpy(store.margin[rows]),
        weight=torch.from_numpy(weights[rows]),
        group=torch.from_numpy(group),
        rank=torch.from_numpy(store.rank[responses]),
    )


def _runs(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the integers start, start + 1, ... of each run, one run after another."""
    # Run k fills the places from ends[k] - sizes[k]; the shift from there to its start is the same for the whole run.
    ends = np.cumsum(sizes)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes - starts, sizes))


class PaddedRows(NamedTuple):
    """Each response as a row of its own, padded on the right.

    Attributes:
        input_ids: [R, L] with `pad_id` beyond the end.
        attention_mask: [R, L] int64, 1 on tokens.
        last: [R] column of the pooled token, from the stored length. A search by token id would fail, because any id
            may occur in a text.
    """

    input_ids: Tensor
    attention_mask: Tensor
    last: Tensor


def padded_rows(batch: Batch, pad_id: int) -> PaddedRows:
    """Unpack a batch: every response gets the prefix back. A batch without responses becomes a row without pooling."""
    # Without a row the backbone would not run, and this process would have no gradients to exchange.
    if not len(batch.own):
        return PaddedRows(batch.tokens[None, :1], torch.ones_like(batch.tokens[None, :1]), batch.last)
    start = batch.segments[:-1]
    size = batch.segments[1:] - start
    prefix_size, own_size = size[batch.prefix], size[batch.own]
    length = prefix_size + own_size
    column = torch.arange(longest_of(batch), device=length.device)[None, :]
    in_prefix = column < prefix_size[:, None]
    # Right padding keeps the positions of tokens: left padding would shift the tables of GPT-2 and others.
    source = torch.where(
        in_prefix,
        start[batch.prefix][:, None] + column,
        start[batch.own][:, None] + column - prefix_size[:, None],
    )
    real = column < length[:, None]
    # Columns beyond the end of a row may point past the batch; clamped reads are replaced by `pad_id`.
    ids = batch.tokens[source.clamp(max=len(batch.tokens) - 1)]
    return PaddedRows(torch.where(real, ids, pad_id), real.long(), length - 1)


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor to a device, without waiting for the work given to the device before."""
    kind = torch.device(device).type
    # A copy from pageable memory waits for the device, a copy from pinned memory need not.
    if kind == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    # Towards the CPU the host has to wait: the values may be read at once.
    return tensor.to(device, non_blocking=kind != "cpu")


def longest_of(batch: Batch) -> int:
    """Return the tokens of the longest response of a batch, prefix included, without waiting for a device."""
    return int(batch.on_host.positions.max()) + 1
