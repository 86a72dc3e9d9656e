"""Token limits: what is cut or dropped where a comparison is too long, and the ledger that counts it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..config import Render
from ..errors import DataError
from ..records import Candidates, Comparison, Judgment
from .render import Rendered


@dataclass
class Ledger:
    """What rendering and its limits did to comparisons, and what that cost, by cause.

    `control_tokens`: a message writes out special tokens, which were read as plain text; nothing is lost.
    `short_response`: dropped from training because a response has fewer tokens than `min_response_tokens`.
    `over_long`: dropped from training by `over_long = "drop"`. `response_over_limit`: dropped from training because a
    response alone exceeds `max_tokens`. `prompt_truncated`, `response_truncated`: tokens cut, the comparison stays.
    `identical_ids`: judgments between responses that the model cannot tell apart once rendered; the comparison leaves
    training where no judgment is left. `no_tokens`: dropped from training because a response renders to nothing.
    """

    causes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, cause: str, comparison: Comparison, tokens: int, dropped: bool) -> None:
        """Count one comparison and `tokens` token ids lost to `cause`."""
        row = self.causes.setdefault(cause, {"comparisons": 0, "dropped": 0, "tokens": 0, "example": comparison.id})
        row["comparisons"] += 1
        row["dropped"] += int(dropped)
        row["tokens"] += tokens

    @property
    def dropped(self) -> int:
        """Comparisons that left."""
        return sum(int(row["dropped"]) for row in self.causes.values())

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Plain data, as `data_report.json` holds it."""
        return {cause: dict(row) for cause, row in self.causes.items()}

    @classmethod
    def from_json(cls, causes: dict[str, dict[str, Any]]) -> "Ledger":
        """The inverse of `to_json`."""
        return cls(causes)


class Fitted(NamedTuple):
    """A comparison within the limits.

    Attributes:
        ids: K full renderings.
        judgments: those whose two responses still differ (all of them in evaluation).
        response_tokens: K token counts of the responses alone, before any cut.
        truncated: K flags, whether tokens were cut from the front.
    """

    ids: list[list[int]]
    judgments: tuple[Judgment, ...]
    response_tokens: list[int]
    truncated: list[bool]


def truncate(
    comparison: Comparison, rendered: Rendered, settings: Render, training: bool, ledger: Ledger
) -> Fitted | None:
    """Bring one comparison within the limits, or drop it from training (None), and count what that cost.

    The same prompt tokens go from every response's rendering, so that the prompt stays one prompt; of `Candidates` each
    response is fitted by itself, so that no score depends on what else is scored. The end of a response is never
    touched and no end token is added to a cut one: a model is not told that half an answer is whole.

    Raises:
        DataError: an evaluation row whose response alone exceeds the limit, unless `over_long = "truncate_response"`,
            or renders to no token at all.
    """
    if isinstance(comparison, Candidates) and len(rendered.ids) > 1:
        return _fit_each(comparison, rendered, settings, ledger)
    if rendered.control_tokens:
        ledger.add("control_tokens", comparison, 0, dropped=False)
    if not all(rendered.ids):
        _no_tokens(comparison, training, ledger)
        return None
    lengths = [len(row) - rendered.prompt_tokens for row in rendered.ids]
    if training and min(lengths) < settings.min_response_tokens:
        ledger.add("short_response", comparison, sum(map(len, rendered.ids)), dropped=True)
        return None
    excess = excess_tokens(rendered, settings)
    if excess > 0 and training and settings.over_long == "drop":
        ledger.add("over_long", comparison, sum(map(len, rendered.ids)), dropped=True)
        return None
    start = rendered.protected
    cut = min(max(excess, 0), rendered.prompt_tokens - start)
    over = [max(0, len(row) - cut - settings.max_tokens) for row in rendered.ids]
    if any(over) and settings.over_long != "truncate_response":
        _response_too_long(comparison, rendered, settings, training, ledger)
        return None
    if cut:
        ledger.add("prompt_truncated", comparison, cut * len(over), dropped=False)
    if any(over):
        ledger.add("response_truncated", comparison, sum(over), dropped=False)
    ids = rendered.ids
    if cut or any(over):
        ids = [row[:start] + row[start + cut + more :] for row, more in zip(ids, over, strict=True)]
    judgments = _distinguishable(comparison, ids, ledger) if training else comparison.judgments
    whole = bool(judgments) or isinstance(comparison, Candidates)
    return Fitted(ids, judgments, lengths, [cut + more > 0 for more in over]) if whole else None


def excess_tokens(rendered: Rendered, settings: Render) -> int:
    """Tokens above the limits, those of the whole and those of the prompt: 0 or less where a comparison keeps them."""
    excess = max(map(len, rendered.ids)) - settings.max_tokens
    if settings.max_prompt_tokens:
        excess = max(excess, rendered.prompt_tokens - settings.max_prompt_tokens)
    return excess


def _fit_each(candidates: Candidates, rendered: Rendered, settings: Render, ledger: Ledger) -> Fitted:
    alone = [truncate(candidates, rendered._replace(ids=[row]), settings, False, ledger) for row in rendered.ids]
    each = [fitted for fitted in alone if fitted is not None]  # which it never is outside of training
    tokens = [fitted.response_tokens[0] for fitted in each]
    return Fitted([fitted.ids[0] for fitted in each], (), tokens, [fitted.truncated[0] for fitted in each])


def _no_tokens(comparison: Comparison, training: bool, ledger: Ledger) -> None:
    if not training:
        raise DataError(
            f"evaluation comparison {comparison.id}: a response renders to no token, so there is nothing to score",
            "use --render.eos always, or a chat template",
        )
    ledger.add("no_tokens", comparison, 0, dropped=True)


def _response_too_long(
    comparison: Comparison, rendered: Rendered, settings: Render, training: bool, ledger: Ledger
) -> None:
    longest = max(map(len, rendered.ids)) - rendered.prompt_tokens + rendered.protected
    if training:
        ledger.add("response_over_limit", comparison, sum(map(len, rendered.ids)), dropped=True)
        return
    raise DataError(
        f"evaluation comparison {comparison.id}: a response of {longest} tokens exceeds render.max_tokens = "
        f"{settings.max_tokens}, and evaluation rows are never dropped",
        'raise render.max_tokens, or cut the oldest response tokens with render.over_long = "truncate_response"',
    )


def _distinguishable(comparison: Comparison, ids: list[list[int]], ledger: Ledger) -> tuple[Judgment, ...]:
    judgments = tuple(j for j in comparison.judgments if ids[j.better] != ids[j.worse])
    if len(judgments) < len(comparison.judgments):
        ledger.add("identical_ids", comparison, 0, dropped=not judgments)
    return judgments
