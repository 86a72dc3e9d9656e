"""The contract of every attention over a packed row: a request beyond the row's rule is refused, never ignored.

transformers passes the requests of a layer as keywords, and new releases add keywords. An ignored keyword would change
scores without an error.

Legend: T tokens of the row, N attention heads, M key and value heads, D head size.
"""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from ...errors import UserError

# Positions enter queries and keys before attention, and packed rows use no cache.
HARMLESS = frozenset({"position_ids", "cache_position"})
"""Keywords passed by models to every attention function, without effect on attention over a packed row."""
KNOWN_RULES = {
    "softcap": "caps its attention scores (softcap)",
    "s_aux": "has attention sinks (s_aux)",
    "position_bias": "adds a bias by position to its attention scores (position_bias)",
}
"""Keywords changing the attention rule -> the reason for a refusal, with the model as the subject."""


class Refused(UserError):
    """Error for a model unable to run on an engine, in general or on this device."""

    def __init__(self, reason: str, engine: str = "segments") -> None:
        others = "plain" if engine == "segments" else "segments or plain"
        super().__init__(f"model.engine = {engine}: the model {reason}", f"use --model.engine {others}")
        # `choose_engine` joins the bare reasons of several engines into one line.
        self.reason = reason


class Row(Protocol):
    """Attention pattern of a packed row, computed once per micro-batch and shared by all layers."""

    @property
    def longest(self) -> int:
        """Tokens of the longest response, prefix included."""


def attention(engine: str, compute: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, None]]:
    """Build the attention function of an engine, with the signature called by every layer of a transformers model.

    Args:
        engine: key of `IMPLEMENTATIONS`, named in errors.
        compute: (query [1, N, T, D], key and value [1, M, T, D], row, scaling, dropout) to [1, T, N, D]. Called only if
            `refuse` finds no unknown request.
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
        # Refuse in every layer, not once per model: layers of one model may differ, as with windows in some of them.
        refuse(engine, segments, module, attention_mask, is_causal, sliding_window, others)
        # transformers expects attention weights as the second value; fused kernels never form this matrix.
        return compute(query, key, value, segments, scaling, dropout), None

    return attend


def refuse(
    engine: str,
    row: Row | None,
    module: nn.Module,
    mask: Tensor | None,
    is_causal: bool | None,
    window: int | None,
    others: dict[str, Any],
) -> None:
    """Raise `Refused` if a layer requests an attention rule unknown to packed rows.

    Args:
        engine: key of `IMPLEMENTATIONS`, named in the error.
        row: attention pattern; None if the model did not pass the keyword `segments` down to its attention.
        mask, is_causal, window: arguments of every attention function of transformers.
        others: all further keywords of the layer.
    """
    # Models with a fixed list of keywords drop `segments`. Without the pattern, responses would attend to each other.
    if row is None:
        raise Refused("does not hand the segments down to its attention", engine)
    # A mask from the model takes the row for one sequence, and would replace the rule of prefix and response.
    if mask is not None:
        raise Refused("makes an attention mask of its own", engine)
    # The order of transformers' own attention: the keyword, then the flag of the module, else causal.
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise Refused("attends in both directions", engine)
    # A window as long as the longest response hides no key. The check is per batch: lengths are unknown at the start.
    if window is not None and window < row.longest:
        raise Refused(f"attends to a window of {window} tokens, shorter than a response of {row.longest}", engine)
    # Fail closed: an unknown keyword of a later release may change scores. None and False mean that a rule is off.
    for name, given in others.items():
        if name not in HARMLESS and given is not None and given is not False:
            raise Refused(KNOWN_RULES.get(name, f"gives its attention a setting unknown here ({name})"), engine)
