"""The nouns of preference data: small frozen records, without torch, that every later stage is a function on."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

ROLES = ("system", "user", "assistant", "tool", "text", "ids")
"""Known roles. `text` marks a plain string that came without turns: the `raw` template writes it as it is, and a chat
template reads it as `user` in a prompt and `assistant` in a response. `ids` marks token ids, written as decimal numbers
with single blanks between them: no template touches them, and nothing is added."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: one of `ROLES`.
        content: its text.
        extra: a JSON object with sorted keys, what a chat template gets of the turn besides role and content, such as
            tool calls; "" for nothing.
    """

    role: str
    content: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What may follow a prompt: one message or more, the last of them the one that is judged.

    Attributes:
        messages: the turns.
        score: what the source scored it (for synthetic preferences the true reward); None where it did not.
    """

    messages: tuple[Message, ...]
    score: float | None = None

    @property
    def text(self) -> str:
        """The contents of the messages, joined by newlines."""
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True, slots=True)
class Judgment:
    """One preference between two responses of a comparison.

    Attributes:
        better: index of the preferred response.
        worse: index of the other one.
        probability: that `better` is preferred, from 0.5 (a tie) to 1.0.
        margin: how much better, in the units of the source (None where the source does not say).
        weight: what the judgment counts, 1.0 unless the source says otherwise.
    """

    better: int
    worse: int
    probability: float = 1.0
    margin: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.better == self.worse:
            raise ValueError(f"a judgment needs two different responses, got {self.better} twice")
        if not 0.5 <= self.probability <= 1.0:
            raise ValueError(f"probability of the better response must lie in 0.5..1, got {self.probability}")
        if not 0.0 < self.weight < float("inf"):
            raise ValueError(f"the weight of a judgment must be positive and finite, got {self.weight}")

    @property
    def tie(self) -> bool:
        """Whether neither response is preferred."""
        return self.probability == 0.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt, K >= 2 responses to it, and what was judged of them.

    Attributes:
        id: unique within its source; names the comparison in messages and in scored rows.
        prompt_key: hash of the prompt's text; comparisons with the same key share a prompt; intervals cluster by it.
        prompt: the turns before the response; may be empty.
        responses: K >= 2 of them.
        judgments: at least one.
        rank: place of each response in a full ranking, 0 for the best, equal for ties; None where there is none.
            Kept because a full ranking cannot be rebuilt from pairs.
        source: where the row came from.
        tags: labels to report by, such as {"subset": "harmless"}.
        template_args: what the chat template gets besides the turns: `tools`, and keyword arguments by name; plain JSON
            values.
    """

    id: str
    prompt_key: str
    prompt: tuple[Message, ...]
    responses: tuple[Response, ...]
    judgments: tuple[Judgment, ...]
    rank: tuple[float, ...] | None = None
    source: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    template_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.responses) < 2:
            raise ValueError(f"comparison {self.id} has {len(self.responses)} responses, needs at least 2")
        if not self.judgments:
            raise ValueError(f"comparison {self.id} has no judgment")
        if any(not 0 <= i < len(self.responses) for j in self.judgments for i in (j.better, j.worse)):
            raise ValueError(f"comparison {self.id}: a judgment names a response that is not there")
        if self.rank is not None and len(self.rank) != len(self.responses):
            raise ValueError(f"comparison {self.id}: {len(self.rank)} ranks for {len(self.responses)} responses")

    def swap(self) -> "Comparison":
        """The same comparison with its responses in reverse order: every score, and so every figure, stays as it is."""
        last = len(self.responses) - 1
        return replace(
            self,
            responses=self.responses[::-1],
            judgments=tuple(replace(j, better=last - j.better, worse=last - j.worse) for j in self.judgments),
            rank=None if self.rank is None else self.rank[::-1],
        )

    def flip(self) -> "Comparison":
        """The same texts with every preference reversed: the label of a liar."""
        return replace(
            self,
            judgments=tuple(replace(j, better=j.worse, worse=j.better) for j in self.judgments),
            rank=None if self.rank is None else tuple(max(self.rank) - r for r in self.rank),
        )


@dataclass(frozen=True, slots=True)
class Candidates(Comparison):
    """A prompt and K >= 1 responses of which nothing is judged: what is scored, and neither trained on nor evaluated.

    Attributes:
        judgments: none.
    """

    judgments: tuple[Judgment, ...] = ()

    def __post_init__(self) -> None:
        if not self.responses:
            raise ValueError(f"candidates {self.id} have no response")
        if self.judgments or self.rank is not None:
            raise ValueError(f"candidates {self.id} are judged, which makes them a comparison")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A source row that did not become a comparison.

    Attributes:
        row: place in its file, from 1.
        reason: one word from the table of reasons, such as "irregular".
        detail: what was found, for the one example kept per reason.
    """

    row: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ScoredComparison:
    """One comparison with the model's scores: what every figure of `evaluate` is computed from.

    Attributes:
        scores: K scores, full floats.
        tokens: K token counts, prompt included, as the model read them.
        response_tokens: K token counts of the responses alone.
        truncated: K flags, whether tokens were cut to fit.
        source_scores: K scores of the source (the true reward of synthetic preferences), or None where it gives none.
    """

    id: str
    prompt_key: str
    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    response_tokens: tuple[int, ...]
    truncated: tuple[bool, ...]
    judgments: tuple[Judgment, ...]
    source_scores: tuple[float, ...] | None = None
    source: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain dict, ready for a JSON line."""
        row: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        row["judgments"] = [
            {"better": j.better, "worse": j.worse, "probability": j.probability, "margin": j.margin, "weight": j.weight}
            for j in self.judgments
        ]
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "ScoredComparison":
        """The inverse of `to_json`."""
        lists: dict[str, Any] = {
            name: tuple(row[name]) for name in ("scores", "tokens", "response_tokens", "truncated")
        }
        known = row["source_scores"]
        lists["source_scores"] = None if known is None else tuple(known)
        return cls(**{**row, **lists, "judgments": tuple(Judgment(**j) for j in row["judgments"])})


def prompt_key(prompt: tuple[Message, ...]) -> str:
    """The key under which comparisons share a prompt: 16 hex digits of a hash of its turns, outer blanks aside.

    Plain text counts as the words of a user, so that a leak is found between files that write one prompt differently.
    """
    digest = hashlib.sha256()
    for message in prompt:
        role = "user" if message.role == "text" else message.role
        extra = f"\x1f{message.extra}" if message.extra else ""
        digest.update(f"{role}\x1f{message.content.strip()}{extra}\x1e".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
