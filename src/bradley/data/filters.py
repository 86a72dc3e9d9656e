"""Filters: policies that drop faulty comparisons, and grouping of comparisons by prompt.

Rows also leave a split in three other modules: `formats` (unreadable rows), `split` (caps, samples, mixtures) and
`truncate` (token limits). `report` counts every loss.

All checks are passes over columns of hashes; no text is read again. Two responses have the same text if all messages
are equal, role by role and to the byte. Comparisons without a prompt, or with a blank prompt, share nothing: see
`columns.topic`.

Legend: G comparisons of a table, J judgments of the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..common.signals import check as check_stopping
from ..config import Policy
from ..errors import DataError
from .columns import Columns, mixed
from .table import Selection

EXAMPLES = 5
NO_TOPICS = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check.

    Attributes:
        count: comparisons with the fault.
        policy: policy applied to these comparisons.
        examples: ids of the first faulty comparisons, five at most.
        dropped: comparisons removed by the check.
        judgments: judgments removed by the check, including all judgments of dropped comparisons.
    """

    count: int
    policy: Policy
    examples: list[str]
    dropped: int
    judgments: int


class Known(NamedTuple):
    """Facts from outside the columns.

    Attributes:
        topics: topics of the evaluation sets.
        whose: [G] uint64, see `judges.whose`.
    """

    topics: np.ndarray
    whose: np.ndarray


Check = Callable[[Columns, np.ndarray, np.ndarray, Known], np.ndarray]
"""(columns, numbers of the remaining comparisons, remaining judgments [J], known facts) -> [J] bool, True for a
judgment at fault. Values for judgments already removed are ignored."""


def apply_filters(
    rows: Selection,
    policies: dict[str, Policy],
    eval_topics: np.ndarray = NO_TOPICS,
    whose: np.ndarray | None = None,
) -> tuple[Selection, dict[str, Finding]]:
    """Apply policies to comparisons, in the order of `CHECKS`.

    Each check sees the rows left by the checks before. `drop` removes the judgments at fault, then every comparison
    without a judgment. A rank vector stays only if all judgments stay, because a ranking would bring removed judgments
    back.

    Args:
        rows: comparisons in final order, none merged.
        policies: keep, drop or error, for some or all of `CHECKS`.
        eval_topics: `Columns.topic` of every comparison in an evaluation set, for the check `leaked`.
        whose: judge of each comparison of the table, see `judges.whose`; None for no judges.

    Returns:
        The remaining rows, and the finding of each check.

    Raises:
        DataError: a check with the policy `error` found a fault.
        StopRequested: the process was asked to stop.
    """
    assert rows.alone, "policies look at comparisons as they came"
    columns, findings = rows.pool.columns, {}
    known = Known(eval_topics, np.zeros(len(columns.topic), dtype=np.uint64) if whose is None else whose)
    for name in (name for name in CHECKS if name in policies):
        check_stopping()
        # Checks run over the whole table, but a row of another split must neither be judged nor make a row a repeat.
        inside = np.zeros(len(columns.topic), dtype=bool)
        inside[rows.numbers] = True
        present = rows.kept & columns.of_judgments(inside)
        fault = CHECKS[name](columns, rows.numbers, present, known) & present
        rows, findings[name] = _applied(rows, name, policies[name], fault)
    return rows, findings


def group_by_prompt(rows: Selection, max_responses: int) -> Selection:
    """Merge comparisons of the same prompt: responses deduplicated by text, every judgment kept.

    A merged comparison has at most `max_responses` responses; a comparison beyond the limit starts the next group. A
    comparison alone in a group stays unchanged, including a rank vector and a larger number of responses. A comparison
    with the same text twice stays unchanged too.

    A plain text and a user's message with equal words stay separate, because templates may render the two differently.
    Prompts with different template arguments stay separate as well. A merged comparison is named "<first id>+<number of
    the others>", followed by "~" if the name is taken. Groups keep the order of first appearance.

    Raises:
        StopRequested: the process was asked to stop.
    """
    columns = rows.pool.columns
    groups: list[_Group] = []
    latest: dict[int, _Group] = {}
    for number in rows.numbers.tolist():
        check_stopping()
        key = int(columns.alike[number])
        texts = columns.response[columns.first_response[number] : columns.first_response[number + 1]].tolist()
        if key not in latest or not latest[key].admits(texts, max_responses):
            latest[key] = _Group([], set())
            groups.append(latest[key])
        latest[key].add(number, texts)
    sizes = [len(group.members) for group in groups]
    numbers = np.array([number for group in groups for number in group.members], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    return Selection(rows.pool, numbers, rows.kept, first, _names(rows, groups), rows.votes)


def _applied(rows: Selection, name: str, policy: Policy, fault: np.ndarray) -> tuple[Selection, Finding]:
    """Apply the policy of a check to the judgments at fault."""
    at_fault = _any(rows.pool.columns, fault)[rows.numbers]
    count = int(at_fault.sum())
    examples = [rows.pool[int(number)].id for number in rows.numbers[at_fault][:EXAMPLES]]
    if count and policy == "error":
        raise DataError(
            f"{count} training comparisons are {name}, such as {examples[0]}: {CHECKED[name]}",
            f"correct the data, or use --data.{name} drop, or --data.{name} keep",
        )
    if not count or policy != "drop":
        return rows, Finding(count, policy, examples, 0, 0)
    before = rows.count_judgments()
    left = Selection(rows.pool, rows.numbers, rows.kept & ~fault)
    left = left.take(np.flatnonzero(left.judgments_left()[left.numbers] > 0))
    return left, Finding(count, policy, examples, len(rows) - len(left), before - left.count_judgments())


def _any(columns: Columns, flags: np.ndarray) -> np.ndarray:
    """Flag comparisons with a flagged judgment: [G] bool."""
    found = np.zeros(len(columns.topic), dtype=bool)
    found[np.repeat(np.arange(len(columns.topic)), np.diff(columns.first_judgment))[flags]] = True
    return found


def _identical(columns: Columns, _: np.ndarray, present: np.ndarray, __: Known) -> np.ndarray:
    """Flag judgments between two responses with the same text."""
    return np.asarray(columns.response[columns.better] == columns.response[columns.worse])


def _empty(columns: Columns, _: np.ndarray, present: np.ndarray, __: Known) -> np.ndarray:
    """Flag comparisons with a blank response."""
    return columns.of_judgments(columns.blank)


def _bidirectional(columns: Columns, _: np.ndarray, present: np.ndarray, __: Known) -> np.ndarray:
    """Flag comparisons with bidirectional marks."""
    return columns.of_judgments(columns.marked)


def _contradictory(columns: Columns, _: np.ndarray, present: np.ndarray, __: Known) -> np.ndarray:
    """Flag judgments reversed by another judgment on the same two texts."""
    prompt = columns.of_judgments(columns.prompt)
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    claim, reverse = mixed(prompt, better, worse), mixed(prompt, worse, better)
    # The next lines sort all judgments several times, which takes seconds on large data.
    check_stopping()
    # A tie claims nothing, and so contradicts nothing.
    said = np.unique(claim[present & (columns.probability != 0.5)])
    return np.asarray((better != worse) & np.isin(claim, said) & np.isin(reverse, said))


def _duplicate(columns: Columns, numbers: np.ndarray, present: np.ndarray, known: Known) -> np.ndarray:
    """Flag comparisons that repeat an earlier, uncontradicted comparison, or a comparison of the same judge.

    If annotators disagree, each of several equal rows is a vote and stays.
    """
    signature, whose = signatures(columns, present)[numbers], known.whose[numbers]
    signature = np.where(whose != 0, mixed(signature, whose), signature)
    check_stopping()
    repeats = np.ones(len(numbers), dtype=bool)
    repeats[np.unique(signature, return_index=True)[1]] = False
    # The second row of a known judge is no second vote, whatever other judges say.
    repeats &= ~_any(columns, _contradictory(columns, numbers, present, known) & present)[numbers] | (whose != 0)
    faulty = np.zeros(len(columns.topic), dtype=bool)
    faulty[numbers[repeats]] = True
    return columns.of_judgments(faulty)


def _leaked(columns: Columns, _: np.ndarray, present: np.ndarray, known: Known) -> np.ndarray:
    """Flag comparisons with a prompt of an evaluation set."""
    return columns.of_judgments(np.isin(columns.topic, known.topics))


def signatures(columns: Columns, present: np.ndarray) -> np.ndarray:
    """Hash the prompt, template arguments, texts and preferences of each comparison: [G] uint64.

    The order of responses and judgments does not count; margins do not count either.
    """
    count = len(columns.topic)
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    # A tie prefers neither text: with 0 for both, the order of its two responses is no difference.
    first = np.where(columns.probability == 0.5, np.uint64(0), better)
    # The bits of the floats: converted to integers, 0.6 and 0.9 would be equal.
    certain = (columns.probability.view(np.uint64), columns.weight.view(np.uint64))
    preference = mixed(np.minimum(better, worse), np.maximum(better, worse), first, *certain)
    of_response = np.repeat(np.arange(count), np.diff(columns.first_response))
    of_judgment = np.repeat(np.arange(count), np.diff(columns.first_judgment))
    texts = _sums_of_sets(of_response, columns.response, count)
    return mixed(columns.prompt, texts, _sums_of_sets(of_judgment[present], preference[present], count))


def _sums_of_sets(owner: np.ndarray, hashes: np.ndarray, count: int) -> np.ndarray:
    """Sum the distinct hashes of each owner: [count]. The order of an owner's hashes does not count."""
    order = np.lexsort((hashes, owner))
    owner, hashes = owner[order], hashes[order]
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (owner[1:] != owner[:-1]) | (hashes[1:] != hashes[:-1])
    sums = np.zeros(count, dtype=np.uint64)
    # `np.add.at` adds every entry; `sums[owner] += ...` would keep a single entry of each owner.
    np.add.at(sums, owner[new], mixed(hashes[new]))
    return sums


CHECKS: dict[str, Check] = {
    "identical": _identical,
    "empty": _empty,
    "bidirectional": _bidirectional,
    "contradictory": _contradictory,
    "duplicate": _duplicate,
    "leaked": _leaked,
}
CHECKED = {
    "identical": "a judgment between two responses with the same text",
    "empty": "a response is blank",
    "bidirectional": "a text holds marks that show it in another order than it is read",
    "contradictory": "the same two texts are judged the other way round as well",
    "duplicate": "an earlier one has the same texts and the same preferences, which none contradicts",
    "leaked": "the prompt is also in an evaluation set",
}
"""Checks in order, and the fault found by each. Removing judgments can create duplicates; `duplicate` therefore runs
after the checks of judgments."""


@dataclass(slots=True)
class _Group:
    """Comparisons of a prompt collected for merging: numbers, and hashes of the responses."""

    members: list[int]
    texts: set[int]
    repeats: bool = False

    def admits(self, texts: list[int], max_responses: int) -> bool:
        """Return True if a comparison with these responses fits."""
        # Merging finds responses by text: two equal texts would become one, and a judgment between them would be
        # impossible.
        return not self.repeats and len(set(texts)) == len(texts) and len(self.texts.union(texts)) <= max_responses

    def add(self, number: int, texts: list[int]) -> None:
        """Add a comparison to the group."""
        self.members.append(number)
        self.texts.update(texts)
        self.repeats = len(set(texts)) < len(texts)


def _names(rows: Selection, groups: list[_Group]) -> dict[int, str]:
    """Name merged comparisons by place, without taking the id of another comparison."""
    names: dict[int, str] = {}
    taken = set(rows.pool.ids)
    for place, members in ((place, group.members) for place, group in enumerate(groups)):
        check_stopping()
        if len(members) > 1:
            name = f"{rows.pool[members[0]].id}+{len(members) - 1}"
            while name in taken:
                name += "~"
            taken.add(name)
            names[place] = name
    return names
