"""Policies about faulty comparisons, and the merging of comparisons that share a prompt.

Everything is computed from columns of hashes, in passes over arrays, so texts are not read again. Two responses have
the same text when their messages are equal, role by role and to the byte. Comparisons without a prompt, or with a
blank one, share nothing: see `columns.topic`.

Legend: G comparisons of a pool, J judgments of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..common.signals import check as check_stopping
from ..config import Policy
from ..errors import DataError
from .columns import Columns, mixed
from .table import Selection

EXAMPLES = 5
NOTHING = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        count: comparisons with the fault.
        policy: what was done about them.
        examples: ids of the first ones, five at most.
        dropped: comparisons that left for it.
        judgments: judgments that left for it, those of the dropped comparisons included.
    """

    count: int
    policy: Policy
    examples: list[str]
    dropped: int
    judgments: int


Check = Callable[[Columns, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(columns, numbers of the comparisons that are left, judgments that are left [J], topics of the evaluation sets) ->
[J] whether a judgment is at fault, whatever it says of those that are not left."""


def apply_filters(
    rows: Selection, policies: dict[str, Policy], eval_topics: np.ndarray = NOTHING
) -> tuple[Selection, dict[str, Finding]]:
    """Apply `policies`, a policy for each of `CHECKS` or some of them, in the order of `CHECKS`.

    A check looks at what the checks before it left. `drop` takes out the judgments at fault, and a comparison that has
    none left goes; a rank vector stays only where every judgment does, as it would bring them back.

    Args:
        rows: in the order in which they stay, none of them merged.
        policies: keep, drop or error by check.
        eval_topics: `Columns.topic` of every comparison in an evaluation set, for the check `leaked`.

    Raises:
        DataError: a fault was found whose policy is `error`.
        StopRequested: the process was asked to stop.
    """
    assert rows.alone, "policies look at comparisons as they came"
    columns, findings = rows.pool.columns, {}
    for name in (name for name in CHECKS if name in policies):
        check_stopping()
        inside = np.zeros(len(columns.topic), dtype=bool)
        inside[rows.numbers] = True
        present = rows.kept & columns.of_judgments(inside)
        fault = CHECKS[name](columns, rows.numbers, present, eval_topics) & present
        rows, findings[name] = _applied(rows, name, policies[name], fault)
    return rows, findings


def _applied(rows: Selection, name: str, policy: Policy, fault: np.ndarray) -> tuple[Selection, Finding]:
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
    """[G] whether any judgment of a comparison is flagged."""
    found = np.zeros(len(columns.topic), dtype=bool)
    found[np.repeat(np.arange(len(columns.topic)), np.diff(columns.first_judgment))[flags]] = True
    return found


def _identical(columns: Columns, _: np.ndarray, present: np.ndarray, __: np.ndarray) -> np.ndarray:
    return np.asarray(columns.response[columns.better] == columns.response[columns.worse])


def _empty(columns: Columns, _: np.ndarray, present: np.ndarray, __: np.ndarray) -> np.ndarray:
    return columns.of_judgments(columns.blank)


def _bidirectional(columns: Columns, _: np.ndarray, present: np.ndarray, __: np.ndarray) -> np.ndarray:
    return columns.of_judgments(columns.marked)


def _contradictory(columns: Columns, _: np.ndarray, present: np.ndarray, __: np.ndarray) -> np.ndarray:
    prompt = columns.of_judgments(columns.prompt)
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    claim, reverse = mixed(prompt, better, worse), mixed(prompt, worse, better)
    check_stopping()  # what follows sorts all judgments several times
    said = np.unique(claim[present & (columns.probability != 0.5)])
    return np.asarray((better != worse) & np.isin(claim, said) & np.isin(reverse, said))


def _duplicate(columns: Columns, numbers: np.ndarray, present: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """Repeats of what nobody contradicts: where people disagree, each of several equal rows is a vote."""
    signature = _signatures(columns, present)[numbers]
    check_stopping()
    repeats = np.ones(len(numbers), dtype=bool)
    repeats[np.unique(signature, return_index=True)[1]] = False
    repeats &= ~_any(columns, _contradictory(columns, numbers, present, nothing) & present)[numbers]
    faulty = np.zeros(len(columns.topic), dtype=bool)
    faulty[numbers[repeats]] = True
    return columns.of_judgments(faulty)


def _leaked(columns: Columns, _: np.ndarray, present: np.ndarray, eval_topics: np.ndarray) -> np.ndarray:
    return columns.of_judgments(np.isin(columns.topic, eval_topics))


def _signatures(columns: Columns, present: np.ndarray) -> np.ndarray:
    """[G] equal for comparisons with the same prompt, template arguments, texts and preferences, in whatever order;
    margins aside."""
    count = len(columns.topic)
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    first = np.where(columns.probability == 0.5, np.uint64(0), better)
    certain = (columns.probability.view(np.uint64), columns.weight.view(np.uint64))
    preference = mixed(np.minimum(better, worse), np.maximum(better, worse), first, *certain)
    of_response = np.repeat(np.arange(count), np.diff(columns.first_response))
    of_judgment = np.repeat(np.arange(count), np.diff(columns.first_judgment))
    texts = _sums_of_sets(of_response, columns.response, count)
    return mixed(columns.prompt, texts, _sums_of_sets(of_judgment[present], preference[present], count))


def _sums_of_sets(owner: np.ndarray, hashes: np.ndarray, count: int) -> np.ndarray:
    """[count] the sum of each owner's hashes, equal ones once: the order of its members changes nothing."""
    order = np.lexsort((hashes, owner))
    owner, hashes = owner[order], hashes[order]
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (owner[1:] != owner[:-1]) | (hashes[1:] != hashes[:-1])
    sums = np.zeros(count, dtype=np.uint64)
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
"""The checks in their order, and what each says. Taking judgments away can make duplicates, so these come after."""


def group_by_prompt(rows: Selection, max_responses: int) -> Selection:
    """Merge comparisons of one prompt: responses deduplicated by text, every judgment kept.

    A merged comparison has at most `max_responses` responses; one that would not fit starts the next. A comparison
    alone stays as it is, its rank vector and a larger number of responses included, and so does one that holds the
    same text twice. A plain text and a user's message stay apart even if their words are the same, as templates may
    write them differently, and so do prompts with different arguments for the template. The merged ones are called
    "<first id>+<number of the others>", with "~" behind it where that is taken. Order is that of first appearance.

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
    return Selection(rows.pool, numbers, rows.kept, first, _names(rows, groups))


@dataclass(slots=True)
class _Group:
    """Numbers of comparisons of one prompt on their way to become one, and the hashes of their responses."""

    members: list[int]
    texts: set[int]
    repeats: bool = False

    def admits(self, texts: list[int], max_responses: int) -> bool:
        """Whether a comparison with these responses fits."""
        return not self.repeats and len(set(texts)) == len(texts) and len(self.texts.union(texts)) <= max_responses

    def add(self, number: int, texts: list[int]) -> None:
        """Take a comparison in."""
        self.members.append(number)
        self.texts.update(texts)
        self.repeats = len(set(texts)) < len(texts)


def _names(rows: Selection, groups: list[_Group]) -> dict[int, str]:
    """Ids of the merged comparisons, by their place; none that any comparison has already."""
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
