"""The registry of engines for packed rows: one attention implementation each, behind one interface."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import flex, segments, varlen
from . import segments as blocks
from .batch import Batch
from .contract import Refused, Row


class Implementation(NamedTuple):
    """An attention implementation, computing each shared prefix once.

    Attributes:
        attention: name of the implementation in transformers' attention interface.
        attend: function registered under this name, called by every layer.
        row: (batch, dtype of attention) to the attention pattern, passed to `attend` as `segments`.
        missing: (device, dtype) to the reason against running there, or ''.
        padded: tokens of a row to the length after padding.
        compiles: True if the backbone around the attention can be compiled.
        drops: True if the attention can drop weights.
    """

    attention: str
    attend: Callable[..., tuple[Tensor, None]]
    row: Callable[[Batch, torch.dtype], Row]
    missing: Callable[[torch.device, torch.dtype], str] = lambda device, dtype: ""
    padded: Callable[[int], int] = lambda tokens: tokens
    compiles: bool = True
    drops: bool = False


IMPLEMENTATIONS = {
    # `segments` slices by Python numbers: torch.compile would compile the backbone anew for every batch.
    # The CUDA kernels cannot drop attention weights; `segments` can, through PyTorch's public function.
    "segments": Implementation(segments.NAME, segments.attend, blocks.segments_of, compiles=False, drops=True),
    "flex": Implementation(flex.NAME, flex.attend, flex.flex_row_of, flex.missing, flex.padded),
    "varlen": Implementation(varlen.NAME, varlen.attend, varlen.sequences_of, varlen.missing),
}
"""`model.engine` -> implementation. `plain` has no entry: padded rows keep the attention of transformers."""


def replace_attention(network: Any, engine: str, name: str) -> None:
    """Make every attention layer of a network call the function registered under `name`.

    Args:
        engine: named in the error.
        name: an attention of `IMPLEMENTATIONS`, or of transformers, such as `sdpa`.

    Raises:
        Refused: the attention of the network bypasses transformers' interface.
    """
    from transformers import AttentionInterface

    # Models outside of the interface must still reach `plain`, their own attention, without an error.
    if network.config._attn_implementation == name:
        return
    if not network._can_set_attn_implementation():
        raise Refused("has attention outside of transformers' interface", engine)
    # Registration is global and idempotent. It happens here because importing transformers takes seconds.
    for implementation in IMPLEMENTATIONS.values():
        AttentionInterface.register(implementation.attention, implementation.attend)
    network.set_attn_implementation(name)
