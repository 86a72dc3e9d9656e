"""Accuracy by tag and by source."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..records import ScoredComparison
from .intervals import interval_dict
from .judgments import JudgmentTable, half_ties

MIN_GROUPS, MAX_GROUPS = 2, 30
"""Fewest and most values of a reported tag. Fewer values split nothing; more values mean an identifier."""


def accuracy(decided: JudgmentTable) -> dict[str, Any]:
    """Pairwise accuracy of J decided judgments: share with the better response scoring higher, equal scores as 1/2.

    The result has 95 % intervals, clustered by prompt and naive; see `interval_dict`.
    """
    return interval_dict(half_ties(decided.margin), decided.prompt)


def group_figures(rows: Sequence[ScoredComparison], decided: JudgmentTable) -> dict[str, Any]:
    """Accuracy by tag and by source: the entries `by_tag` and `by_source` of `summarize`."""
    tags = sorted({tag for row in rows for tag in row.tags})
    by_tag = {tag: _by_value([row.tags.get(tag) for row in rows], decided) for tag in tags}
    by_source = _by_value([row.source for row in rows], decided)
    return {"by_tag": {tag: values for tag, values in by_tag.items() if values}, "by_source": by_source}


def _by_value(labels: Sequence[str | None], decided: JudgmentTable) -> dict[str, Any]:
    """Accuracy per label, rows without a label left out; empty unless the rows have 2 to 30 labels."""
    values = sorted({label for label in labels if label is not None})
    if not MIN_GROUPS <= len(values) <= MAX_GROUPS:
        return {}
    # A string array would turn None into the label "None"; an object array keeps None apart.
    of_judgment = np.array([labels[row] for row in decided.row], dtype=object)
    return {value: accuracy(decided.select(of_judgment == value)) for value in values}
