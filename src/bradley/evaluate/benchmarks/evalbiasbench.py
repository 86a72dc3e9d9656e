"""EvalBiasBench (Park et al. 2024, arXiv 2407.06551).

Published scheme: accuracy for each of six biases; a pair counts if the better response scores strictly higher. Ours in
addition: the accuracy over all pairs, and the unweighted mean of the biases.
"""

from collections.abc import Mapping, Sequence

from ...records import ScoredComparison
from .figures import HALF, Figure, Result, accuracy, by_subset, items, notes_on, result
from .sections import mean_of_sections
from .suite import Suite

NAME = "evalbiasbench"
SCHEME = "better response strictly above the other; accuracy by bias"
COUNTS: Mapping[str, int] = {
    "length": 17,
    "concreteness": 14,
    "empty reference": 13,
    "content continuation": 12,
    "nested instruction": 12,
    "familiar knowledge": 12,
}
ALL, MEAN = "All pairs", "Mean of biases"
EQUAL = "biases equal"
HEADLINES = (*COUNTS, ALL, MEAN)


def aggregate(rows: Sequence[ScoredComparison]) -> Result:
    """Compute the figures of EvalBiasBench; biases are independent.

    Args:
        rows: scored rows with the tag `subset`, the bias.

    Raises:
        DataError: a score is not a finite number.
    """
    found = items(rows)
    biases = by_subset(found, list(COUNTS))
    mean = Figure(MEAN, EQUAL, mean_of_sections([figure.interval for figure in biases]))
    figures = [*biases, accuracy(ALL, found, "every pair once"), mean, *by_subset(found, list(COUNTS), HALF)]
    return result(NAME, SCHEME, figures, notes_on(rows, COUNTS))


SUITE = Suite(NAME, "EvalBiasBench", aggregate, tuple(COUNTS), HEADLINES, "Park et al. 2024, arXiv 2407.06551")
