"""Folds by cluster, for figures that are fitted on one part of a set and measured on the other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
"""Parts of a set in cross-fitting."""


def cluster_folds(clusters: NDArray[Any], folds: int = FOLDS, seed: int = 0) -> NDArray[np.intp]:
    """Number the fold of each value [n]: whole clusters, as equal in number as possible.

    Folds depend on the names of the clusters and on the seed alone. With fewer clusters than folds, some folds are
    empty.

    Example:
        cluster_folds(np.array(["a", "a", "b"]), folds=2)  # both values of "a" share a fold
    """
    names, codes = np.unique(clusters, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    result: NDArray[np.intp] = (order % folds)[codes.reshape(-1)]
    return result
