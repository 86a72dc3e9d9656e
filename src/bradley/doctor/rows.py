"""Rows of an examination: a share to train on, training rows held out by prompt, and rows of an evaluation set."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..common.seeds import generator
from ..config import Data
from ..data.diagnostics import Changes, Donors, replace_negatives, replace_responses, shuffle_labels
from ..data.load import Splits, load_splits
from ..data.table import Selection, select
from ..evaluate.power import POWER, reach
from ..evaluate.probes import probed
from ..records import Comparison
from .results import TOLERANCE

HELD_OUT = "held_out"
"""Name of the set of training rows kept out of the training."""
MOST_HELD_OUT = 0.3
"""Share of the training rows held out, at most."""
Change = Callable[[Sequence[Comparison]], list[Comparison]]


class Share(NamedTuple):
    """Rows of a short training.

    Attributes:
        train: rows to train on.
        held_out: training rows of other prompts.
        evaluation: rows of an evaluation set.
        name: of the evaluation set.
    """

    train: Sequence[Comparison]
    held_out: Sequence[Comparison]
    evaluation: Sequence[Comparison]
    name: str


def prompts_for(confidence: float) -> int:
    """Count the prompts that tell an accuracy of 1/2 from one `TOLERANCE` away, with 80 % power.

    Example:
        prompts_for(0.99)  # 1168
    """
    return math.ceil((reach(POWER, confidence) * 0.5 / TOLERANCE) ** 2)


def share_of(splits: Splits, seed: int, train: int, measured: int) -> Share:
    """Draw a share of the rows, seeded.

    Args:
        splits: all rows of a configuration.
        seed: of the draws.
        train: training rows, at most.
        measured: held-out rows and evaluation rows, at most so many of each.
    """
    rows = _selection(splits.train)
    prompts = rows.column("topic")
    keys = np.unique(prompts)
    order = generator(seed, "doctor", "held out").permutation(keys)
    sizes = np.cumsum(np.array([(prompts == key).sum() for key in order[: measured + 1]]))
    most = min(measured, int(MOST_HELD_OUT * len(rows)))
    held = order[: max(1, int(np.searchsorted(sizes, most, side="right")))] if len(keys) > 1 else order[:0]
    outside = np.isin(prompts, held)
    left = generator(seed, "doctor", "train").permutation(np.flatnonzero(~outside))[:train]
    name = next(iter(splits.evals), "")
    evaluation = sampled(splits.evals[name], seed, measured) if name else []
    return Share(rows.take(np.sort(left)), rows.take(np.flatnonzero(outside)), evaluation, name)


def sampled(rows: Sequence[Comparison], seed: int, most: int) -> list[Comparison]:
    """Draw at most `most` rows, seeded, in the order of the rows."""
    places = generator(seed, "doctor", "rows").permutation(len(rows))[:most]
    return [rows[place] for place in sorted(places.tolist())]


def splits_of(share: Share, seed: int) -> Splits:
    """Make the splits of a short training; policies have run before, and nothing is dropped again."""
    kept = Data(leaked="keep", duplicate="keep", judges="apart", valid_share=0.0, max_rejected_share=0.99)
    sets = {HELD_OUT: list(share.held_out), share.name: list(share.evaluation)}
    given = {name: rows for name, rows in sets.items() if rows}
    valid = given.pop("valid", None)
    return load_splits(kept, seed, train=list(share.train), valid=valid, eval_sets=given, cache=None)


def shuffled(share: Share, seed: int) -> Share:
    """Reverse the labels of each comparison with probability 1/2, in training and evaluation rows."""

    def flipped(name: str, rows: Sequence[Comparison]) -> list[Comparison]:
        return list(shuffle_labels(rows, 0.5, generator(seed, "doctor", "shuffled", name), Changes()))

    train, held_out = flipped("train", share.train), flipped("held out", share.held_out)
    return Share(train, held_out, flipped("evaluation", share.evaluation), share.name)


def with_other_responses(rows: Sequence[Comparison], seed: int, most: int) -> list[Comparison]:
    """Replace every response by one to another prompt, again and again up to `most` rows; raises as `Donors.draw`.

    Draws are independent of labels and of each other, so a small set decides like a large one.
    """
    donors = _donors(rows, seed)
    return [row for _ in range(_rounds(rows, most)) for row in replace_responses(rows, donors, Changes())]


def with_other_negatives(rows: Sequence[Comparison], seed: int, most: int) -> list[Comparison]:
    """Replace every response but the best by the best to another prompt, as `with_other_responses`."""
    donors = _donors(rows, seed)
    return [row for _ in range(_rounds(rows, most)) for row in replace_negatives(rows, donors, Changes())]


def with_other_prompts(rows: Sequence[Comparison], seed: int) -> list[Comparison]:
    """Give every comparison the prompt of another; empty if all share one prompt."""
    return probed(list(rows), "another_prompt", seed)


def _rounds(rows: Sequence[Comparison], most: int) -> int:
    return max(1, -(-most // len(rows)))


def _donors(rows: Sequence[Comparison], seed: int) -> Donors:
    return Donors(rows, generator(seed, "doctor", "donors"), "evaluation")


def _selection(rows: Sequence[Comparison]) -> Selection:
    return rows if isinstance(rows, Selection) else select(rows)
