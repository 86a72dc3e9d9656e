"""Agreement of annotators, and the accuracy that no model can exceed on single labels.

Two judgments of the same two texts are of different annotators if the rows name different annotators, or if the row
says with which share of its votes a response was preferred. Rows that name nobody may be copies of one judgment: they
are duplicates or contradictions, and no agreement.

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
    """Agreement of annotators named by the rows, ready for JSON.

    Returns:
        `pairs` of texts judged by several annotators, `judgments` on them, `agreement` of two annotators, and
        `ceiling`, the largest accuracy that the agreement allows, both with intervals clustered by prompt; `shared`,
        judgments that are shares of votes, of unknown number.
    """
    columns = rows.columns
    decided = columns.probability == 1.0
    named = columns.of_judgments(columns.judge) != 0
    better, worse = columns.response[columns.better], columns.response[columns.worse]
    prompt = columns.of_judgments(columns.prompt)
    keep = decided & named & (better != worse)
    pair = mixed(prompt, np.minimum(better, worse), np.maximum(better, worse))[keep]
    first, judge = (better < worse)[keep], columns.of_judgments(columns.judge)[keep]
    topic = columns.of_judgments(columns.topic)[keep]
    # The second judgment of one annotator is no second opinion.
    own = np.flatnonzero(first_of(mixed(pair, judge)) == np.arange(len(pair)))
    pair, first, topic = pair[own], first[own], topic[own]
    _, place, code = np.unique(pair, return_index=True, return_inverse=True)
    votes, ones = np.bincount(code).astype(float), np.bincount(code, weights=first)
    several = votes >= 2
    n, k = votes[several], ones[several]
    agree = (k * (k - 1) + (n - k) * (n - k - 1)) / (n * (n - 1))
    found = interval_figures(agree, topic[place][several], empty="no pair was judged by several named annotators")
    return {
        "pairs": int(several.sum()),
        "judgments": int(n.sum()),
        "agreement": found,
        "ceiling": _ceiling(found),
        "shared": int(((columns.probability != 1.0) & (columns.probability != 0.5)).sum()),
    }


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
