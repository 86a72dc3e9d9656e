"""All figures of an evaluation set, computed from scored rows alone: the keys of `summarize`.

Below, d is the score of the better response minus the score of the worse response, and p the label: the probability of
the better response.

Counts:

- `comparisons`, `judgments`, `prompts`, `truncated` (comparisons with a truncated response).
- `ties_labelled`: judgments with p = 0.5. All other judgments are decided.

Accuracies, each a dict of `value`, `low`, `high` (95 %, clustered by prompt), `n`, `clusters`, and `naive_low`,
`naive_high` (as if judgments were independent):

- `accuracy`: share of decided judgments with d > 0, equal scores counting 1/2.
- `length`: accuracy of "the longer response wins" by response tokens.
- `above_length`: `accuracy` minus the accuracy of the better of "longer wins" and "shorter wins". The difference
  is paired.
- `random`: 0.5, a plain number: the accuracy of guessing.
- `ceiling`: accuracy of the scores of the data source on these labels. None unless every row has source scores, and
  None for labels that never contradict the scores: such labels were made from the scores.
- `by_tag`: {tag: {value: accuracy}} and `by_source`: {source: accuracy}, for 2 to 30 distinct values.

Likelihood and calibration:

- `nll`: p * softplus(-beta * d) + (1 - p) * softplus(beta * d) in nats, over all judgments. The average is the
  average of training. `weight_by = "prompt"` averages by judgment weight inside each comparison, then over
  comparisons; `"pair"` averages by judgment weight over all.
- `nll_per_comparison`, `nll_per_judgment`: both averages, under either setting.
- `calibration`: `ece` and `bins` of sigmoid(beta * d) over all judgments (see `calibration`).

Scores, over decided judgments; every standard deviation divides by n:

- `margin`: `mean`, `std`, `p05`, `p50`, `p95` of d, and `negative_share`, the share of d < 0.
- `chosen_reward`, `rejected_reward`, and both with `_std`: mean scores and their standard deviations.
- `auroc`: probability that the better response of a judgment scores above the worse response of any judgment.
- `mean_probability`: mean of sigmoid(beta * d); `share_above_99`: share of sigmoid(beta * d) above 0.99.
- `tie_rate`: share of equal scores.
- `degenerate`: True if two or more judgments are decided and all of their d are equal, as with constant scores.
  Equal means up to `ROUNDING` times the largest score.
- `max_abs_score`: largest absolute score of any response.

Lengths, in response tokens; correlations are Pearson's, None if a side is constant:

- `length_correlation`: of score and length, over the judged responses.
- `margin_length_correlation`: of d and the extra tokens of the better response, over decided judgments.
- `length_difference`: mean and std of the extra tokens.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ..records import ScoredComparison
from .calibration import calibration
from .groups import accuracy, group_figures
from .judgments import JudgmentTable, judgment_table
from .length import length_figures
from .moments import mean, weighted_mean
from .rewards import reward_figures

ENOUGH = 30
"""Decided judgments of a source from which labels that all agree with the source's scores are no chance."""
ROUNDING = 1e-6
"""Share of the largest score below which differences count as rounding: scores of the same hidden state differ by less.
Padding alone moves scores by 2e-7."""


def summarize(
    rows: Sequence[ScoredComparison], *, beta: float = 1.0, weight_by: Literal["prompt", "pair"] = "prompt"
) -> dict[str, Any]:
    """Compute every figure of an evaluation set as plain values ready for JSON; figures without data are None.

    The order of the rows, and of the responses within a row, changes nothing. Every judgment counts once, regardless
    of the number of judgments in its comparison, except in `nll`. The main keys are `accuracy`, `nll`, `calibration`,
    `margin`, `auroc`, `length` and `by_tag`; `help("bradley.evaluate.summary")` explains every key with its formula.

    Args:
        rows: scored comparisons of the set.
        beta: factor of score differences in the loss.
        weight_by: `prompt` or `pair`, see `nll`.

    Raises:
        DataError: a score is not a finite number.

    Example:

        import bradley

        row = bradley.ScoredComparison(
            id="a",
            prompt_key="p",
            scores=(2.0, 0.5),
            tokens=(9, 8),
            response_tokens=(4, 3),
            truncated=(False, False),
            judgments=(bradley.Judgment(better=0, worse=1),),
        )

        print(bradley.summarize([row])["accuracy"]["value"])  # 1.0
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
        # A collapsed model gives equal scores up to rounding, so a test for exactly 0 would miss the collapse.
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
    """Negative log-likelihood in nats, averaged by `weight_by`, and both averages under their own names."""
    # softplus(x) is log(exp(0) + exp(x)). The plain formula would overflow to inf for large scores.
    logit = beta * table.margin
    nll = table.probability * np.logaddexp(0.0, -logit) + (1.0 - table.probability) * np.logaddexp(0.0, logit)
    members = defaultdict(list)
    for index, row in enumerate(table.row):
        members[row].append(index)
    per_row = [weighted_mean(nll[index], table.weight[index]) for index in members.values()]
    per_comparison, per_judgment = mean(np.array(per_row)), weighted_mean(nll, table.weight)
    selected = per_judgment if weight_by == "pair" else per_comparison
    return {"nll": selected, "nll_per_comparison": per_comparison, "nll_per_judgment": per_judgment}


def _ceiling(rows: Sequence[ScoredComparison]) -> dict[str, Any] | None:
    """Accuracy of the source scores; None unless every row has source scores that are independent of the labels."""
    # A ceiling over a part of the rows would stand beside an accuracy over all, and the two could not be compared.
    known = [replace(row, scores=row.source_scores) for row in rows if row.source_scores is not None]
    if not known or len(known) < len(rows):
        return None
    table = judgment_table(known)
    decided = table.select(table.decided)
    return accuracy(decided) if _independent(rows, decided) else None


def _independent(rows: Sequence[ScoredComparison], decided: JudgmentTable) -> bool:
    """Return True if the labels can be independent of the source scores in `decided`.

    Labels made from the scores never contradict the scores: such an accuracy is 100 % by construction. Each source of
    rows with `ENOUGH` decided judgments is looked at alone, because another source may hold labels of people.
    """
    contradicted = decided.margin < 0.0
    sources = np.array([rows[row].source for row in decided.row], dtype=np.str_)
    names, place = np.unique(sources, return_inverse=True)
    count, against = np.bincount(place, minlength=len(names)), np.bincount(place, contradicted, minlength=len(names))
    return bool(contradicted.any()) and not bool(np.any((count >= ENOUGH) & (against == 0)))
