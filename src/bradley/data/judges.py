"""Judges of one pair: rows that judge the same two responses to the same prompt, gathered into votes.

A pair is a comparison of two different texts with one judgment. Rows of the same pair come from several judges, or are
duplicates. Several judges are evident where a column such as `annotator` differs within the pair, or where a source
holds opposite labels of some pair. Everywhere else, equal rows are duplicates.

Where several judges are evident, a duplicate is a row with the preference and the judge of an earlier row. The column
of the annotator names the judge. Without such a column, the id of the row stands for the judge, if ids name rows: no id
of the source stands for two different preferences or pairs. Without either, every row is a vote.

Legend: G comparisons of a table, J judgments of the table.
"""

from typing import Any, NamedTuple

import numpy as np

from .columns import Columns, mixed
from .filters import signatures
from .table import Selection

JUDGE, ROW, ALONE = (np.uint64(kind) for kind in (1, 2, 3))
"""Kinds of judges: an annotator, the row of an id, and a row without a name."""


class _Pairs(NamedTuple):
    """Comparisons with one judgment on two different texts.

    Attributes:
        numbers: [P] numbers in the table.
        judgment: [P] place of the judgment in the table.
        group: [P] equal for rows of the same pair, from 0 on.
        first: [P] bool, True if the better response is the first of the pair, in an order free of the rows.
    """

    numbers: np.ndarray
    judgment: np.ndarray
    group: np.ndarray
    first: np.ndarray


def whose(rows: Selection, judges: str) -> np.ndarray:
    """Name the judge of each comparison of the table, as a hash: [G] uint64; 0 where no several judges are evident.

    Args:
        rows: comparisons of a split, none merged.
        judges: `auto`, `gather` or `apart`, see `Data.judges`.
    """
    columns = rows.pool.columns
    found = np.zeros(len(columns.topic), dtype=np.uint64)
    if judges == "apart":
        return found
    pairs = _pairs(rows)
    # Most data sets repeat no pair, and the sorting below takes seconds on large data.
    if pairs.group.max(initial=-1) + 1 == len(pairs.numbers):
        return found
    evident = np.ones(len(pairs.numbers), dtype=bool)
    if judges == "auto":
        evident = _in_opposed_parts(columns, pairs) | _of_several_judges(columns, pairs)
    numbers = pairs.numbers[evident]
    judge, own = columns.judge[numbers], np.where(_ids_name_rows(rows, numbers), columns.own[numbers], np.uint64(0))
    kind = np.where(judge != 0, JUDGE, np.where(own != 0, ROW, ALONE))
    name = np.where(judge != 0, judge, np.where(own != 0, own, numbers.astype(np.uint64)))
    found[numbers] = mixed(kind, name)
    return found


def gather(rows: Selection, judge: np.ndarray, votes: str, equal: str) -> tuple[Selection, dict[str, Any]]:
    """Merge the rows of each pair with several judges into one comparison, judged by the share of the votes.

    The comparison is the first row on the side of the majority. The probability is the share of the votes weighted by
    row, 1 with `votes = "majority"`; the weight is the mean of the rows' weights, as a row of votes has weight 1.
    Equal votes follow `equal`, as in `Data.equal_scores`.

    Args:
        rows: comparisons left by the filters, none merged.
        judge: result of `whose`.
        votes, equal: settings `data.votes` and `data.equal_scores`.

    Returns:
        The remaining rows; and counts: `pairs` gathered, `rows` gathered, `opposed` pairs with opposite labels, and
        `tied` pairs left out for equal votes.
    """
    columns, nothing = rows.pool.columns, {"pairs": 0, "rows": 0, "opposed": 0, "tied": 0}
    if not judge.any():
        return rows, nothing
    pairs = _pairs(rows)
    pairs = _taken(pairs, judge[pairs.numbers] != 0)
    sizes = np.bincount(pairs.group, minlength=1)
    pairs = _taken(pairs, sizes[pairs.group] > 1)
    if not len(pairs.numbers):
        return rows, nothing
    probability, weight = columns.probability[pairs.judgment], columns.weight[pairs.judgment]
    _, group = np.unique(pairs.group, return_inverse=True)
    # Both sides are summed: the complement of a rounded share would differ from the share of a row of votes.
    share = np.where(pairs.first, probability, 1.0 - probability)
    first, second = (np.bincount(group, weight * side) for side in (share, 1.0 - share))
    heavier = np.maximum(first, second)
    tied = first == second
    chance = np.where(tied, 0.5, 1.0 if votes == "majority" else heavier / (first + second))
    # The first row on the winning side stands for the pair; a tie has two winning sides.
    winning = (tied[group] | (pairs.first == (first > second)[group])) & ((probability != 0.5) | tied[group])
    place = np.flatnonzero(winning)
    heads = place[np.unique(group[place], return_index=True)[1]]
    new = columns.probability.copy(), columns.weight.copy()
    new[0][pairs.judgment[heads]] = chance
    new[1][pairs.judgment[heads]] = (first + second) / np.bincount(group)
    gone = np.zeros(len(columns.topic), dtype=bool)
    gone[pairs.numbers] = True
    out = tied & (equal == "skip")
    gone[pairs.numbers[heads[~out]]] = False
    left = rows.take(np.flatnonzero(~gone[rows.numbers]))
    sides = [np.bincount(group, pairs.first == side) > 0 for side in (True, False)]
    counts = {
        "pairs": int((~out).sum()),
        "rows": len(pairs.numbers),
        "opposed": int((sides[0] & sides[1]).sum()),
        "tied": int(out.sum()),
    }
    return Selection(left.pool, left.numbers, left.kept, votes=new), counts


def _pairs(rows: Selection) -> _Pairs:
    """Find the pairs among comparisons."""
    assert rows.alone, "judges are gathered before comparisons are merged"
    columns, numbers = rows.pool.columns, rows.numbers
    two = np.diff(columns.first_response)[numbers] == 2
    once = np.diff(columns.first_judgment)[numbers] == 1
    numbers = numbers[two & once]
    judgment = columns.first_judgment[numbers]
    better, worse = columns.response[columns.better[judgment]], columns.response[columns.worse[judgment]]
    differ = (better != worse) & rows.kept[judgment]
    numbers, judgment, better, worse = numbers[differ], judgment[differ], better[differ], worse[differ]
    key = mixed(columns.prompt[numbers], np.minimum(better, worse), np.maximum(better, worse))
    return _Pairs(numbers, judgment, np.unique(key, return_inverse=True)[1], better < worse)


def _taken(pairs: _Pairs, chosen: np.ndarray) -> _Pairs:
    """Take the chosen pairs."""
    return _Pairs(*(column[chosen] for column in pairs))


def _in_opposed_parts(columns: Columns, pairs: _Pairs) -> np.ndarray:
    """Flag pairs of a source that holds opposite labels of some pair: [P] bool."""
    part = columns.part[pairs.numbers]
    decided = columns.probability[pairs.judgment] != 0.5
    group = mixed(part.astype(np.uint64), pairs.group.astype(np.uint64))
    first, second = (np.unique(group[decided & (pairs.first == side)]) for side in (True, False))
    return np.isin(part, part[np.isin(group, np.intersect1d(first, second))])


def _of_several_judges(columns: Columns, pairs: _Pairs) -> np.ndarray:
    """Flag rows of a pair with two different annotators: [P] bool."""
    judge = columns.judge[pairs.numbers]
    named = judge != 0
    return np.isin(pairs.group, _with_several(pairs.group[named], judge[named]))


def _ids_name_rows(rows: Selection, numbers: np.ndarray) -> np.ndarray:
    """Flag comparisons of a source whose ids name rows: no id stands for two different comparisons."""
    columns = rows.pool.columns
    part, own = columns.part[numbers].astype(np.uint64), columns.own[numbers]
    signature = signatures(columns, rows.kept)[numbers]
    ids = mixed(part, own)
    parts = np.unique(part[np.isin(ids, _with_several(ids, signature)) & (own != 0)])
    return ~np.isin(part, parts)


def _with_several(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the owners with two different values or more."""
    order = np.lexsort((values, owner))
    owner, values = owner[order], values[order]
    return np.unique(owner[1:][(owner[1:] == owner[:-1]) & (values[1:] != values[:-1])])
