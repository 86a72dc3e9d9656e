"""Random comparisons with judgments and rankings, as a loss gets them, for tests of losses."""

import math
from dataclasses import fields, replace

import numpy as np
import torch

from bradley.losses import LOSSES, Loss, Targets

VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "bradley_terry": ("bradley_terry", {"beta": 0.7}),
    "smoothed": ("bradley_terry", {"label_smoothing": 0.2}),
    "with margins": ("bradley_terry", {"beta": 1.5, "margin_scale": 0.5}),
    "smoothed with margins": ("bradley_terry", {"label_smoothing": 0.1, "margin_scale": 1.0}),
    "plackett_luce": ("plackett_luce", {"beta": 0.7}),
    "rao_kupper": ("rao_kupper", {"beta": 0.7, "tie_strength": 0.8}),
    "rao_kupper smoothed": ("rao_kupper", {"label_smoothing": 0.2, "tie_strength": 2.0}),
    "davidson": ("davidson", {"beta": 0.7, "tie_strength": 0.8}),
    "davidson smoothed": ("davidson", {"label_smoothing": 0.2, "tie_strength": 2.0}),
    "margin_penalty l1": ("margin_penalty", {"kind": "l1"}),
    "margin_penalty l2": ("margin_penalty", {"kind": "l2"}),
    "score_penalty": ("score_penalty", {}),
    "centering": ("centering", {}),
}
"""Every loss, under the options that change its formula."""


def loss(variant: str) -> Loss:
    name, options = VARIANTS[variant]
    return lambda scores, targets: LOSSES[name](scores, targets, **options)


def draw(seed: int, most_responses: int = 6, spread: float = 3.0) -> tuple[torch.Tensor, Targets]:
    """[R] float64 scores and targets of a few comparisons: certain, soft and tied labels, some margins missing, some
    comparisons ranked (in which places may be equal) and some not."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, most_responses + 1, rng.integers(1, 7))
    starts = np.cumsum(sizes) - sizes
    rows = [[start, *rng.permutation(size)[:2]] for start, size in zip(starts, sizes, strict=True) for _ in range(size)]
    start, better, worse = np.array(rows).T
    margin = rng.uniform(0, 3, len(rows))
    rank = np.concatenate([rng.integers(0, size, size).astype(float) for size in sizes])
    unranked = np.repeat(rng.random(len(sizes)) < 0.3, sizes)
    targets = Targets(
        better=torch.from_numpy(start + better),
        worse=torch.from_numpy(start + worse),
        probability=torch.from_numpy(rng.choice([0.5, 0.7, 0.9, 1.0], len(rows))).float(),
        margin=torch.from_numpy(np.where(rng.random(len(rows)) < 0.3, np.nan, margin)).float(),
        weight=torch.from_numpy(rng.uniform(0.2, 2.0, len(rows))).float(),
        group=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        rank=torch.from_numpy(np.where(unranked, np.nan, rank)).float(),
    )
    return torch.from_numpy(rng.normal(0, spread, sizes.sum())), targets


def cut(scores: torch.Tensor, targets: Targets, comparisons: list[int]) -> tuple[torch.Tensor, Targets]:
    """The scores and targets of some comparisons alone, renumbered as a micro-batch numbers them."""
    kept = torch.cat([torch.nonzero(targets.group == g)[:, 0] for g in comparisons])
    judged = torch.isin(targets.better, kept)
    place = torch.full((len(scores),), -1).index_put((kept,), torch.arange(len(kept)))
    new_group = {g: number for number, g in enumerate(comparisons)}
    parts = {f.name: getattr(targets, f.name)[judged] for f in fields(targets) if f.name not in ("group", "rank")}
    parts |= {"better": place[parts["better"]], "worse": place[parts["worse"]]}
    group = torch.tensor([new_group[int(g)] for g in targets.group[kept]])
    return scores[kept], Targets(**parts, group=group, rank=targets.rank[kept])


def totals(scores: torch.Tensor, targets: Targets) -> dict[str, float]:
    """What a step of these comparisons is divided by."""
    return {
        "judgment_weight": float(targets.weight.double().sum()),
        "response": float(len(scores)),
        "comparison": float(len(targets.group.unique())),
    }


def swapped(targets: Targets) -> Targets:
    """The same scores with every label turned round."""
    highest = targets.rank.nan_to_num().max()
    return replace(targets, better=targets.worse, worse=targets.better, rank=highest - targets.rank)


def targets(better, worse, probability=None, weight=None, responses=None, margin=None, group=None, rank=None):
    count = len(better)
    size = responses or max([*better, *worse]) + 1
    return Targets(
        better=torch.tensor(better),
        worse=torch.tensor(worse),
        probability=torch.tensor(probability or [1.0] * count),
        margin=torch.tensor(margin or [math.nan] * count),
        weight=torch.tensor(weight or [1.0] * count),
        group=torch.tensor(group or [0] * size),
        rank=torch.tensor(rank or [math.nan] * size),
    )
