"""Policies about faulty comparisons, and the merging of comparisons that share a prompt. Every pass takes linear time.

Two responses have the same text when their messages are equal, role by role and to the byte. Comparisons without a
prompt, or with a blank one, share nothing: see `topic`.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..config import Policy
from ..errors import DataError
from ..records import Comparison, Judgment, Message, Response

Turns = tuple[Message, ...]
Preference = tuple[str, Turns, Turns]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        count: comparisons with the fault.
        policy: what was done about them.
        example: id of the first one, or "".
        dropped: comparisons that left for it.
        judgments: judgments that left for it, those of the dropped comparisons included.
    """

    count: int
    policy: Policy
    example: str
    dropped: int
    judgments: int


Check = Callable[[Sequence[Comparison], frozenset[str]], list[set[int]]]
"""(comparisons, topics of the evaluation sets) -> for each comparison the judgments at fault, by index."""


def clean(
    comparisons: Sequence[Comparison], policies: dict[str, Policy], eval_topics: frozenset[str] = frozenset()
) -> tuple[list[Comparison], dict[str, Finding]]:
    """Apply `policies`, a policy for each of `CHECKS` or some of them, in the order of `CHECKS`.

    A check looks at what the checks before it left. `drop` takes out the judgments at fault, and a comparison that has
    none left goes; a rank vector stays only where every judgment does, as it would bring them back.

    Args:
        comparisons: in the order in which they stay.
        policies: keep, drop or error by check.
        eval_topics: `topic` of every comparison in an evaluation set, for the check `leaked`.

    Raises:
        DataError: a fault was found whose policy is `error`.
    """
    left, findings = list(comparisons), {}
    for name in (name for name in CHECKS if name in policies):
        policy, faults = policies[name], CHECKS[name](left, eval_topics)
        at_fault = [comparison.id for comparison, fault in zip(left, faults, strict=True) if fault]
        if at_fault and policy == "error":
            raise DataError(
                f"{len(at_fault)} training comparisons are {name}, such as {at_fault[0]}: {CHECKED[name]}",
                f"correct the data, or use --data.{name} drop, or --data.{name} keep",
            )
        kept = [_without(*pair) for pair in zip(left, faults, strict=True)] if policy == "drop" else left
        stays = [comparison for comparison in kept if comparison is not None]
        judgments = count_judgments(left) - count_judgments(stays)
        example = at_fault[0] if at_fault else ""
        findings[name] = Finding(len(at_fault), policy, example, len(left) - len(stays), judgments)
        left = stays
    return left, findings


def topic(comparison: Comparison) -> str:
    """What comparisons share that must not be parted or leak: the prompt's key; without a prompt, the responses."""
    if any(message.content.strip() for message in comparison.prompt):
        return comparison.prompt_key
    texts = sorted(repr([(m.role, m.content) for m in response.messages]) for response in comparison.responses)
    return hashlib.sha256("\x1e".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def count_judgments(comparisons: Iterable[Comparison]) -> int:
    """Judgments of all comparisons together."""
    return sum(len(comparison.judgments) for comparison in comparisons)


def group_by_prompt(comparisons: Iterable[Comparison], max_responses: int) -> list[Comparison]:
    """Merge comparisons of one prompt: responses deduplicated by text, every judgment kept.

    A merged comparison has at most `max_responses` responses; one that would not fit starts the next. A comparison
    alone stays as it is, its rank vector and a larger number of responses included, and so does one that holds the
    same text twice. A plain text and a user's message stay apart even if their words are the same, as templates may
    write them differently. Merged ones have no rank vector, the first one's prompt, source and scores, the tags that
    all of them agree on, and the id "<first id>+<number of the others>", with "~" behind it where that is taken. Order
    is that of first appearance.
    """
    groups: list[_Group] = []
    latest: dict[Any, _Group] = {}
    for comparison in comparisons:
        key = (topic(comparison), *(message.role for message in comparison.prompt))
        if key not in latest or not latest[key].admits(comparison, max_responses):
            latest[key] = _Group()
            groups.append(latest[key])
        latest[key].add(comparison)
    taken = {member.id for group in groups for member in group.members}
    return [group.merged(taken) for group in groups]


@dataclass(slots=True)
class _Group:
    """Comparisons of one prompt on their way to become one; `places` holds each response's text and its index."""

    members: list[Comparison] = field(default_factory=list)
    places: dict[Turns, int] = field(default_factory=dict)
    repeats: bool = False

    def admits(self, comparison: Comparison, max_responses: int) -> bool:
        texts = {response.messages for response in comparison.responses}
        if self.repeats or len(texts) < len(comparison.responses):
            return False
        return len(self.places.keys() | texts) <= max_responses

    def add(self, comparison: Comparison) -> None:
        self.members.append(comparison)
        for response in comparison.responses:
            self.places.setdefault(response.messages, len(self.places))
        self.repeats = len(self.places) < len(comparison.responses)

    def merged(self, taken: set[str]) -> Comparison:
        """All members as one; `taken` holds the ids in use and gains the new one."""
        first = self.members[0]
        if len(self.members) == 1:
            return first
        responses: dict[Turns, Response] = {}
        for member in self.members:
            for response in member.responses:
                responses.setdefault(response.messages, response)
        name = f"{first.id}+{len(self.members) - 1}"
        while name in taken:
            name += "~"
        taken.add(name)
        return replace(
            first,
            id=name,
            responses=tuple(responses.values()),
            judgments=tuple(self._moved(member, judgment) for member in self.members for judgment in member.judgments),
            rank=None,
            tags={key: value for key, value in first.tags.items() if self._agree(key, value)},
        )

    def _moved(self, member: Comparison, judgment: Judgment) -> Judgment:
        better, worse = (member.responses[i].messages for i in (judgment.better, judgment.worse))
        return replace(judgment, better=self.places[better], worse=self.places[worse])

    def _agree(self, key: str, value: str) -> bool:
        return all(member.tags.get(key) == value for member in self.members)


def _without(comparison: Comparison, fault: set[int]) -> Comparison | None:
    if not fault:
        return comparison
    judgments = tuple(judgment for i, judgment in enumerate(comparison.judgments) if i not in fault)
    return replace(comparison, judgments=judgments, rank=None) if judgments else None


def _identical(comparisons: Sequence[Comparison], _: frozenset[str]) -> list[set[int]]:
    return [{i for i, (_, better, worse) in enumerate(_preferences(c)) if better == worse} for c in comparisons]


def _empty(comparisons: Sequence[Comparison], _: frozenset[str]) -> list[set[int]]:
    return [_all(c) if any(not r.messages[-1].content.strip() for r in c.responses) else set() for c in comparisons]


def _duplicate(comparisons: Sequence[Comparison], _: frozenset[str]) -> list[set[int]]:
    seen: set[Any] = set()
    faults = []
    for comparison in comparisons:
        key = _signature(comparison)
        faults.append(_all(comparison) if key in seen else set())
        seen.add(key)
    return faults


def _contradictory(comparisons: Sequence[Comparison], _: frozenset[str]) -> list[set[int]]:
    preferences = [_preferences(comparison) for comparison in comparisons]
    said = {
        preference
        for comparison, own in zip(comparisons, preferences, strict=True)
        for judgment, preference in zip(comparison.judgments, own, strict=True)
        if not judgment.tie
    }
    return [{i for i, (key, better, worse) in enumerate(own) if _both(said, key, better, worse)} for own in preferences]


def _leaked(comparisons: Sequence[Comparison], eval_topics: frozenset[str]) -> list[set[int]]:
    return [_all(comparison) if topic(comparison) in eval_topics else set() for comparison in comparisons]


def _both(said: set[Preference], key: str, better: Turns, worse: Turns) -> bool:
    return better != worse and (key, better, worse) in said and (key, worse, better) in said


def _all(comparison: Comparison) -> set[int]:
    return set(range(len(comparison.judgments)))


def _preferences(comparison: Comparison) -> list[Preference]:
    texts = [response.messages for response in comparison.responses]
    return [(comparison.prompt_key, texts[j.better], texts[j.worse]) for j in comparison.judgments]


def _signature(comparison: Comparison) -> Any:
    """Equal for comparisons with the same prompt, texts and preferences, in whatever order; margins aside."""
    preferences = frozenset(
        (frozenset((better, worse)), judgment.probability, None if judgment.tie else better)
        for judgment, (_, better, worse) in zip(comparison.judgments, _preferences(comparison), strict=True)
    )
    return comparison.prompt_key, frozenset(response.messages for response in comparison.responses), preferences


CHECKS: dict[str, Check] = {
    "identical": _identical,
    "empty": _empty,
    "contradictory": _contradictory,
    "duplicate": _duplicate,
    "leaked": _leaked,
}
CHECKED = {
    "identical": "a judgment between two responses with the same text",
    "empty": "a response is blank",
    "contradictory": "the same two texts are judged the other way round as well",
    "duplicate": "an earlier one has the same texts and the same preferences",
    "leaked": "the prompt is also in an evaluation set",
}
"""The checks in their order, and what each says. Taking judgments away can make duplicates, so these come after."""
