"""Evaluations of scores that a length-only scorer gives to real pairs, for tests of pages."""

from bradley.data.scored import read_comparisons
from bradley.evaluate.evaluation import evaluation
from bradley.records import ScoredComparison
from tests.helpers import DATA

PAIRS = DATA / "hhh_alignment" / "pairs.jsonl.gz"


def length_scores(comparison):
    """A comparison scored by the number of characters."""
    lengths = tuple(len(response.text) for response in comparison.responses)
    return ScoredComparison(
        id=comparison.id,
        prompt_key=comparison.prompt_key,
        scores=tuple(length / 100 for length in lengths),
        tokens=lengths,
        response_tokens=lengths,
        truncated=(False,) * len(lengths),
        judgments=comparison.judgments,
        source=comparison.source,
        tags=comparison.tags,
    )


def real_evaluation(draws=50):
    """Comparisons of the file, their scores and the evaluation."""
    comparisons, _ = read_comparisons(str(PAIRS))
    rows = [length_scores(comparison) for comparison in comparisons]
    return comparisons, rows, evaluation(rows, comparisons, draws=draws)


def words(page):
    """Text of a page with plain single blanks."""
    return " ".join(" ".join(page.text).replace("\u202f", " ").replace("\xa0", " ").split())
