"""The ways to run a packed row through a backbone: one attention each, behind one interface."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import flex, segments, varlen
from . import segments as blocks
from .batch import Batch
from .contract import Refused, Row


class Implementation(NamedTuple):
    """An attention that reads each prefix once.

    Attributes:
        attention: the name under which transformers knows it.
        attend: the function of that name, called by every layer.
        row: what attends to what in a batch, for attention computed in a dtype; handed to `attend` as `segments`.
        missing: why it cannot run on a device in a dtype, or ''.
        padded: the length to which it wants a row of so many tokens padded.
        compiles: whether the backbone around it can be compiled.
        drops: whether it can drop attention weights.
    """

    attention: str
    attend: Callable[..., tuple[Tensor, None]]
    row: Callable[[Batch, torch.dtype], Row]
    missing: Callable[[torch.device, torch.dtype], str] = lambda device, dtype: ""
    padded: Callable[[int], int] = lambda tokens: tokens
    compiles: bool = True
    drops: bool = False


IMPLEMENTATIONS = {
    # its spans are Python numbers, so that a compiled backbone would be compiled anew for every batch
    "segments": Implementation(segments.NAME, segments.attend, blocks.segments_of, compiles=False, drops=True),
    "flex": Implementation(flex.NAME, flex.attend, flex.flex_row_of, flex.missing, flex.padded),
    "varlen": Implementation(varlen.NAME, varlen.attend, varlen.sequences_of, varlen.missing),
}
"""`model.engine` -> how it runs; `plain` is none of them."""


def replace_attention(network: Any, engine: str, name: str) -> None:
    """Have every attention layer of a network run the function registered under `name`, one of these or another.

    Raises:
        Refused: its attention does not go through transformers' interface.
    """
    from transformers import AttentionInterface

    if network.config._attn_implementation == name:
        return
    if not network._can_set_attn_implementation():
        raise Refused("has attention outside of transformers' interface", engine)
    for implementation in IMPLEMENTATIONS.values():
        AttentionInterface.register(implementation.attention, implementation.attend)
    network.set_attn_implementation(name)
