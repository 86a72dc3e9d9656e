"""The judgments that a model gets most wrong, for people to read."""

from collections.abc import Sequence

from ..records import Judgment, ScoredComparison


def worst_judgments(rows: Sequence[ScoredComparison], n: int) -> list[tuple[int, Judgment, float]]:
    """Up to `n` decided judgments that the scores contradict, the largest error first.

    Each is (index of its row, the judgment, score of the better response minus that of the worse one); the last is
    negative, so a model that errs less than `n` times gives fewer. Equal errors come in order of source and id.
    """
    wrong = [
        (row.scores[judgment.better] - row.scores[judgment.worse], row.source, row.id, i, judgment)
        for i, row in enumerate(rows)
        for judgment in row.judgments
        if not judgment.tie and row.scores[judgment.better] < row.scores[judgment.worse]
    ]
    wrong.sort(key=lambda entry: entry[:3])
    return [(i, judgment, margin) for margin, _, _, i, judgment in wrong[:n]]
