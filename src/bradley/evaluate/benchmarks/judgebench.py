"""JudgeBench (Tan et al. 2024, arXiv 2410.12784).

Published scheme: share of pairs whose correct response scores strictly higher, for four categories and over all pairs.
The set of each response model (GPT-4o: 350 pairs, Claude: 270 pairs) is reported apart. A scalar reward model is asked
in one order, as with the authors' `--single_game`: the rule for both orders is for judges that depend on the order.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ...records import ScoredComparison
from .figures import HALF, PUBLISHED, Figure, Result, accuracy, by_subset, items, notes_on, result
from .suite import Suite

NAME = "judgebench"
SCHEME = "correct above incorrect, strict; share of pairs, by response model"
CATEGORIES = ("Knowledge", "Reasoning", "Math", "Coding")
OVERALL = "Overall"
COUNTS: Mapping[str, int] = {"gpt-4o-2024-05-13": 350, "claude-3-5-sonnet-20240620": 270}
"""Published number of pairs by response model."""
HEADLINES = (OVERALL, *CATEGORIES, *(f"{OVERALL} ({model})" for model in COUNTS))


def aggregate(rows: Sequence[ScoredComparison]) -> Result:
    """Compute the figures of JudgeBench.

    With several response models, each name of a figure ends with the model in parentheses.

    Args:
        rows: scored rows with the tags `domain`, the category, and `response_model`.

    Raises:
        DataError: a score is not a finite number.
    """
    found = items(rows, "domain")
    writer = np.array([row.tags.get("response_model", "") for row in rows], dtype=np.str_)
    models = [str(name) for name in np.unique(writer)] or [""]
    overall, categories = list[Figure](), list[Figure]()
    for model in models:
        part = found.where(writer == model)
        label = f" ({model or 'no response model'})" if len(models) > 1 else ""
        present = [name for name in CATEGORIES if len(part.of(name))]
        overall += [accuracy(OVERALL + label, part), accuracy(OVERALL + label, part, HALF)]
        categories += [f._replace(name=f.name + label) for f in by_subset(part, present)]
    strict = [figure for figure in overall if figure.scheme == PUBLISHED]
    figures = [*strict, *categories, *(figure for figure in overall if figure.scheme == HALF)]
    there = {model: count for model, count in COUNTS.items() if model in models}
    notes = notes_on(rows, there, lambda row: row.tags.get("response_model", ""))
    if other := len(found) - len(found.of(*CATEGORIES)):
        notes.append(f"{other:,} rows are of no category, and count in `{OVERALL}` alone")
    return result(NAME, SCHEME, figures, notes)


SUITE = Suite(NAME, "JudgeBench", aggregate, CATEGORIES, HEADLINES, "Tan et al. 2024, arXiv 2410.12784")
