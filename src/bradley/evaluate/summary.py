"""The figures of one evaluation set, from its scored rows alone."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..records import ScoredComparison
from .calibration import calibration
from .groups import accuracy, group_figures
from .judgments import JudgmentTable, judgment_table
from .length import length_figures
from .moments import mean, weighted_mean
from .rewards import reward_figures

ROUNDING = 1e-6
"""Scores of one hidden state differ by less than this share of the largest: padding alone moves them by 2e-7."""


def summarize(rows: Sequence[ScoredComparison], *, beta: float = 1.0, weight_by: str = "prompt") -> dict[str, Any]:
    """Every figure of an evaluation set, as plain values ready for JSON; what cannot be computed is None.

    The order of the rows, and which response of a row comes first, change nothing. A judgment counts once however many
    its comparison holds, except in `nll`. Keys:

    - `comparisons`, `judgments`, `prompts`, `truncated` (comparisons with a truncated response), `ties_labelled`
      (judgments with probability 0.5; the others are decided).
    - `accuracy`: share of decided judgments whose better response scores higher, equal scores counting 1/2;
      `tie_rate`: share of them with equal scores.
    - `nll`: p * softplus(-beta * d) + (1 - p) * softplus(beta * d) in nats, over all judgments, d the score difference
      and p the label. Averaged as training averages it: with `weight_by = "prompt"` by judgment weight inside each
      comparison, then over comparisons; with `"pair"` by judgment weight over all. `nll_per_comparison` and
      `nll_per_judgment` are there under either.
    - `degenerate`: whether two or more judgments are decided and all of their d are equal, up to rounding, `ROUNDING`
      times the largest score, as those of constant scores are.
    - `calibration`: `ece` and `bins` of sigmoid(beta * d) over all judgments (see `calibration`).
    - `margin`: mean, std, p05, p50, p95 of d over decided judgments, and `negative_share`, that of d below 0;
      `chosen_reward`, `rejected_reward`: mean scores, with `_std` their standard deviations; `auroc`: probability that
      the better response of one judgment scores higher than the worse one of any; `mean_probability`: mean of
      sigmoid(beta * d); `share_above_99`: share of them above 0.99; `max_abs_score`. Every std divides by n.
    - `length`: accuracy of "the longer response wins" by response tokens; `above_length`: accuracy minus that of the
      better of "longer wins" and "shorter wins", a paired difference; `random`: 0.5.
    - `length_correlation`: Pearson's, of score and response tokens over the responses that a judgment names;
      `margin_length_correlation`: of d and the tokens that the better response has more than the worse one, over
      decided judgments; `length_difference`: mean and std of the latter. None where a side is constant.
    - `ceiling`: accuracy of the source's own scores on these labels, where every row has them, else None.
    - `by_tag`: {tag: {value: accuracy}} and `by_source`: {source: accuracy}, for 2 to 30 distinct values.

    Accuracies are dicts of `value`, `low`, `high` (95 %, clustered by prompt), `n`, `clusters`, and `naive_low`,
    `naive_high` (as if judgments were independent).

    Raises:
        DataError: a score is not a finite number.
    """
    table = judgment_table(rows)
    decided = table.select(table.decided)
    largest = max((abs(score) for row in rows for score in row.scores), default=None)
    return {
        "comparisons": len(rows),
        "judgments": len(table.row),
        "prompts": len({row.prompt_key for row in rows}),
        "truncated": sum(any(row.truncated) for row in rows),
        "ties_labelled": len(table.row) - len(decided.row),
        "tie_rate": mean(decided.margin == 0.0),
        "accuracy": accuracy(decided),
        "degenerate": len(decided.row) > 1 and bool(np.ptp(decided.margin) <= ROUNDING * (largest or 0.0)),
        **_likelihood(table, beta, weight_by),
        "calibration": calibration(table, beta),
        **reward_figures(decided, beta),
        "max_abs_score": largest,
        **length_figures(rows, decided),
        "random": 0.5,
        "ceiling": _ceiling(rows),
        **group_figures(rows, decided),
    }


def _likelihood(table: JudgmentTable, beta: float, weight_by: str) -> dict[str, float | None]:
    logit = beta * table.margin
    nll = table.probability * np.logaddexp(0.0, -logit) + (1.0 - table.probability) * np.logaddexp(0.0, logit)
    members = defaultdict(list)
    for index, row in enumerate(table.row):
        members[row].append(index)
    each = [weighted_mean(nll[index], table.weight[index]) for index in members.values()]
    per_comparison, per_judgment = mean(np.array(each)), weighted_mean(nll, table.weight)
    chosen = per_judgment if weight_by == "pair" else per_comparison
    return {"nll": chosen, "nll_per_comparison": per_comparison, "nll_per_judgment": per_judgment}


def _ceiling(rows: Sequence[ScoredComparison]) -> dict[str, Any] | None:
    known = [replace(row, scores=row.source_scores) for row in rows if row.source_scores is not None]
    if not known or len(known) < len(rows):
        return None
    table = judgment_table(known)
    return accuracy(table.select(table.decided))
