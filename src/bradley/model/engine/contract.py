"""What every attention over a packed row has in common: what it does not express is refused, never ignored."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from ...errors import UserError

HARMLESS = frozenset({"position_ids", "cache_position"})
"""Keywords that models hand down to every attention function and that change nothing in these."""
KNOWN_RULES = {
    "softcap": "caps its attention scores (softcap)",
    "s_aux": "has attention sinks (s_aux)",
    "position_bias": "adds a bias by position to its attention scores (position_bias)",
}
"""Keywords that would change the rule -> what a model does that passes them."""


class Refused(UserError):
    """A model that cannot run on an engine, or not here."""

    def __init__(self, reason: str, engine: str = "segments") -> None:
        others = "plain" if engine == "segments" else "segments or plain"
        super().__init__(f"model.engine = {engine}: the model {reason}", f"use --model.engine {others}")
        self.reason = reason


class Row(Protocol):
    """How a packed row is attended to, worked out once for all layers."""

    @property
    def longest(self) -> int:
        """Tokens of the longest response, its prefix included."""


def refuse(
    engine: str,
    row: Row | None,
    module: nn.Module,
    mask: Tensor | None,
    is_causal: bool | None,
    window: int | None,
    others: dict[str, Any],
) -> None:
    """Raise `Refused` for whatever one layer asks of its attention that a packed row does not say.

    Args:
        row: what attends to what; None where the model did not hand it down to its attention.
        mask, is_causal, window: what transformers passes to every attention function.
        others: every further keyword that the layer passes.
    """
    if row is None:
        raise Refused("does not hand the segments down to its attention", engine)
    if mask is not None:
        raise Refused("makes an attention mask of its own", engine)
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise Refused("attends in both directions", engine)
    if window is not None and window < row.longest:
        raise Refused(f"attends to a window of {window} tokens, shorter than a response of {row.longest}", engine)
    for name, given in others.items():
        if name not in HARMLESS and given is not None and given is not False:
            raise Refused(KNOWN_RULES.get(name, f"gives its attention a setting unknown here ({name})"), engine)


def attention(engine: str, compute: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, None]]:
    """The attention function of one engine, as transformers calls it for each layer.

    Args:
        compute: (query [1, N, T, D], key and value [1, M, T, D], row, scaling, dropout) to [1, T, N, D]; called once
            nothing is left that a packed row does not say.
    """

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        segments: Row | None = None,
        scaling: float | None = None,
        dropout: float = 0.0,
        sliding_window: int | None = None,
        is_causal: bool | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        refuse(engine, segments, module, attention_mask, is_causal, sliding_window, others)
        return compute(query, key, value, segments, scaling, dropout), None

    return attend
