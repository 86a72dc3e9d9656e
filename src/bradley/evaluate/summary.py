"""The figures of one evaluation set, from its scored rows alone."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bradley.evaluate.intervals import interval_dict
from bradley.evaluate.judgments import Floats, JudgmentTable, half_ties, judgment_table
from bradley.records import ScoredComparison

MIN_GROUPS, MAX_GROUPS = 2, 30
"""A tag with fewer values splits nothing; one with more is an identifier rather than a category."""


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
    - `margin`: mean, std, p05, p50, p95 of d over decided judgments; `chosen_reward`, `rejected_reward`: mean scores;
      `mean_probability`: mean of sigmoid(beta * d); `share_above_99`: share of them above 0.99; `max_abs_score`.
    - `length`: accuracy of "the longer response wins" by response tokens; `above_length`: accuracy minus that of the
      better of "longer wins" and "shorter wins", a paired difference; `random`: 0.5.
    - `ceiling`: accuracy of the source's own scores on these labels, where every row has them, else None.
    - `by_tag`: {tag: {value: accuracy}} and `by_source`: {source: accuracy}, for 2 to 30 distinct values.

    Accuracies are dicts of `value`, `low`, `high` (95 %, clustered by prompt), `n`, `clusters`, and `naive_low`,
    `naive_high` (as if judgments were independent).

    Raises:
        DataError: a score is not a finite number.
    """
    table = judgment_table(rows)
    decided = _select(table, table.decided)
    return {
        "comparisons": len(rows),
        "judgments": len(table.row),
        "prompts": len({row.prompt_key for row in rows}),
        "truncated": sum(any(row.truncated) for row in rows),
        "ties_labelled": len(table.row) - len(decided.row),
        "tie_rate": _mean(decided.margin == 0.0),
        "accuracy": _accuracy(decided),
        **_likelihood(table, beta, weight_by),
        **_rewards(decided, beta),
        "max_abs_score": max((abs(score) for row in rows for score in row.scores), default=None),
        **_length(decided),
        "random": 0.5,
        "ceiling": _ceiling(rows),
        **_groups(rows, decided),
    }


def _select(table: JudgmentTable, keep: NDArray[Any]) -> JudgmentTable:
    return replace(table, **{name: getattr(table, name)[keep] for name in table.__slots__})


def _mean(values: NDArray[Any]) -> float | None:
    """A mean that does not depend on the order of summation; None of nothing."""
    return math.fsum(values) / len(values) if len(values) else None


def _accuracy(decided: JudgmentTable) -> dict[str, Any]:
    return interval_dict(half_ties(decided.margin), decided.prompt)


def _likelihood(table: JudgmentTable, beta: float, weight_by: str) -> dict[str, float | None]:
    logit = beta * table.margin
    nll = table.probability * np.logaddexp(0.0, -logit) + (1.0 - table.probability) * np.logaddexp(0.0, logit)
    members = defaultdict(list)
    for index, row in enumerate(table.row):
        members[row].append(index)
    each = [_weighted(nll[index], table.weight[index]) for index in members.values()]
    per_comparison, per_judgment = _mean(np.array(each)), _weighted(nll, table.weight)
    chosen = per_judgment if weight_by == "pair" else per_comparison
    return {"nll": chosen, "nll_per_comparison": per_comparison, "nll_per_judgment": per_judgment}


def _weighted(values: Floats, weights: Floats) -> float | None:
    return math.fsum(values * weights) / math.fsum(weights) if len(values) else None


def _rewards(decided: JudgmentTable, beta: float) -> dict[str, Any]:
    from scipy.special import expit

    probability = expit(beta * decided.margin)
    return {
        "margin": _spread(decided.margin),
        "chosen_reward": _mean(decided.chosen),
        "rejected_reward": _mean(decided.rejected),
        "mean_probability": _mean(probability),
        "share_above_99": _mean(probability > 0.99),
    }


def _spread(values: Floats) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("mean", "std", "p05", "p50", "p95"))
    ordered = np.sort(values)
    p05, p50, p95 = np.quantile(ordered, [0.05, 0.5, 0.95]).tolist()
    return {"mean": _mean(ordered), "std": float(ordered.std()), "p05": p05, "p50": p50, "p95": p95}


def _length(decided: JudgmentTable) -> dict[str, Any]:
    longer = half_ties(decided.extra_tokens)
    rule = longer if (_mean(longer) or 0.0) >= 0.5 else 1.0 - longer
    gain = half_ties(decided.margin) - rule
    return {
        "length": interval_dict(longer, decided.prompt),
        "above_length": interval_dict(gain, decided.prompt, bounds=(-1.0, 1.0)),
    }


def _ceiling(rows: Sequence[ScoredComparison]) -> dict[str, Any] | None:
    known = [replace(row, scores=row.source_scores) for row in rows if row.source_scores is not None]
    if not known or len(known) < len(rows):
        return None
    table = judgment_table(known)
    return _accuracy(_select(table, table.decided))


def _groups(rows: Sequence[ScoredComparison], decided: JudgmentTable) -> dict[str, Any]:
    tags = sorted({tag for row in rows for tag in row.tags})
    by_tag = {tag: _by_value([row.tags.get(tag) for row in rows], decided) for tag in tags}
    by_source = _by_value([row.source for row in rows], decided)
    return {"by_tag": {tag: values for tag, values in by_tag.items() if values}, "by_source": by_source}


def _by_value(labels: Sequence[str | None], decided: JudgmentTable) -> dict[str, Any]:
    """Accuracy per label of the rows, rows without a label left out; empty unless there are 2 to 30 labels."""
    values = sorted({label for label in labels if label is not None})
    if not MIN_GROUPS <= len(values) <= MAX_GROUPS:
        return {}
    of_judgment = np.array([labels[row] for row in decided.row], dtype=object)
    return {value: _accuracy(_select(decided, of_judgment == value)) for value in values}
