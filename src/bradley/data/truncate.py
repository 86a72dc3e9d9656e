"""Apply token limits: cut or drop comparisons above a limit, and count every loss in a ledger."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..config import Data, Render
from ..errors import DataError
from ..records import Candidates, Comparison, Judgment
from .dropped import UnreadCounts, describe_unread, glued, over_limits
from .render import REFUSES, Outcome, Rendered
from .rows import on_one_line

MOST_REASONS = 20
"""Most reasons of refusals counted apart: a template may write words of the row into its reason."""
COUNTS = ("comparisons", "dropped", "tokens")
"""Counts of a cause."""
CAUSES = {"glued": "glued: prompt and response meet without white space, as raw writes plain texts"}
"""Words for causes whose name says too little."""
KINDS = ("text", "ids")
"""Roles that name the kind of a comparison; any other comparison is of messages."""


@dataclass
class Ledger:
    """Effects of rendering and limits on comparisons, by cause, with the tokens lost.

    Causes:
        control_tokens: a message spells special tokens, read as plain text; nothing is lost.
        no_tokens: dropped from training, because a response renders to nothing.
        short_response: dropped from training, because a response has fewer tokens than `min_response_tokens`.
        over_long: dropped from training by `over_long = "drop"`.
        response_over_limit: dropped from training, because a response alone exceeds `max_tokens`.
        prompt_truncated, response_truncated: tokens cut; the comparison stays.
        refused: dropped by `refused = "drop"`, because the comparison cannot be rendered; `reasons` counts each reason.
        glued: `raw` writes a plain prompt and a response without white space in between; nothing is lost.
        identical_ids: judgments between responses with equal ids after rendering. Without any other judgment, the
            comparison leaves training.

    Attributes:
        causes: by cause, {"comparisons", "dropped", "tokens", "example": id}.
        unread: parts dropped by the chat template.
        kinds: comparisons of each kind: `text`, `messages`, `ids`.
        stops: by reason, {"comparisons", "error": the first} of the comparisons that stop the run.
    """

    causes: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Two ledgers with the same losses are equal: rows fitted without a renderer have neither parts nor kinds.
    unread: UnreadCounts = field(default_factory=UnreadCounts, compare=False)
    kinds: Counter[str] = field(default_factory=Counter, compare=False)
    stops: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, cause: str, comparison: Comparison, tokens: int, dropped: bool) -> dict[str, Any]:
        """Count a comparison, and `tokens` token ids lost to `cause`; return the counts of the cause."""
        row = self.causes.setdefault(cause, {"comparisons": 0, "dropped": 0, "tokens": 0, "example": comparison.id})
        row["comparisons"] += 1
        row["dropped"] += int(dropped)
        row["tokens"] += tokens
        return row

    def merge(self, later: "Ledger") -> None:
        """Add the losses of later comparisons."""
        for cause, row in later.causes.items():
            counts = self.causes.setdefault(cause, {**dict.fromkeys(COUNTS, 0), "example": row["example"]})
            for count in COUNTS:
                counts[count] += row[count]
            for reason, number in row.get("reasons", {}).items():
                reasons = counts.setdefault("reasons", {})
                name = _named(reason, reasons)
                reasons[name] = reasons.get(name, 0) + number
        for reason, row in later.stops.items():
            stop = self.stops.setdefault(_named(reason, self.stops), {"comparisons": 0, "error": row["error"]})
            stop["comparisons"] += row["comparisons"]
        self.unread.merge(later.unread)
        self.kinds += later.kinds

    def stop(self, reason: str, error: DataError) -> None:
        """Count a comparison that stops the run, with the first error of each reason."""
        row = self.stops.setdefault(reason, {"comparisons": 0, "error": error})
        row["comparisons"] += 1

    def check(self, total: int, training: bool) -> None:
        """Raise `DataError` for the comparisons that stop the run: the first error, with the count of each reason."""
        if not self.stops:
            return
        counts = {reason: row["comparisons"] for reason, row in self.stops.items()}
        error: DataError = next(iter(self.stops.values()))["error"]
        if sum(counts.values()) == 1:
            raise error
        reasons = "; ".join(f"{reason} {count:,}" for reason, count in counts.items())
        # The message of the first error may hold a single reason already.
        reasons = "" if len(counts) == 1 and next(iter(counts)) in error.message else reasons
        what = "training" if training else "evaluation"
        found = f"{sum(counts.values()):,} of {total:,} {what} comparisons cannot be used"
        found += f" ({reasons})" if reasons else ""
        raise DataError(f"{error.message}; {found}", error.hint)

    def check_left(self, total: int) -> None:
        """Raise `DataError` if none of `total` comparisons is left, with the causes."""
        if self.dropped == total:
            causes = ", ".join(f"{row['dropped']} {cause}" for cause, row in self.causes.items())
            raise DataError(
                f"no comparison is left after rendering: {causes}", "raise render.max_tokens, or look at the data"
            )

    @property
    def dropped(self) -> int:
        """Number of dropped comparisons."""
        return sum(int(row["dropped"]) for row in self.causes.values())

    def lost(self, decided: Collection[str] = ()) -> dict[str, int]:
        """Return the number of comparisons dropped by each cause, but for causes that the user decided about."""
        return {cause: row["dropped"] for cause, row in self.causes.items() if row["dropped"] and cause not in decided}

    @property
    def kind(self) -> str:
        """Kind of the comparisons: `text`, `messages`, `ids`, or several of these joined by " and "."""
        return " and ".join(sorted(self.kinds))

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the causes as plain data, as stored in `data_report.json`."""
        return {cause: dict(row) for cause, row in self.causes.items()}

    def to_note(self) -> dict[str, Any]:
        """Return everything but `stops` as plain data."""
        return {"causes": self.to_json(), "unread": self.unread.to_json(), "kinds": dict(self.kinds)}

    @classmethod
    def from_note(cls, note: dict[str, Any]) -> "Ledger":
        """Invert `to_note`."""
        return cls(note["causes"], UnreadCounts(**note["unread"]), Counter(note["kinds"]))


class Cut(NamedTuple):
    """Tokens removed from a conversation to fit the limits.

    Attributes:
        start: place of the first removed token, behind the protected tokens.
        prompt, response: numbers of tokens removed from the prompt, and from the response behind the prompt.
    """

    start: int
    prompt: int
    response: int


class Fitted(NamedTuple):
    """A comparison within the limits.

    Attributes:
        ids: K full renderings.
        judgments: judgments between responses with different ids; in evaluation all judgments.
        response_tokens: K token counts of the responses alone, before any cut.
        removed: K numbers of tokens cut; renderings with equal numbers keep the same part of the prompt.
    """

    ids: list[list[int]]
    judgments: tuple[Judgment, ...]
    response_tokens: list[int]
    removed: list[int]


def kind_of(comparison: Comparison | Candidates) -> str:
    """Return the kind of a comparison or of candidates: `text`, `ids` or `messages`."""
    role = comparison.responses[0].messages[0].role
    return role if role in KINDS else "messages"


def describe_ledger(split: str, ledger: Ledger) -> list[str]:
    """Describe what rendering and limits did to a split: a line for each cause, and for each part that is not read."""
    lines = []
    for cause, row in ledger.causes.items():
        lost = {"dropped": row["dropped"], "tokens lost": row["tokens"]}
        costs = [f"{count:,} {what}" for what, count in lost.items() if count]
        reasons = [f"{count:,} {on_one_line(reason)}" for reason, count in row.get("reasons", {}).items()]
        words = CAUSES.get(cause, cause)
        lines.append(", ".join([f"limits       {row['comparisons']:,} {split} comparisons {words}", *costs, *reasons]))
    return lines + describe_unread(split, ledger.unread)


def decided_losses(render: Render, data: Data) -> set[str]:
    """Return the causes of loss in rendering that a setting of the user decides about.

    A policy left at its default is no decision: a limit of tokens far too low would then cost half the data unseen.
    """
    named = {"response_over_limit"} if "over_long" in render.model_fields_set else set()
    named |= {"identical_ids"} if "identical" in data.model_fields_set else set()
    return {"over_long", "short_response", "refused", *named}


def losses_above(train: Ledger, given: int, before: float, most: float, decided: Collection[str]) -> str:
    """Describe the training comparisons that rendering drops against the user's wish, if above the allowed share.

    Args:
        train: ledger of the training split.
        given: comparisons given to rendering.
        before: share of rows lost in loading.
        most: `data.max_rejected_share`.
        decided: causes that do not count, see `decided_losses`.
    """
    lost = train.lost(decided)
    dropped = sum(lost.values())
    # Loading has checked its own losses; without a loss in rendering there is nothing new to refuse.
    if not dropped or before + dropped / given <= most:
        return ""
    causes = ", ".join(f"{count} {cause}" for cause, count in lost.items())
    return (
        f"rendering would drop {dropped} of {given} training comparisons ({causes}); with the {before:.1%} of "
        f"rows lost before that is above data.max_rejected_share = {most}"
    )


def limits_of(split: str, ledger: Ledger, settings: Render) -> dict[str, Any]:
    """Collect the effects of rendering and limits on a split.

    Returns:
        {"ledger", "unread", "kinds": as in `data_report.json`, "lines": for the screen, "stops": reasons for which a
        training run would stop}.
    """
    total = sum(ledger.kinds.values())
    stops = over_limits(settings.max_unread, ledger.unread)
    try:
        ledger.check(total, training=split == "train")
        ledger.check_left(total)
    except DataError as error:
        stops.append(error.message)
    return {
        **{"ledger": ledger.to_json(), "unread": ledger.unread.to_json(), "kinds": dict(ledger.kinds)},
        "lines": describe_ledger(split, ledger),
        "stops": stops,
    }


def fit(comparison: Comparison, outcome: Outcome, settings: Render, training: bool, ledger: Ledger) -> Fitted | None:
    """Count what rendering did to a comparison, then bring the comparison within the limits, see `truncate`.

    A comparison that cannot be rendered is dropped (None), or stops the run by `Ledger.check`. So does an evaluation
    comparison without a fit.
    """
    ledger.kinds[kind_of(comparison)] += 1
    if outcome.rendered is None:
        _refused(comparison, outcome.refused, settings, ledger)
        return None
    ledger.unread.add(comparison, outcome.parts)
    if settings.template == "raw" and glued(comparison):
        ledger.add("glued", comparison, 0, dropped=False)
    try:
        return truncate(comparison, outcome.rendered, settings, training, ledger)
    except DataError as error:
        ledger.stop("response_over_limit" if all(outcome.rendered.ids) else "no_tokens", error)
        return None


def truncate(
    comparison: Comparison, rendered: Rendered, settings: Render, training: bool, ledger: Ledger
) -> Fitted | None:
    """Bring a comparison within the limits, or drop the comparison from training (None), and count the loss.

    Each conversation, a prompt with a single response, is cut by `cut_of`, and no rival changes the cut. The end of a
    response is never touched, and a cut response gets no end token: a model must not take half an answer for a whole
    answer.

    Args:
        comparison: the comparison.
        rendered: ids of the comparison.
        settings: the limits.
        training: True if the comparison may be dropped.
        ledger: counts, updated in place.

    Raises:
        DataError: an evaluation row has a response above the limit without `over_long = "truncate_response"`, or a
            response that renders to no token.
    """
    if rendered.control_tokens:
        ledger.add("control_tokens", comparison, 0, dropped=False)
    if not all(rendered.ids):
        _no_tokens(comparison, training, ledger)
        return None
    sizes = [(len(row), prompt) for row, prompt in zip(rendered.ids, rendered.prompt_tokens, strict=True)]
    lengths = [size - prompt for size, prompt in sizes]
    if training and min(lengths) < settings.min_response_tokens:
        ledger.add("short_response", comparison, sum(map(len, rendered.ids)), dropped=True)
        return None
    ids, removed = rendered.ids, [0] * len(sizes)
    if any(excess_tokens(*size, settings) > 0 for size in sizes):
        if training and settings.over_long == "drop":
            ledger.add("over_long", comparison, sum(map(len, rendered.ids)), dropped=True)
            return None
        cuts = [cut_of(*size, rendered.protected, settings) for size in sizes]
        if any(cut.response for cut in cuts) and settings.over_long != "truncate_response":
            _response_too_long(comparison, rendered, settings, training, ledger)
            return None
        ids, removed = _shortened(comparison, rendered.ids, cuts, ledger)
    # Two responses with equal ids have equal scores: such a judgment gives no gradient, but adds to the loss.
    judgments = _distinguishable(comparison, ids, ledger) if training else comparison.judgments
    whole = bool(judgments) or isinstance(comparison, Candidates)
    return Fitted(ids, judgments, lengths, removed) if whole else None


def _shortened(
    comparison: Comparison, ids: list[list[int]], cuts: Sequence[Cut], ledger: Ledger
) -> tuple[list[list[int]], list[int]]:
    """Apply the cuts of a comparison and count the lost tokens; return the ids, and the tokens removed from each."""
    for cause, tokens in (
        ("prompt_truncated", sum(cut.prompt for cut in cuts)),
        ("response_truncated", sum(cut.response for cut in cuts)),
    ):
        if tokens:
            ledger.add(cause, comparison, tokens, dropped=False)
    removed = [cut.prompt + cut.response for cut in cuts]
    return [
        row[: cut.start] + row[cut.start + more :] for row, cut, more in zip(ids, cuts, removed, strict=True)
    ], removed


def cut_of(length: int, prompt_tokens: int, protected: int, settings: Render) -> Cut:
    """Compute the cut of a conversation from the lengths of the conversation and the limits alone.

    Args:
        length: tokens of prompt and response.
        prompt_tokens: tokens of the prompt among these.
        protected: leading tokens of the prompt that stay.
        settings: the limits.
    """
    start = min(protected, prompt_tokens)
    # The prompt loses its oldest tokens first, after BOS: the last turns matter most for judging a response.
    prompt = min(max(excess_tokens(length, prompt_tokens, settings), 0), prompt_tokens - start)
    return Cut(start, prompt, max(0, length - prompt - settings.max_tokens))


def excess_tokens(length: int, prompt_tokens: int, settings: Render) -> int:
    """Count tokens of a conversation above the limits of the whole and of the prompt; 0 or less within the limits."""
    excess = length - settings.max_tokens
    if settings.max_prompt_tokens:
        excess = max(excess, prompt_tokens - settings.max_prompt_tokens)
    return excess


def _refused(comparison: Comparison, error: DataError | None, settings: Render, ledger: Ledger) -> None:
    """Count a comparison that cannot be rendered, by reason."""
    assert error is not None
    reason = error.message.removeprefix(f"comparison {comparison.id}: ")
    if reason.startswith(REFUSES):
        # The roles before the colon differ from row to row.
        reason = reason.partition(": ")[2]
    if settings.refused == "error":
        hint = f"{error.hint}; or leave such rows out: --render.refused drop"
        ledger.stop(_named(reason, ledger.stops), DataError(error.message, hint))
        return
    reasons = ledger.add("refused", comparison, 0, dropped=True).setdefault("reasons", {})
    name = _named(reason, reasons)
    reasons[name] = reasons.get(name, 0) + 1


def _named(reason: str, known: Collection[str]) -> str:
    """Return a reason, or a common name for all reasons beyond the first `MOST_REASONS`."""
    return reason if reason in known or len(known) < MOST_REASONS else "other reasons"


def _no_tokens(comparison: Comparison, training: bool, ledger: Ledger) -> None:
    """Count a response without tokens in training; raise `DataError` in evaluation."""
    if not training:
        raise DataError(
            f"evaluation comparison {comparison.id}: a response renders to no token, so there is nothing to score",
            "use --render.eos always, or a chat template",
        )
    ledger.add("no_tokens", comparison, 0, dropped=True)


def _response_too_long(
    comparison: Comparison, rendered: Rendered, settings: Render, training: bool, ledger: Ledger
) -> None:
    """Count a response above the limit in training; raise `DataError` in evaluation."""
    prompts = (prompt - min(rendered.protected, prompt) for prompt in rendered.prompt_tokens)
    longest = max(len(row) - prompt for row, prompt in zip(rendered.ids, prompts, strict=True))
    if training:
        ledger.add("response_over_limit", comparison, sum(map(len, rendered.ids)), dropped=True)
        return
    raise DataError(
        f"evaluation comparison {comparison.id}: a response of {longest} tokens exceeds render.max_tokens = "
        f"{settings.max_tokens}, and evaluation rows are never dropped",
        'raise render.max_tokens, or cut the oldest response tokens with render.over_long = "truncate_response"',
    )


def _distinguishable(comparison: Comparison, ids: list[list[int]], ledger: Ledger) -> tuple[Judgment, ...]:
    """Return the judgments between responses with different ids, and count the others."""
    judgments = tuple(j for j in comparison.judgments if ids[j.better] != ids[j.worse])
    if len(judgments) < len(comparison.judgments):
        ledger.add("identical_ids", comparison, 0, dropped=not judgments)
    return judgments
