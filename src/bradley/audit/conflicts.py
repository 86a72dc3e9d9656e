"""Conflicts: judgments of a prompt that cannot all be true.

- A contradiction: the same two texts are judged both ways, in different rows or within one row.
- A cycle: A beats B, B beats C, and C beats A, all three decided. A judgment that another one contradicts takes part in
  no cycle, so that each fault counts once.
- Identical responses: a judgment between two equal texts.
- Empty responses: no text and no call.

Texts are compared to the byte, prompts with their template arguments. Prompts without a question are no prompt that
rows could share, see `data.columns.topic`.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from ..common.signals import check as check_stopping
from ..data.columns import Columns, mixed
from ..data.filters import CHECKS, NO_TOPICS, Known
from .finding import EXAMPLES, Finding
from .rows import RowSet

Edges = dict[int, list[tuple[int, int]]]
"""Text that wins -> (text that loses, number of the comparison), of one prompt."""


def by_check(rows: RowSet, name: str) -> np.ndarray:
    """Flag the judgments at fault by a check of `data.filters`: [J] bool."""
    columns = rows.columns
    present = np.ones(len(columns.probability), dtype=bool)
    known = Known(NO_TOPICS, np.zeros(len(rows), dtype=np.uint64))
    return CHECKS[name](columns, np.arange(len(rows)), present, known)


def owners(columns: Columns, flags: np.ndarray) -> np.ndarray:
    """Numbers of the comparisons with a flagged judgment, in order."""
    return np.unique(np.repeat(np.arange(len(columns.topic)), np.diff(columns.first_judgment))[flags])


def single(rows: RowSet, name: str) -> Finding:
    """Find rows that are at fault alone: `identical` or `empty`."""
    found = owners(rows.columns, by_check(rows, name))
    return Finding(found, found, [[int(number)] for number in found[:EXAMPLES]])


def contradictions(rows: RowSet) -> Finding:
    """Find rows with a judgment that another judgment of the same two texts reverses."""
    columns = rows.columns
    flags = by_check(rows, "contradictory")
    found = owners(columns, flags)
    pair = _pairs(columns)[flags]
    row = np.repeat(np.arange(len(rows)), np.diff(columns.first_judgment))[flags]
    keys = np.unique(pair)
    groups = [[int(number) for number in np.unique(row[pair == key])[:3]] for key in pair[_firsts(pair)][:EXAMPLES]]
    # Annotators who disagree are no error of the file: the reader decides.
    named = int((columns.judge[found] != 0).sum())
    return Finding(found, found, groups, {"pairs": len(keys), "rows_of_named_annotators": named})


def cycles(rows: RowSet) -> Finding:
    """Find rows that take part in an intransitive triple of texts of one prompt.

    Raises:
        StopRequested: the process was asked to stop.
    """
    count, members, groups = 0, set[int](), list[list[int]]()
    for edges in _graphs(rows):
        check_stopping()
        for triple in _triples(edges):
            count += 1
            members.update(triple)
            if len(groups) < EXAMPLES:
                groups.append(list(triple))
    found = np.array(sorted(members), dtype=np.int64)
    return Finding(found, found, groups, {"triples": count})


def _pairs(columns: Columns) -> np.ndarray:
    """Hash the prompt and the two texts of each judgment, in either order: [J]."""
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    prompt = columns.of_judgments(columns.prompt)
    return mixed(prompt, np.minimum(better, worse), np.maximum(better, worse))


def _firsts(keys: np.ndarray) -> np.ndarray:
    """Places of the first entry of each key, in order."""
    return np.sort(np.unique(keys, return_index=True)[1])


def _graphs(rows: RowSet) -> Iterator[Edges]:
    """Yield the judgments of each prompt that could be part of a cycle."""
    columns = rows.columns
    prompt = columns.of_judgments(mixed(columns.prompt, columns.topic))
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    row = np.repeat(np.arange(len(rows)), np.diff(columns.first_judgment))
    decided = (columns.probability != 0.5) & (better != worse) & ~by_check(rows, "contradictory")
    winner, loser = mixed(prompt, better), mixed(prompt, worse)
    _, first = np.unique(mixed(winner, loser), return_index=True)
    keep = np.zeros(len(row), dtype=bool)
    keep[first] = True
    keep &= decided
    # A text that never wins, or never loses, is in no cycle. Data of single pairs are done after one round.
    while True:
        both = np.isin(loser, winner[keep]) & np.isin(winner, loser[keep]) & keep
        if both.sum() == keep.sum():
            break
        keep = both
    places = np.flatnonzero(keep)
    places = places[np.argsort(prompt[places], kind="stable")]
    for part in np.split(places, np.flatnonzero(np.diff(prompt[places])) + 1):
        edges: Edges = defaultdict(list)
        for place in part.tolist():
            edges[int(winner[place])].append((int(loser[place]), int(row[place])))
        yield edges


def _triples(edges: Edges) -> Iterator[tuple[int, int, int]]:
    """Yield the comparisons of each cycle of three texts, once a cycle."""
    for first, losers in edges.items():
        for second, one in losers:
            # The smallest text begins: each cycle would otherwise come three times.
            if second <= first:
                continue
            for third, two in edges.get(second, ()):
                if third <= first:
                    continue
                for last, three in edges.get(third, ()):
                    if last == first:
                        yield one, two, three
