"""Score candidates by the same path as training: the same token ids, packed by the planner, prompts shared.

A score depends on the conversation alone: each response is truncated separately, and a prompt with too many responses
for a micro-batch is split into several comparisons.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np

from ..data.render import Rendered
from ..data.segments import segments_of
from ..data.token_store import TokenStore, build_store, store_of
from ..data.truncate import Fitted, Ledger, cut_of, excess_tokens, kind_of, truncate
from ..errors import CheckpointError, DataError, UserError
from ..model.cost import limit_for
from ..model.folder.normalization import Normalization
from ..model.folder.save_load import Loaded
from ..records import Candidates, Comparison, ScoredComparison, replaced
from .core import normalization_of, score_store
from .kinds import Kinds

POLICIES = ("error", "skip", "truncate_prompt", "truncate_response")
"""Policies for conversations above the model's limits.

`error` stops the run. `skip` gives a reason instead of a score. `truncate_prompt` removes the oldest tokens of the
prompt, and gives no score to a response longer than the limit. `truncate_response` also removes the oldest tokens of
such a response.
"""
LONGER_HINT = 'give over_long="truncate_response" to RewardModel.from_pretrained, or leave it out'
AT_ONCE = 8
"""Limit on the tokens of a prompt with all responses before splitting, as a multiple of the usual micro-batch."""


class Scored(NamedTuple):
    """Scores of K responses.

    Attributes:
        scores: K full floats; None for an unscorable response beside scorable responses.
        tokens: K token counts, prompt included, as read by the model; without a score, the full length.
        truncated: K flags, True for a response with tokens removed to fit the limits.
        error: reason for the first missing score; "" if no score is missing.
    """

    scores: tuple[float | None, ...]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]
    error: str = ""


class Gap(NamedTuple):
    """Response without a score.

    Attributes:
        tokens: token count, prompt included.
        reason: reason for the missing score.
    """

    tokens: int
    reason: str


class Prepared(NamedTuple):
    """Rows ready for the model.

    Attributes:
        store: comparisons split from all candidates; None without any scorable response.
        owner: place of the original row of each comparison in the store, in order.
        reasons: reason for each row without any score, "" for a scorable row.
        gaps: unscorable responses of each row, by place in the row.
    """

    store: TokenStore | None
    owner: list[int]
    reasons: list[str]
    gaps: list[dict[int, Gap]]


class Scorer:
    """Scorer of candidates: a loaded model with options for scoring.

    Args:
        loaded: loaded model folder.
        over_long: a policy of `POLICIES`; "" for the policy of the model's evaluation, a truncation.
        token_budget: maximum tokens per micro-batch (0: suitable for the device).
        normalize: return (score - mean) / std over the reference set named by the model folder.

    Raises:
        UserError: unknown policy.
        CheckpointError: `normalize` for a model without reference set.
    """

    def __init__(self, loaded: Loaded, over_long: str = "", token_budget: int = 0, normalize: bool = False) -> None:
        if over_long not in ("", *POLICIES):
            raise UserError(f"over_long = {over_long!r}, wanted {', '.join(POLICIES)}", "leave it out")
        trained = loaded.renderer.settings.over_long
        self.loaded = loaded
        # Training may drop long comparisons, but evaluation never drops a row: evaluation truncates the prompt instead.
        self.over_long = over_long or ("truncate_prompt" if trained == "drop" else trained)
        self.token_budget = token_budget
        self.settings = loaded.renderer.settings.model_copy(update={"over_long": self.over_long})
        self.kinds = Kinds(loaded)
        self._unit = normalization_of(loaded) if normalize else None
        self._most = token_budget or AT_ONCE * limit_for(loaded.model, 0).tokens

    @property
    def scale(self) -> float:
        """Factor of differences between the scorer's scores in probabilities, beta / temperature.

        Raises:
            CheckpointError: the model folder has no temperature.
        """
        if self.loaded.temperature is None:
            message = "the model has no temperature, so its score differences have no probabilities"
            raise CheckpointError(message, "fit one on validation data: bradley calibrate MODEL DATA")
        # Normalized scores are divided by the standard deviation, and so are their differences.
        return self.loaded.temperature.scale * (self._unit.std if self._unit is not None else 1.0)

    def as_evaluated(self) -> Loaded:
        """Return the loaded model with a renderer under the scorer's policy for rows above the limits."""
        renderer = copy(self.loaded.renderer)
        renderer.settings = self.settings
        return self.loaded._replace(renderer=renderer)

    def with_temperature(self) -> Self:
        """Return the scorer; raises `CheckpointError` as `scale`."""
        _ = self.scale
        return self

    def __call__(self, rows: Sequence[Candidates | str]) -> list[Scored | str]:
        """Score rows.

        Args:
            rows: candidates, or a reason for a row already known to be unscorable.

        Returns:
            Scores of each row, or the reason for a row without any score.

        Raises:
            CheckpointError: a score is not a finite number.
            DataError: a row above the limits with `over_long = "error"`, or a response longer than the token budget.
        """
        return self.score(self.prepare(rows))

    def prepare(self, rows: Sequence[Candidates | str]) -> Prepared:
        """Render, truncate and split rows, without the model.

        Raises:
            DataError: a row above the limits with `over_long = "error"`.
        """
        reasons = [row if isinstance(row, str) else "" for row in rows]
        gaps: list[dict[int, Gap]] = [{} for _ in rows]
        wanted: list[tuple[int, Candidates]] = []
        for place, row in enumerate(rows):
            if not isinstance(row, str):
                fitted, refused = self.kinds.fitted(row)
                gaps[place] = {k: Gap(0, reason) for k, reason in refused.items()}
                wanted += [(place, fitted)] if fitted is not None else []
                reasons[place] = "" if fitted is not None else refused[0]
        pieces: list[tuple[Candidates, Fitted]] = []
        owner: list[int] = []
        for (place, row), rendered in zip(wanted, self._rendered([row for _, row in wanted]), strict=True):
            if isinstance(rendered, str):
                reasons[place] = rendered
                continue
            found = self._gaps(row, rendered)
            # Responses refused before are no part of the rendering.
            kept = [k for k in range(len(rendered.ids) + len(gaps[place])) if k not in gaps[place]]
            gaps[place] |= {kept[k]: gap for k, gap in found.items()}
            if len(found) == len(rendered.ids):
                reasons[place] = gaps[place][min(gaps[place])].reason
                continue
            cut = list(self._pieces(*without(row, rendered, found)))
            pieces += cut
            owner += [place] * len(cut)
        return Prepared(store_of(pieces) if pieces else None, owner, reasons, gaps)

    def score(self, prepared: Prepared) -> list[Scored | str]:
        """Run the model on prepared rows.

        Raises:
            CheckpointError: a score is not a finite number.
            DataError: a response longer than the token budget.
        """
        found = [] if prepared.store is None else self._run(prepared.store, self.token_budget, self._unit)
        # A row split into several comparisons gets its scores back together, in order.
        parts: dict[int, list[ScoredComparison]] = {}
        for place, part in zip(prepared.owner, found, strict=True):
            parts.setdefault(place, []).append(part)
        return [
            reason or _joined(parts[place], gaps)
            for place, (reason, gaps) in enumerate(zip(prepared.reasons, prepared.gaps, strict=True))
        ]

    def comparisons(
        self, comparisons: Sequence[Comparison], token_budget: int = 0, normalize: bool = False
    ) -> list[ScoredComparison]:
        """Score comparisons, with their judgments, as `score_comparisons` does; no comparison is dropped.

        Args:
            comparisons: comparisons to score.
            token_budget: maximum tokens per micro-batch (0: the scorer's own).
            normalize: return (score - mean) / std, as a scorer with `normalize` always does.

        Raises:
            CheckpointError: as `score`, or `normalize` for a model without reference set.
            DataError: a response that the scorer's policy gives no score.
        """
        for foreign in filter(self.kinds.is_foreign, comparisons):
            # A comparison names the role of every turn, so the roles are taken at their word.
            self.kinds.say(kind_of(foreign), "as given")
        unit = self._unit or (normalization_of(self.loaded) if normalize else None)
        refuses = self.over_long in ("error", "skip")
        renderer = copy(self.loaded.renderer)
        # Built with the cuts that leave no response out, a store says whether any was above the limits.
        changes = {"over_long": "truncate_response" if refuses else self.over_long}
        renderer.settings = self.settings.model_copy(update=changes)
        store = build_store(comparisons, renderer, training=False)
        if refuses and store.truncated.any():
            number = int(np.searchsorted(store.first_response, store.truncated.argmax(), side="right")) - 1
            raise DataError(f"{store.info[number].id}: a response is above the model's limits", LONGER_HINT)
        return self._run(store, token_budget or self.token_budget, unit)

    def _run(self, store: TokenStore, token_budget: int, unit: Normalization | None) -> list[ScoredComparison]:
        """Run the model on a store; raises `CheckpointError` for a score that is not a finite number."""
        found = score_store(self.loaded.model, store, token_budget)
        found = found if unit is None else unit.apply(found)
        for part in found:
            if broken := [score for score in part.scores if not math.isfinite(score)]:
                hint = "look at the model: bradley verify MODEL; if its weights are sound, leave the row out"
                raise CheckpointError(f"{part.id} gets the score {broken[0]}, and a finite number is wanted", hint)
        fitted = self.loaded.temperature
        if fitted is None:
            return found
        # Normalized differences are smaller by the deviation, and both factors larger.
        size = 1.0 if unit is None else unit.std
        factors = {"beta": fitted.beta * size, "scale": fitted.scale * size, "fitted_on": fitted.set_sha256}
        return [replaced(part, **factors) for part in found]

    def _rendered(self, rows: Sequence[Candidates]) -> list[Rendered | str]:
        """Render rows as token ids; a row refused by the chat template becomes a reason."""
        try:
            return list(self.loaded.renderer.comparisons(rows))
        except DataError as error:
            # Rendering all rows at once is fast but fails as a whole: render singly to find the refused rows.
            if len(rows) == 1:
                return ["template: " + error.message.removeprefix(f"comparison {rows[0].id}: ")]
            return [found for row in rows for found in self._rendered([row])]

    def _gaps(self, row: Candidates, rendered: Rendered) -> dict[int, Gap]:
        """Unscorable responses of a row, by place."""
        lengths = list(map(len, rendered.ids))
        reasons = [
            self._problem(row.id, length, prompt, rendered.protected)
            for length, prompt in zip(lengths, rendered.prompt_tokens, strict=True)
        ]
        return {k: Gap(lengths[k], reason) for k, reason in enumerate(reasons) if reason}

    def _problem(self, name: str, length: int, prompt_tokens: int, protected: int) -> str:
        """Reason for not scoring a single response, by emptiness or by the policy; "" for a scorable response."""
        limit = self.settings.max_tokens
        if not length:
            return "no_tokens: a response renders to no token"
        if self.over_long in ("error", "skip") and excess_tokens(length, prompt_tokens, self.settings) > 0:
            limits = f"max_tokens = {limit}, max_prompt_tokens = {self.settings.max_prompt_tokens or 'any'}"
            found = f"{length} tokens, {prompt_tokens} of them prompt, above the model's {limits}"
            if self.over_long == "error":
                raise DataError(f"{name}: {found}", "use --over-long skip or --over-long truncate_prompt")
            return f"over_long: {found}"
        if self.over_long == "truncate_prompt" and cut_of(length, prompt_tokens, protected, self.settings).response:
            # Truncation keeps the protected tokens, such as a start token, so they count against the response's limit.
            alone = length - prompt_tokens + min(protected, prompt_tokens)
            return f"over_long: a response of {alone} tokens alone, above the model's max_tokens = {limit}"
        return ""

    def _pieces(self, row: Candidates, rendered: Rendered) -> Iterator[tuple[Candidates, Fitted]]:
        """Truncate a row and split the responses into runs small enough for a micro-batch."""
        fitted = truncate(row, rendered, self.settings, False, Ledger())
        assert fitted is not None  # only training drops a row
        for span in spans(fitted.ids, fitted.removed, self._most, padded=self.loaded.model.engine == "plain"):
            lists = (fitted.ids[span], (), fitted.response_tokens[span], fitted.removed[span])
            yield replace(row, responses=row.responses[span]), Fitted(*lists)


def sigmoid(x: float) -> float:
    """Compute 1 / (1 + exp(-x)) without overflow; sigmoid(-x) is 1 - sigmoid(x)."""
    e = math.exp(-abs(x))
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


def win_rates(scores: Sequence[float | None], scale: float) -> list[float | None]:
    """Mean probability of each response to beat another response of the row; None without a score or without a rival.

    With two responses, the probability to be the better one.

    Example:
        win_rates([1.0, 0.0], scale=1.0)  # [0.731, 0.269]
    """
    known = [(place, score) for place, score in enumerate(scores) if score is not None]
    rates: list[float | None] = [None] * len(scores)
    for place, score in known if len(known) > 1 else ():
        won = [sigmoid(scale * (score - other)) for rival, other in known if rival != place]
        rates[place] = sum(won) / len(won)
    return rates


def spans(rows: Sequence[list[int]], removed: Sequence[int], most: int, *, padded: bool) -> Iterator[slice]:
    """Split K full renderings into non-empty runs of at most `most` tokens, counted as an engine runs the tokens.

    Args:
        rows: token ids of each response with the prompt.
        removed: tokens cut from each response; responses with equal cuts share a prefix.
        most: maximum tokens of a run; a longer response forms a run alone.
        padded: True for an engine padding each response to the longest, False for an engine sharing the prompt.
    """
    segments, own, prefix = segments_of(rows, removed)
    start, total, longest = 0, 0, 0
    seen: set[int] = set()
    for place, row in enumerate(rows):
        longest = max(longest, len(row))
        # A prefix counts once in a run, with the first of its responses.
        total += len(segments[own[place]]) if prefix[place] in seen else len(row)
        need = longest * (place + 1 - start) if padded else total
        if need > most and place > start:
            yield slice(start, place)
            start, total, longest = place, len(row), len(row)
            seen.clear()
        seen.add(prefix[place])
    yield slice(start, len(rows))


def without(row: Candidates, rendered: Rendered, gaps: Collection[int]) -> tuple[Candidates, Rendered]:
    """Copy a row and the rendering without the responses in `gaps`."""
    kept = [k for k in range(len(rendered.ids)) if k not in gaps]
    responses = tuple(row.responses[k] for k in kept)
    ids, prompts = [rendered.ids[k] for k in kept], [rendered.prompt_tokens[k] for k in kept]
    return replace(row, responses=responses), rendered._replace(ids=ids, prompt_tokens=prompts)


def _joined(parts: Sequence[ScoredComparison], gaps: Mapping[int, Gap]) -> Scored:
    """Concatenate the parts of a row, with None for the score at each gap."""
    found = ((row.scores[k], row.tokens[k], row.truncated[k]) for row in parts for k in range(len(row.scores)))
    total = sum(len(row.scores) for row in parts) + len(gaps)
    each = [(None, gaps[k].tokens, False) if k in gaps else next(found) for k in range(total)]
    scores, tokens, truncated = zip(*each, strict=True)
    return Scored(scores, tokens, truncated, gaps[min(gaps)].reason if gaps else "")
