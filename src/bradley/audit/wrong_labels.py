"""Likely wrong labels: rows ranked by the loss that a model gives their labels, a model that has not seen the rows.

The model is linear and cross-fitted by prompt (`linear`), or any reward model by its scores of the rows. The loss of a
row is the mean negative log-likelihood of its decided judgments. Only the order is claimed: a large loss is a wrong
label, an unusual row or an error of the model, and the share of wrong labels follows from none of these figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.text import cut_middle
from ..data.rows import on_one_line
from ..errors import DataError
from ..evaluate.intervals import interval_figures
from ..evaluate.judgments import Floats, half_ties, negative_log_likelihood
from ..records import ScoredComparison
from .finding import Finding
from .rows import RowSet

LEAST_PROMPTS = 20
"""Fewest prompts of a linear model."""
CHARACTERS = 240
"""Most characters of a text in the ranking."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows by loss.

    Attributes:
        model: `linear`, or the file of scores.
        order: numbers of the comparisons, the largest loss first.
        loss: [G] loss of each comparison, nan without a decided judgment or a score.
        accuracy: share of decided judgments that the model ranks as labelled, with interval.
        reason: reason of an empty ranking; "" otherwise.
    """

    model: str
    order: np.ndarray
    loss: Floats
    accuracy: dict[str, Any]
    reason: str = ""

    def worst(self, share: float) -> Finding:
        """Return the given share of the ranked rows, the largest losses."""
        found = np.sort(self.order[: int(share * len(self.order))])
        return Finding(found, found)


def ranking(rows: RowSet, margin: Floats, model: str) -> Ranking:
    """Rank rows by the loss of their decided judgments.

    Args:
        rows: the rows.
        margin: score of the better minus the score of the worse response of each decided judgment, in the order of the
            judgments; nan for none.
        model: name of the model.
    """
    columns = rows.columns
    decided = columns.probability != 0.5
    row = np.repeat(np.arange(len(rows)), np.diff(columns.first_judgment))[decided]
    prompt, probability = columns.of_judgments(columns.topic)[decided], columns.probability[decided]
    known = np.isfinite(margin)
    loss = negative_log_likelihood(margin[known], probability[known])
    total, count = (np.bincount(row[known], each, minlength=len(rows)) for each in (loss, np.ones(len(loss))))
    mean = np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0)
    ranked = np.flatnonzero(np.isfinite(mean))
    order = ranked[np.argsort(-mean[ranked], kind="stable")]
    return Ranking(model, order, mean, interval_figures(half_ties(margin[known]), prompt[known]))


def unranked(rows: RowSet, reason: str) -> Ranking:
    """Return an empty ranking with the reason."""
    nothing = np.zeros(0, dtype=np.int64)
    return Ranking("", nothing, np.full(len(rows), np.nan), interval_figures([], [], empty=reason), reason)


def margins_of(rows: RowSet, scored: Sequence[ScoredComparison], path: str) -> Floats:
    """Return the score differences of the decided judgments, by id; nan for rows without a score.

    Raises:
        DataError: a score of an unknown id, or of other judgments than the row has.
    """
    known: Mapping[str, ScoredComparison] = {row.id: row for row in scored}
    found: list[float] = []
    for number in range(len(rows)):
        comparison = rows.pool[number]
        row = known.get(comparison.id)
        if row is not None and len(row.scores) != len(comparison.responses):
            raise DataError(
                f"{on_one_line(path)}: id {comparison.id} has {len(row.scores)} scores, and the row "
                f"{len(comparison.responses)} responses",
                "give the scores of these rows",
            )
        for judgment in comparison.judgments:
            if not judgment.tie:
                known_scores = None if row is None else (row.scores[judgment.better], row.scores[judgment.worse])
                found.append(np.nan if known_scores is None else known_scores[0] - known_scores[1])
    return np.array(found, dtype=np.float64)


def figures(rows: RowSet, ranked: Ranking, top: int) -> dict[str, Any]:
    """Return the ranking ready for JSON, with the `top` rows and their texts, shortened."""
    return {
        "model": ranked.model,
        "ranked": len(ranked.order),
        "reason": ranked.reason or None,
        "accuracy": ranked.accuracy,
        "top": [_shown(rows, int(number), float(ranked.loss[number])) for number in ranked.order[:top]],
    }


def _shown(rows: RowSet, number: int, loss: float) -> dict[str, Any]:
    comparison = rows.pool[number]
    judgment = next(one for one in comparison.judgments if not one.tie)
    asked = comparison.prompt[-1].content if comparison.prompt else ""
    better, worse = (comparison.responses[place].text for place in (judgment.better, judgment.worse))
    return {
        "id": comparison.id,
        "file": rows.sources[int(rows.columns.part[number])].name,
        "row": rows.numbers[number],
        "loss": loss,
        "prompt": cut_middle(asked, CHARACTERS),
        "chosen": cut_middle(better, CHARACTERS),
        "rejected": cut_middle(worse, CHARACTERS),
    }
