"""Evaluation of a reward model on a set of scored comparisons: every figure that needs no second model.

`summary` holds the figures of training, computed by the same function. The other sections add intervals, calibration,
power, slices and rankings.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from ..records import Comparison, ScoredComparison
from .auroc import auroc_interval
from .bootstrap import DRAWS, bootstrap_dict, bootstrap_of_sums, draw_clusters
from .ece import ece_figures
from .groups import accuracy
from .intervals import PROPORTION, interval_dict
from .judgments import (
    Floats,
    JudgmentTable,
    factors_of,
    fitted_on_of,
    judgment_table,
    negative_log_likelihood,
    set_identity,
)
from .matching import match
from .moments import QUANTILES
from .power import smallest_difference
from .ranking import ranking_figures
from .shortcuts import shortcuts
from .slices import slice_figures
from .style import style
from .summary import summarize
from .writers import writer_figures

FITTED_HERE = "the temperature was fitted on these rows: NLL, Brier score and ECE look better here than on other data"
"""Warning about figures on the set of the fit."""
FEW_CLUSTERS = 30
"""Prompts below which an interval is itself uncertain: at 8 prompts a 95 % interval covers 92 %."""


def evaluation(
    rows: Sequence[ScoredComparison],
    comparisons: Sequence[Comparison] | None = None,
    *,
    beta: float | None = None,
    scale: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    lengths: str | None = None,
    fitted_on: str | None = None,
) -> dict[str, Any]:
    """Evaluate a reward model from its scores on a set.

    Args:
        rows: scored comparisons of the set.
        comparisons: the same comparisons with texts, in the same order; None without texts.
        beta: factor of score differences in the loss; by default of the rows, see `factors_of`.
        scale: factor of score differences in probabilities, beta / temperature; by default `beta`, or of the rows.
        draws: bootstrap draws.
        seed: of every random choice.
        lengths: unit of `response_tokens` in the rows, by default as the rows say; "" for unknown lengths.
        fitted_on: identity of the set on which the temperature was fitted, see `set_identity`; "" where unknown; by
            default that of the rows, as long as neither `beta` nor `scale` is given.

    Returns:
        Plain values ready for JSON:

        - `summary`: see `summarize`.
        - `figures`: `accuracy`, `tie_rate`, `nll`, `brier`, `margin`, `auroc` with 95 % intervals clustered by prompt;
          `margin_std` and `margin_quantiles` with bootstrap intervals.
        - `worst`: the tag value with the lowest accuracy, see `worst_slice`; None without tags.
        - `slices`: see `slice_figures`; `writers`: see `writer_figures`; `ranking`: see `ranking_figures`.
        - `lengths`: as given.
        - `scores`: range and quantiles of chosen and rejected scores.
        - `calibration`: see `ece_figures`, and `fitted_here`, True for the set on which the temperature was fitted.
        - `power`: see `smallest_difference`.
        - `shortcuts`: see `shortcuts`; `style`: see `style`; None without texts.
        - `warnings`: sentences about figures that say little.

    Raises:
        DataError: a score is not a finite number, or comparisons of other rows.

    Example:
        evaluation(rows)["figures"]["accuracy"]["value"]  # 0.72
    """
    _check_pairing(rows, comparisons)
    if fitted_on is None:
        fitted_on = fitted_on_of(rows) if beta is None and scale is None else ""
    beta, scale = factors_of(rows, beta, scale)
    lengths = _unit(rows) if lengths is None else lengths
    fitted_here = bool(fitted_on) and set_identity(rows) == fitted_on
    table = judgment_table(rows)
    decided = table.select(table.decided)
    summary = summarize(rows, beta=beta)
    losses = negative_log_likelihood(scale * decided.margin, decided.probability)
    slices = slice_figures(rows, decided, losses, comparisons)
    found = {
        "summary": summary,
        "lengths": lengths,
        "figures": _figures(table, decided, scale, draws, seed),
        "worst": worst_slice(slices, summary["accuracy"]),
        "slices": slices,
        "writers": writer_figures(rows, decided, scale),
        "ranking": ranking_figures(rows),
        "scores": {"chosen": _range(decided.chosen), "rejected": _range(decided.rejected)},
        "calibration": {"scale": scale, "fitted_here": fitted_here, **ece_figures(table, scale, seed)},
        "power": smallest_difference(summary["accuracy"]),
        **_of_texts(rows, comparisons),
    }
    return {**found, "warnings": [*_warnings(rows, summary), *([FITTED_HERE] if fitted_here else [])]}


def _of_texts(rows: Sequence[ScoredComparison], comparisons: Sequence[Comparison] | None) -> dict[str, Any]:
    """Figures that need the texts, None without; features are computed once for both."""
    if comparisons is None:
        return {"shortcuts": None, "style": None}
    table = match(rows, comparisons)
    return {"shortcuts": shortcuts(table), "style": style(table)}


def worst_slice(slices: dict[str, dict[str, Any]], accuracy: dict[str, Any]) -> dict[str, Any] | None:
    """Find the tag value with the lowest accuracy: the minimum predicts a trained policy better than the mean.

    Frick et al. (2024, "How to Evaluate Reward Models for RLHF") find the highest correlation at low quantiles. The
    minimum of many noisy figures is low by chance: `by_chance` is its mean if every value had the accuracy of the set.

    Returns:
        `tag`, `value`, `accuracy` with its interval, `of` (number of values), `by_chance`; None without slices by tag
        or source.
    """
    named = {name: values for name, values in slices.items() if name not in ("length", "turns", "strength")}
    each = [(tag, value, one["accuracy"]) for tag, values in named.items() for value, one in values.items()]
    known = [entry for entry in each if entry[2]["value"] is not None]
    if not known or accuracy["value"] is None:
        return None
    tag, value, figure = min(known, key=lambda entry: (entry[2]["value"], entry[0], entry[1]))
    siblings = [one["accuracy"] for one in named[tag].values() if one["accuracy"]["value"] is not None]
    return {
        "tag": tag,
        "value": value,
        "accuracy": figure,
        "of": len(siblings),
        "by_chance": _minimum(siblings, accuracy),
    }


def _minimum(figures: Sequence[dict[str, Any]], accuracy: dict[str, Any]) -> float | None:
    """Expected minimum of accuracies with the clusters of `figures`, all with the same true accuracy."""
    p, generator = accuracy["value"], np.random.default_rng(0)
    errors = np.sqrt(p * (1 - p) / np.array([max(1, figure["clusters"]) for figure in figures], dtype=np.float64))
    drawn = generator.normal(p, errors, size=(2000, len(errors)))
    return float(np.clip(drawn, 0, 1).min(axis=1).mean())


def _figures(table: JudgmentTable, decided: JudgmentTable, scale: float, draws: int, seed: int) -> dict[str, Any]:
    """Means with clustered intervals, and spread and quantiles of the margin with bootstrap intervals."""
    from scipy.special import expit

    margin, prompt, real = decided.margin, decided.prompt, (-math.inf, math.inf)
    logit = scale * table.margin
    nll, brier = negative_log_likelihood(logit, table.probability), (expit(logit) - table.probability) ** 2
    drawn = draw_clusters(prompt, draws, seed)
    moments = np.stack([np.ones_like(margin), margin, margin**2], axis=1)
    quantiles = drawn.quantiles(margin, [*QUANTILES.values()]) if len(margin) else np.empty((0, len(QUANTILES)))
    return {
        "accuracy": accuracy(decided),
        "tie_rate": interval_dict((margin == 0).astype(np.float64), prompt),
        "nll": interval_dict(nll, table.prompt, (0.0, math.inf)),
        "brier": interval_dict(brier, table.prompt, PROPORTION),
        "margin": interval_dict(margin, prompt, real),
        "auroc": auroc_interval(decided),
        "margin_std": bootstrap_of_sums(moments, _deviation, drawn),
        "margin_quantiles": {
            name: bootstrap_dict(value, quantiles[:, i], drawn)
            for i, (name, value) in enumerate(_quantiles(margin).items())
        },
    }


def _deviation(sums: Floats) -> Floats:
    """Standard deviation from count, sum and sum of squares."""
    variance = sums[..., 2] / sums[..., 0] - (sums[..., 1] / sums[..., 0]) ** 2
    result: Floats = np.sqrt(np.maximum(variance, 0.0))
    return result


def _quantiles(values: Floats) -> dict[str, float | None]:
    """Quantiles by name: as in the bootstrap, a value of the sample, and no mean of two."""
    if not len(values):
        return dict.fromkeys(QUANTILES)
    found = np.quantile(values, [*QUANTILES.values()], method="inverted_cdf").tolist()
    return dict(zip(QUANTILES, found, strict=True))


def _range(values: Floats) -> dict[str, Any]:
    ends = (float(values.min()), float(values.max())) if len(values) else (None, None)
    return {"min": ends[0], **_quantiles(values), "max": ends[1], "n": len(values)}


def _warnings(rows: Sequence[ScoredComparison], summary: dict[str, Any]) -> list[str]:
    """Sentences about figures that say little."""
    known = summary["accuracy"]
    found = []
    if not known["n"]:
        found.append("no judgment prefers a response: there is no accuracy")
    elif known["clusters"] == 1:
        found.append("all judgments share one prompt: the interval knows nothing")
    elif known["clusters"] < FEW_CLUSTERS:
        found.append(f"{known['clusters']} prompts: below {FEW_CLUSTERS}, intervals are themselves uncertain")
    if summary["degenerate"]:
        found.append("every score difference is the same: the model does not tell responses apart")
    if (summary["tie_rate"] or 0) > 0.05:
        found.append(f"{summary['tie_rate']:.1%} of the judgments have equal scores, which count one half")
    if summary["truncated"]:
        found.append(f"{summary['truncated']} of {len(rows)} comparisons were truncated before scoring")
    return found


def _unit(rows: Sequence[ScoredComparison]) -> str:
    """Unit of the lengths of all rows; "" for rows of several units, whose lengths tell nothing together."""
    units = {row.length_unit for row in rows} or {"tokens"}
    return units.pop() if len(units) == 1 else ""


def _check_pairing(rows: Sequence[ScoredComparison], comparisons: Sequence[Comparison] | None) -> None:
    """Raise `DataError` if texts and scores are not of the same comparisons in the same order."""
    if comparisons is None:
        return
    if len(rows) != len(comparisons):
        raise DataError(f"{len(rows)} scored rows and {len(comparisons)} comparisons", "give the same comparisons")
    for row, comparison in zip(rows, comparisons, strict=True):
        if (row.source, row.id) != (comparison.source, comparison.id):
            message = f"scored row {row.id} stands beside the texts of {comparison.id}"
            raise DataError(message, "give rows and comparisons in the same order")
