"""Records of preference data: small frozen dataclasses without torch, the input and output of every later stage."""

import hashlib
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeVar

Record = TypeVar("Record")

ROLES = ("system", "user", "assistant", "tool", "text", "ids")
"""Known roles.

`text` marks a plain string without turns: the `raw` template writes the string unchanged, and a chat template reads
the string as `user` in a prompt and as `assistant` in a response. `ids` marks token ids, written as decimal numbers
separated by single blanks: no template touches token ids, and nothing is added to token ids.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """Turn of a conversation.

    Example:
        Message("user", "What is 2 + 2?")

    Attributes:
        role: an entry of `ROLES`.
        content: text of the turn.
        extra: JSON object with sorted keys, passed to the chat template besides role and content, such as tool calls;
            "" for nothing.
    """

    role: str
    content: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """Response to a prompt: one or more messages, of which the last is judged.

    Example:
        Response((Message("assistant", "4"),))

    Attributes:
        messages: turns of the response.
        score: score given by the source (for synthetic preferences the true reward); None without a score.
    """

    messages: tuple[Message, ...]
    score: float | None = None

    @property
    def text(self) -> str:
        """Contents of the messages, joined by newlines."""
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True, slots=True)
class Judgment:
    """Preference between two responses of a comparison.

    Example:
        Judgment(better=1, worse=0, probability=0.8)

    Attributes:
        better: index of the preferred response.
        worse: index of the other response.
        probability: probability that `better` is preferred, from 0.5 (a tie) to 1.0.
        margin: strength of the preference, in units of the source; None without a margin.
        weight: weight of the judgment, positive and finite; 1.0 by default.

    Raises:
        ValueError: equal indices, or a probability or weight outside these ranges.
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
        """True if neither response is preferred."""
        return self.probability == 0.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """Prompt, K >= 2 responses to the prompt, and judgments on the responses.

    Example:
        from bradley.records import prompt_key

        prompt = (Message("user", "What is 2 + 2?"),)
        answers = tuple(Response((Message("assistant", text),)) for text in ("5", "4"))
        Comparison("1", prompt_key(prompt), prompt, answers, (Judgment(better=1, worse=0),))

    Attributes:
        id: name of the comparison in messages and scored rows, unique within the source.
        prompt_key: hash of the prompt (see `prompt_key`). Comparisons with equal keys share a prompt, and confidence
            intervals cluster by this key.
        prompt: turns before the response; may be empty.
        responses: K >= 2 responses.
        judgments: at least one judgment.
        rank: place of each response in a full ranking, 0 for the best, equal for ties; None without a ranking.
            Kept because a full ranking cannot be rebuilt from pairs.
        source: origin of the row.
        tags: labels for grouping in reports, such as {"subset": "harmless"}.
        template_args: arguments of the chat template besides the turns: `tools`, and keyword arguments by name; plain
            JSON values.

    Raises:
        ValueError: fewer than 2 responses, no judgment, an index without a response, or a rank of another length.
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
        count = len(self.responses)
        if count < 2:
            raise ValueError(f"comparison {self.id} has {count} responses, needs at least 2")
        if not self.judgments:
            raise ValueError(f"comparison {self.id} has no judgment")
        # A plain loop: a million comparisons are made several times each, and generators take most of that time.
        for judgment in self.judgments:
            if not (0 <= judgment.better < count and 0 <= judgment.worse < count):
                raise ValueError(f"comparison {self.id}: a judgment names a response that is not there")
        if self.rank is not None and len(self.rank) != len(self.responses):
            raise ValueError(f"comparison {self.id}: {len(self.rank)} ranks for {len(self.responses)} responses")

    def swap(self) -> "Comparison":
        """Reverse the order of the responses; every score, and therefore every figure, stays the same."""
        last = len(self.responses) - 1
        return replace(
            self,
            responses=self.responses[::-1],
            judgments=tuple(replace(j, better=last - j.better, worse=last - j.worse) for j in self.judgments),
            rank=None if self.rank is None else self.rank[::-1],
        )

    def flip(self) -> "Comparison":
        """Reverse every preference and keep the texts."""
        return replace(
            self,
            judgments=tuple(replace(j, better=j.worse, worse=j.better) for j in self.judgments),
            # Distance from the last place reverses the order, keeps ties equal and keeps 0 for the best.
            rank=None if self.rank is None else tuple(max(self.rank) - r for r in self.rank),
        )


@dataclass(frozen=True, slots=True)
class Candidates(Comparison):
    """Prompt and K >= 1 responses without judgments: input for scoring, not for training or evaluation.

    Attributes:
        judgments: always empty.

    Raises:
        ValueError: no response, or a judgment or rank.
    """

    judgments: tuple[Judgment, ...] = ()

    def __post_init__(self) -> None:
        if not self.responses:
            raise ValueError(f"candidates {self.id} have no response")
        if self.judgments or self.rank is not None:
            raise ValueError(f"candidates {self.id} are judged, which makes them a comparison")


@dataclass(frozen=True, slots=True)
class Rejected:
    """Source row that did not become a comparison.

    Example:
        Rejected(row=17, reason="irregular", detail="two user turns in a row")

    Attributes:
        row: place of the row in the file, from 1.
        reason: a word from the table of reasons, such as "irregular".
        detail: description of the fault; the data report keeps one example per reason.
    """

    row: int
    reason: str
    detail: str = ""


ABOUT_FIGURES: dict[str, Any] = {"beta": None, "scale": None, "fitted_on": "", "length_unit": "tokens"}
"""Fields of a scored comparison that say how to measure the row, with their defaults."""


@dataclass(frozen=True, slots=True)
class ScoredComparison:
    """Comparison with the model's scores, from which `evaluate` computes every figure.

    Example:
        ScoredComparison("1", "6f0c2d", (0.3, 1.2), (9, 9), (2, 2), (False, False), (Judgment(better=1, worse=0),))

    Attributes:
        id: name of the comparison, as in `Comparison`.
        prompt_key: hash of the prompt, as in `Comparison`.
        scores: K scores, full floats.
        tokens: K token counts, prompt included, as read by the model.
        response_tokens: K token counts of the responses alone, before truncation.
        truncated: K flags, True for a rendering with tokens removed to fit the limits.
        judgments: judgments on the responses, as in `Comparison`.
        source_scores: K scores of the source (the true reward of synthetic preferences); None without scores.
        source: origin of the row.
        tags: labels for grouping in reports.
        beta: factor of score differences in the loss of the model; None where unknown.
        scale: factor of score differences in probabilities, beta / temperature; None for beta.
        fitted_on: identity of the set on which the temperature behind `scale` was fitted; "" where unknown.
        length_unit: unit of `response_tokens`, such as `words`; "" where lengths are unknown and 0.
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
    beta: float | None = None
    scale: float | None = None
    length_unit: str = "tokens"
    fitted_on: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, ready for a JSON line; what is as by default of `ABOUT_FIGURES` is left out."""
        row: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        row = {name: value for name, value in row.items() if ABOUT_FIGURES.get(name, "no default") != value}
        row["judgments"] = [
            {"better": j.better, "worse": j.worse, "probability": j.probability, "margin": j.margin, "weight": j.weight}
            for j in self.judgments
        ]
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "ScoredComparison":
        """Rebuild a scored comparison from the output of `to_json`.

        Raises:
            KeyError: a field is missing.
            TypeError: an unknown field.
            ValueError: a value that no scored comparison has.
        """
        for name in ("beta", "scale"):
            factor = row.get(name)
            # A truth value is an `int` in Python, and no factor.
            number = isinstance(factor, int | float) and not isinstance(factor, bool)
            if factor is not None and not (number and 0.0 < factor < float("inf")):
                raise ValueError(f"{name} must be positive and finite, got {factor!r}"[:80])
        lists: dict[str, Any] = {
            name: tuple(row[name]) for name in ("scores", "tokens", "response_tokens", "truncated")
        }
        # JSON turns tuples into lists; a record equals the original only with tuples.
        known = row["source_scores"]
        lists["source_scores"] = None if known is None else tuple(known)
        return cls(**{**row, **lists, "judgments": tuple(Judgment(**j) for j in row["judgments"])})


def replaced(record: Record, **changes: Any) -> Record:
    """Return a copy of a frozen record with other values: as `dataclasses.replace`, in a third of the time.

    Raises:
        TypeError: a change names no field.
        ValueError: as the record itself.
    """
    kind: Any = type(record)
    names = _names_of(kind)
    if not changes.keys() <= set(names):
        raise TypeError(f"{kind.__name__} has no field {', '.join(changes.keys() - set(names))}")
    made: Record = kind(*[changes[name] if name in changes else getattr(record, name) for name in names])
    return made


@cache
def _names_of(kind: type) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass, in order."""
    return tuple(each.name for each in fields(kind))


def prompt_key(prompt: tuple[Message, ...]) -> str:
    """Hash the turns of a prompt, ignoring outer blanks; comparisons with equal keys share a prompt.

    Plain text counts as a user turn, so that a leak between files is found even if the files write the prompt
    differently.

    Returns:
        The first 16 hex digits of a SHA-256.
    """
    # Control characters separate fields and turns, so moving text from a turn to its neighbour changes the key.
    digest = hashlib.sha256()
    for message in prompt:
        role = "user" if message.role == "text" else message.role
        extra = f"\x1f{message.extra}" if message.extra else ""
        # JSON escapes can put half of a surrogate pair into a text; `surrogatepass` hashes such a text as well.
        digest.update(f"{role}\x1f{message.content.strip()}{extra}\x1e".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
