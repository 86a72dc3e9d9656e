"""Figures: pure functions from tables to matplotlib figures. Files are written by `report.page`."""

from .curves import AXES
from .distributions import (
    distribution_sets,
    distributions_figure,
    length_figure,
    response_lengths,
    score_figure,
    split_histograms,
    token_lengths_figure,
)
from .reliability import reliability_figure
from .spread import length_accuracy_figure, spread_figure
from .table import table_figure
from .training import (
    Gap,
    gap_figure,
    gap_points,
    has_rewards,
    rewards_figure,
    term_names,
    terms_figure,
    training_figure,
    training_panels,
)

__all__ = [
    "AXES",
    "Gap",
    "distribution_sets",
    "distributions_figure",
    "gap_figure",
    "gap_points",
    "has_rewards",
    "length_accuracy_figure",
    "length_figure",
    "reliability_figure",
    "response_lengths",
    "rewards_figure",
    "score_figure",
    "split_histograms",
    "spread_figure",
    "table_figure",
    "term_names",
    "terms_figure",
    "token_lengths_figure",
    "training_figure",
    "training_panels",
]
