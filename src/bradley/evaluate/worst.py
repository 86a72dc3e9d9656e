"""Largest errors of a model, for people to read."""

from collections.abc import Sequence

from ..records import Judgment, ScoredComparison


def worst_judgments(rows: Sequence[ScoredComparison], n: int) -> list[tuple[int, Judgment, float]]:
    """Select up to `n` decided judgments contradicted by the scores, the largest error first.

    Each entry is (index of the row, judgment, score of the better minus score of the worse response). The difference
    is always negative: a model with fewer than `n` errors gives fewer entries. Equal errors come in order of source
    and id.
    """
    wrong = [
        (row.scores[judgment.better] - row.scores[judgment.worse], row.source, row.id, i, judgment)
        for i, row in enumerate(rows)
        for judgment in row.judgments
        if not judgment.tie and row.scores[judgment.better] < row.scores[judgment.worse]
    ]
    # Source and id break ties, so the order of the rows does not decide. Judgments themselves cannot be compared.
    wrong.sort(key=lambda entry: entry[:3])
    return [(i, judgment, margin) for margin, _, _, i, judgment in wrong[:n]]
