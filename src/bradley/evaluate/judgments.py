"""Scored comparisons as a flat table of judgments, the common input of all figures."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..records import Judgment, ScoredComparison

Floats = NDArray[np.float64]
LARGEST = 1e100
"""Limit of scores: sums of squares of larger scores have no number."""


@dataclass(frozen=True, slots=True)
class JudgmentTable:
    """One entry per judgment, in the order of the rows; all arrays [J].

    Attributes:
        row: index of the comparison.
        prompt: key of the prompt, the cluster of every interval.
        probability, weight: as labelled.
        chosen, rejected: scores of the better and of the worse response.
        extra_tokens: response tokens of the better response minus response tokens of the worse response.
        mean_tokens: mean response tokens of the two responses.
    """

    row: NDArray[np.intp]
    prompt: NDArray[np.str_]
    probability: Floats
    weight: Floats
    chosen: Floats
    rejected: Floats
    extra_tokens: Floats
    mean_tokens: Floats

    @property
    def margin(self) -> Floats:
        """Score of the better response minus the score of the worse response [J]."""
        return self.chosen - self.rejected

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Mask [J] of judgments preferring a response: all but labelled ties."""
        decided: NDArray[np.bool_] = self.probability != 0.5
        return decided

    def select(self, keep: NDArray[np.bool_]) -> Self:
        """Select the judgments with True in `keep` [J], in the same order."""
        return replace(self, **{name: getattr(self, name)[keep] for name in self.__slots__})


def judgment_table(rows: Sequence[ScoredComparison]) -> JudgmentTable:
    """Flatten the judgments of `rows` into a table.

    Raises:
        DataError: a score is not a finite number.
    """
    check_scores(rows)
    flat = [(i, row, judgment) for i, row in enumerate(rows) for judgment in row.judgments]
    return JudgmentTable(
        row=np.array([i for i, _, _ in flat], dtype=np.intp),
        prompt=np.array([row.prompt_key for _, row, _ in flat], dtype=np.str_),
        probability=_floats([j.probability for _, _, j in flat]),
        weight=_floats([j.weight for _, _, j in flat]),
        chosen=_floats([row.scores[j.better] for _, row, j in flat]),
        rejected=_floats([row.scores[j.worse] for _, row, j in flat]),
        extra_tokens=_floats([row.response_tokens[j.better] - row.response_tokens[j.worse] for _, row, j in flat]),
        mean_tokens=_floats([(row.response_tokens[j.better] + row.response_tokens[j.worse]) / 2 for _, row, j in flat]),
    )


def same_judgments(a: Sequence[Judgment], b: Sequence[Judgment]) -> bool:
    """Return True for equal judgments in the same order, up to the rounding of a number to float32.

    A token store keeps the numbers of a judgment in float32, so scored rows hold 16.200000762939453 where the data say
    16.2.

    Example:
        same_judgments([Judgment(0, 1, margin=16.2)], [Judgment(0, 1, margin=float(np.float32(16.2)))])  # True
    """
    return a == b or [*map(in_single_precision, a)] == [*map(in_single_precision, b)]


def in_single_precision(judgment: Judgment) -> tuple[int, int, float, float | None, float]:
    """Round the numbers of a judgment to float32: better, worse, probability, margin, weight."""
    margin = None if judgment.margin is None else float(np.float32(judgment.margin))
    probability, weight = float(np.float32(judgment.probability)), float(np.float32(judgment.weight))
    return judgment.better, judgment.worse, probability, margin, weight


def check_scores(rows: Sequence[ScoredComparison]) -> None:
    """Raise `DataError` for the first comparison with a score that is not a finite number."""
    # A nan would spread through every mean, and the summary would show None without naming the comparison.
    for row in rows:
        if not all(-LARGEST < score < LARGEST for score in row.scores):
            raise DataError(
                f"comparison {row.id} has a score that is not a finite number below {LARGEST:g}: {list(row.scores)}",
                "score it again; if it stays so, the weights of the model hold inf or nan",
            )


def negative_log_likelihood(logit: Floats, probability: Floats) -> Floats:
    """Negative log-likelihood in nats of labels [J] under logits [J], without overflow: log(1 + e^l) - p l."""
    result: Floats = np.logaddexp(0.0, logit) - probability * logit
    return result


def half_ties(difference: Floats) -> Floats:
    """Indicator of a positive difference: 1 for positive, 0 for negative, 1/2 for zero; same shape."""
    result: Floats = (np.sign(difference) + 1.0) / 2.0
    return result


def _floats(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)


def factors_of(
    rows: Sequence[ScoredComparison], beta: float | None = None, scale: float | None = None
) -> tuple[float, float]:
    """Return the factors of score differences in the loss and in probabilities: given ones, or those of the rows.

    A given `beta` alone is the factor of probabilities too. Rows without factors have 1.

    Raises:
        DataError: rows of several factors, and none given.

    Example:
        factors_of(rows)  # (1.0, 0.41)
    """
    if beta is not None:
        return beta, beta if scale is None else scale
    known = {(row.beta or 1.0, row.scale or row.beta or 1.0) for row in rows} or {(1.0, 1.0)}
    if len(known) > 1:
        message = f"the rows have {len(known)} factors of score differences, and a set has one"
        raise DataError(message, "evaluate the rows of each model alone, or give beta: --beta 1")
    own, probabilities = known.pop()
    return own, probabilities if scale is None else scale


def fitted_on_of(rows: Sequence[ScoredComparison]) -> str:
    """Return the identity of the set on which the temperature of the rows was fitted; "" where rows differ.

    Example:
        fitted_on_of(rows) == set_identity(rows)  # True for the set of the fit
    """
    known = {row.fitted_on for row in rows}
    return known.pop() if len(known) == 1 else ""


def set_identity(rows: Sequence[ScoredComparison]) -> str:
    """Hash prompts, numbers of responses and judged pairs of a set, in any order of rows and sides.

    Names, scores and labels play no part.

    Returns:
        A SHA-256 in hex digits.

    Example:
        set_identity(rows) == set_identity(rows[::-1])  # True
    """
    items = sorted(repr((row.prompt_key, len(row.scores), _judged_pairs(row))) for row in rows)
    return hashlib.sha256("\n".join(items).encode()).hexdigest()


def _judged_pairs(row: ScoredComparison) -> list[tuple[int, int, float]]:
    """Judged pairs with their probabilities, the same for either order of the responses."""
    last = len(row.scores) - 1
    ends = [(min(j.better, j.worse), max(j.better, j.worse), j.probability) for j in row.judgments]
    return min(sorted(ends), sorted((last - high, last - low, probability) for low, high, probability in ends))
