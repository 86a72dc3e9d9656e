"""Agreement of annotators, and the accuracy that no model can exceed on single labels.

Two judgments of the same two texts are of different annotators if the rows name different annotators, or if they are
votes within a row of votes; ties are left out. Rows that name nobody may be copies of one judgment: such rows are
duplicates or contradictions, and no agreement.

With p the probability that an annotator prefers the first response of a pair, two annotators agree with the probability
a = p^2 + (1 - p)^2, and the best possible model is right on single labels with max(p, 1 - p). Averaged over pairs with
mean agreement A,

    A <= ceiling <= (1 + sqrt(2 A - 1)) / 2,

the right end reached if all pairs are equally hard (Jensen's inequality; below A = 1/2 the bound is 1/2). The mean of
1 for agreement and 0 otherwise over all pairs of annotators of a pair of texts estimates `a` without bias.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data.columns import mixed
from ..evaluate.intervals import interval_figures
from .duplicates import first_of
from .rows import RowSet


def agreement(rows: RowSet) -> dict[str, Any]:
    """Agreement of the annotators of a set, ready for JSON.

    Returns:
        `pairs` of texts judged by several annotators, `judgments` on them, `agreement` of two annotators, and
        `ceiling`, the largest accuracy that the agreement allows, both with intervals clustered by prompt.
    """
    parts = [_of_named(rows), _of_votes(rows)]
    count, first, topic = (np.concatenate(each) for each in zip(*parts, strict=True))
    several = count >= 2
    n, k = count[several], first[several]
    agree = (k * (k - 1) + (n - k) * (n - k - 1)) / (n * (n - 1))
    found = interval_figures(agree, topic[several], empty="no pair was judged by several annotators")
    return {
        "pairs": int(several.sum()),
        "judgments": int(n.sum()),
        "agreement": found,
        "ceiling": _ceiling(found),
    }


def _of_named(rows: RowSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judgments of each pair by annotators whom the rows name: number, number for one side, and prompt."""
    columns = rows.columns
    named = columns.of_judgments(columns.judge) != 0
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    keep = (columns.probability == 1.0) & named & (better != worse)
    prompt, topic = (columns.of_judgments(each)[keep] for each in (columns.prompt, columns.topic))
    pair = mixed(prompt, np.minimum(better, worse)[keep], np.maximum(better, worse)[keep])
    side, judge = (better < worse)[keep], columns.of_judgments(columns.judge)[keep]
    # The second judgment of one annotator is no second opinion.
    own = np.flatnonzero(first_of(mixed(pair, judge)) == np.arange(len(pair)))
    _, place, code = np.unique(pair[own], return_index=True, return_inverse=True)
    return np.bincount(code).astype(float), np.bincount(code, weights=side[own]), topic[own][place]


def _of_votes(rows: RowSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Votes of each row of votes: number without ties, number for the first response, and prompt."""
    votes = np.array(list(rows.votes.values()), dtype=np.float64).reshape(-1, 2)
    numbers = np.array(list(rows.votes), dtype=np.int64)
    return votes.sum(axis=1), votes[:, 0], rows.columns.topic[numbers]


def _ceiling(found: Mapping[str, Any]) -> dict[str, Any]:
    """Upper bound of the accuracy from the agreement, with the ends of the interval carried over."""
    ends = {key: None if found[key] is None else ceiling(found[key]) for key in ("value", "low", "high")}
    return {**found, **ends}


def ceiling(agreement: float) -> float:
    """Largest accuracy on single labels under a mean agreement of two annotators.

    Example:
        ceiling(0.68)  # 0.8: each pair is preferred with probability 0.8 by an annotator
    """
    return (1.0 + math.sqrt(max(0.0, 2.0 * agreement - 1.0))) / 2.0
