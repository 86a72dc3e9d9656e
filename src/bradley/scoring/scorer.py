"""Candidates to scores by the path that training takes: the same ids, packed by the planner, prompts shared.

A score depends on the conversation alone: each response is brought within the limits by itself, and a prompt with more
responses than go through the model at once is given to it in pieces.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..data.encoder import common_prefix
from ..data.render import Rendered
from ..data.token_store import TokenStore, store_of
from ..data.truncate import Fitted, Ledger, excess_tokens, truncate
from ..errors import CheckpointError, DataError, UserError
from ..model.cost import limit_for
from ..model.folder.save_load import Loaded
from ..records import Candidates, ScoredComparison
from .core import normalization_of, score_store

POLICIES = ("error", "skip", "truncate_prompt", "truncate_response")
"""What may happen to conversations above the model's limits: the run stops; no score, and the reason instead; the
oldest tokens of the prompt go, and a response that alone is too long gets no score; then those of the response too."""
AT_ONCE = 8
"""How many times the usual tokens of a micro-batch one prompt with its responses may have, before it goes in pieces."""


class Scored(NamedTuple):
    """What was found of K responses.

    Attributes:
        scores: full floats; None for a response that cannot be scored, though another one can.
        tokens: with the prompt, as the model read them, or would have.
        truncated: whether tokens were cut to fit.
        error: why the first response without a score has none; "" where all have one.
    """

    scores: tuple[float | None, ...]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]
    error: str = ""


class Gap(NamedTuple):
    """A response without a score: its tokens, and the reason."""

    tokens: int
    reason: str


class Prepared(NamedTuple):
    """Rows ready for the model.

    Attributes:
        store: the pieces of all candidates; None where none is left.
        owner: the place of the row that each piece belongs to, in order.
        reasons: of each row why it cannot be scored, "" where it can.
        gaps: of each row the responses that cannot be scored, by their place in it.
    """

    store: TokenStore | None
    owner: list[int]
    reasons: list[str]
    gaps: list[dict[int, Gap]]


class Scorer:
    """A loaded model, and how it is to score.

    Args:
        over_long: one of `POLICIES`; "" for what the model's evaluation did, which is to truncate.
        token_budget: most tokens at once (0: what suits the device).
        normalize: give scores in the unit that the model folder names.

    Raises:
        UserError: no such policy.
        CheckpointError: `normalize` for a model without a unit.
    """

    def __init__(self, loaded: Loaded, over_long: str = "", token_budget: int = 0, normalize: bool = False) -> None:
        if over_long not in ("", *POLICIES):
            raise UserError(f"over_long = {over_long!r}, wanted {', '.join(POLICIES)}", "leave it out")
        trained = loaded.renderer.settings.over_long
        self.loaded = loaded
        self.over_long = over_long or ("truncate_prompt" if trained == "drop" else trained)
        self.token_budget = token_budget
        self.settings = loaded.renderer.settings.model_copy(update={"over_long": self.over_long})
        self._unit = normalization_of(loaded) if normalize else None
        self._most = token_budget or AT_ONCE * limit_for(loaded.model, 0).tokens

    def __call__(self, rows: Sequence[Candidates | str]) -> list[Scored | str]:
        """The scores of each row; of a row that is a reason, or cannot be scored, the reason.

        Raises:
            DataError: `over_long = "error"` and such a row, or a response that alone exceeds the token budget.
        """
        return self.score(self.prepare(rows))

    def prepare(self, rows: Sequence[Candidates | str]) -> Prepared:
        """Render, limit and cut rows into pieces, without the model; raises as a call, but for the budget."""
        reasons = [row if isinstance(row, str) else "" for row in rows]
        gaps: list[dict[int, Gap]] = [{} for _ in rows]
        wanted = [(place, row) for place, row in enumerate(rows) if not isinstance(row, str)]
        pieces: list[tuple[Candidates, Fitted]] = []
        owner: list[int] = []
        for (place, row), rendered in zip(wanted, self._rendered([row for _, row in wanted]), strict=True):
            if isinstance(rendered, str):
                reasons[place] = rendered
                continue
            gaps[place] = self._gaps(row, rendered)
            if len(gaps[place]) == len(rendered.ids):
                reasons[place] = gaps[place][0].reason
                continue
            cut = list(self._pieces(*without(row, rendered, gaps[place])))
            pieces += cut
            owner += [place] * len(cut)
        return Prepared(store_of(pieces) if pieces else None, owner, reasons, gaps)

    def score(self, prepared: Prepared) -> list[Scored | str]:
        """Run the model over what `prepare` made.

        Raises:
            CheckpointError: a score that is not a number.
            DataError: a response that alone exceeds the token budget.
        """
        found = [] if prepared.store is None else score_store(self.loaded.model, prepared.store, self.token_budget)
        if self._unit is not None:
            found = self._unit.apply(found)
        if broken := next((part for part in found if not all(map(math.isfinite, part.scores))), None):
            raise CheckpointError(f"{broken.id} has the scores {broken.scores}", "the weights are broken: train again")
        parts: dict[int, list[ScoredComparison]] = {}
        for place, part in zip(prepared.owner, found, strict=True):
            parts.setdefault(place, []).append(part)
        return [
            reason or _joined(parts[place], gaps)
            for place, (reason, gaps) in enumerate(zip(prepared.reasons, prepared.gaps, strict=True))
        ]

    def _rendered(self, rows: Sequence[Candidates]) -> list[Rendered | str]:
        """Each row as ids, or why the template refuses it: then rows are rendered one by one, to find which."""
        try:
            return list(self.loaded.renderer.comparisons(rows))
        except DataError as error:
            if len(rows) == 1:
                return ["template: " + error.message.removeprefix(f"comparison {rows[0].id}: ")]
            return [found for row in rows for found in self._rendered([row])]

    def _gaps(self, row: Candidates, rendered: Rendered) -> dict[int, Gap]:
        """The responses that are not scored, by their place."""
        reasons = [self._problem(row.id, rendered._replace(ids=[ids])) for ids in rendered.ids]
        return {k: Gap(len(rendered.ids[k]), reason) for k, reason in enumerate(reasons) if reason}

    def _problem(self, name: str, rendered: Rendered) -> str:
        """Why one response is not scored: nothing to read, or too much by the policy."""
        (ids,), limit = rendered.ids, self.settings.max_tokens
        if not ids:
            return "no_tokens: a response renders to no token"
        if self.over_long in ("error", "skip") and excess_tokens(rendered, self.settings) > 0:
            limits = f"max_tokens = {limit}, max_prompt_tokens = {self.settings.max_prompt_tokens or 'any'}"
            found = f"{len(ids)} tokens, {rendered.prompt_tokens} of them prompt, above the model's {limits}"
            if self.over_long == "error":
                raise DataError(f"{name}: {found}", "use --over-long skip or --over-long truncate_prompt")
            return f"over_long: {found}"
        alone = len(ids) - rendered.prompt_tokens + rendered.protected
        if self.over_long == "truncate_prompt" and alone > limit:
            return f"over_long: a response of {alone} tokens alone, above the model's max_tokens = {limit}"
        return ""

    def _pieces(self, row: Candidates, rendered: Rendered) -> Iterator[tuple[Candidates, Fitted]]:
        """A row within the limits, a few of its responses at a time where all are too much."""
        fitted = truncate(row, rendered, self.settings, False, Ledger())
        assert fitted is not None  # which it never is outside of training
        for span in spans(fitted.ids, self._most, padded=self.loaded.model.engine == "plain"):
            lists = (fitted.ids[span], (), fitted.response_tokens[span], fitted.truncated[span])
            yield replace(row, responses=row.responses[span]), Fitted(*lists)


def spans(rows: Sequence[Sequence[int]], most: int, *, padded: bool) -> Iterator[slice]:
    """Cut K full renderings into runs of at most `most` tokens as an engine runs them, none empty."""
    shared = 0 if padded else min((common_prefix(rows[0], row) for row in rows[1:]), default=0)
    start, total, longest = 0, shared, 0
    for place, row in enumerate(rows):
        longest = max(longest, len(row))
        total += len(row) - shared
        need = longest * (place + 1 - start) if padded else total
        if need > most and place > start:
            yield slice(start, place)
            start, total, longest = place, len(row), len(row)
    yield slice(start, len(rows))


def without(row: Candidates, rendered: Rendered, gaps: Collection[int]) -> tuple[Candidates, Rendered]:
    """A row and its rendering without some of its responses."""
    kept = [k for k in range(len(rendered.ids)) if k not in gaps]
    responses = tuple(row.responses[k] for k in kept)
    return replace(row, responses=responses), rendered._replace(ids=[rendered.ids[k] for k in kept])


def _joined(parts: Sequence[ScoredComparison], gaps: Mapping[int, Gap]) -> Scored:
    """The parts of a row one after another, with None at its gaps."""
    found = ((row.scores[k], row.tokens[k], row.truncated[k]) for row in parts for k in range(len(row.scores)))
    total = sum(len(row.scores) for row in parts) + len(gaps)
    each = [(None, gaps[k].tokens, False) if k in gaps else next(found) for k in range(total)]
    scores, tokens, truncated = zip(*each, strict=True)
    return Scored(scores, tokens, truncated, next((gap.reason for gap in gaps.values()), ""))
