"""LLMBar (Zeng et al. 2023, arXiv 2310.07641).

Published scheme: accuracy on Natural, on each of the four adversarial sets, and the unweighted mean of the four.
"""

from collections.abc import Mapping, Sequence

from ...records import ScoredComparison
from .figures import HALF, PUBLISHED, Figure, Result, by_subset, items, notes_on, result
from .sections import mean_of_sections
from .suite import Suite

NAME = "llmbar"
SCHEME = "better output strictly above the other; accuracy by set, adversarial = mean of four sets"
NATURAL, ADVERSARIAL = "Natural", "Adversarial"
SETS = ("Neighbor", "GPTInst", "GPTOut", "Manual")
COUNTS: Mapping[str, int] = {NATURAL: 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
HEADLINES = (NATURAL, ADVERSARIAL, *SETS)


def aggregate(rows: Sequence[ScoredComparison]) -> Result:
    """Compute the figures of LLMBar; the adversarial sets are independent.

    Args:
        rows: scored rows with the tag `subset`.

    Raises:
        DataError: a score is not a finite number.
    """
    found = items(rows)
    figures = []
    for scheme in (PUBLISHED, HALF):
        natural, *adversarial = by_subset(found, [NATURAL, *SETS], scheme)
        mean = mean_of_sections([figure.interval for figure in adversarial])
        figures += [natural, Figure(ADVERSARIAL, scheme, mean), *adversarial]
    return result(NAME, SCHEME, figures, notes_on(rows, COUNTS))


SUITE = Suite(NAME, "LLMBar", aggregate, tuple(COUNTS), HEADLINES, "Zeng et al. 2023, arXiv 2310.07641")
