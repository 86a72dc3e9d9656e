"""Figures of RewardBench 1 and 2 against the authors' own functions, in the authors' environment."""

import json
import subprocess

import pytest

from bradley.evaluate.benchmarks import rewardbench, rewardbench2
from tests.evaluate.benchmarks.scored_rows import best_of, drawn_rewardbench, drawn_ties, value

pytestmark = pytest.mark.nightly

THEIRS = """
import json, sys
from datasets import Dataset
from rewardbench.constants import EXAMPLE_COUNTS, SUBSET_MAPPING
from rewardbench.utils import calculate_scores_per_section, process_single_model, reroll_and_score_dataset

given = json.load(sys.stdin)
sections = [calculate_scores_per_section(EXAMPLE_COUNTS, SUBSET_MAPPING, means) for means in given["means"]]
ties = [process_single_model(rows)[1] for rows in given["ties"]]
best = []
for scores in given["best"]:
    flat = {"text": ["" for row in scores for _ in row], "scores": [s for row in scores for s in row]}
    best.append(reroll_and_score_dataset(Dataset.from_dict(flat), [len(row) for row in scores])["results"][:])
json.dump({"sections": sections, "ties": ties, "best": best, "counts": EXAMPLE_COUNTS}, sys.stdout)
"""
SEEDS = range(20)


def ask(python, given):
    """Run the authors' functions on score tables."""
    run = subprocess.run([python, "-c", THEIRS], input=json.dumps(given), capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout[run.stdout.index('{"sections"') :])


def means_of(rows):
    """Share of right rows by subset, as their script counts."""
    right = {}
    for row in rows:
        right.setdefault(row.tags["subset"], []).append(row.scores[1] > row.scores[0])
    return {name: sum(each) / len(each) for name, each in right.items()}


def published_row(row):
    """A row of Ties as their function takes a row."""
    correct = len({judgment.better for judgment in row.judgments})
    return {"id": row.tags["tie"], "scores": list(row.scores), "num_correct": correct}


def test_figures_are_those_of_the_published_code(python_for):
    first = [drawn_rewardbench(seed) for seed in SEEDS]
    # Each table has a pair of both kinds with a spread: their mean over no pair is NaN, and ours is 0.
    pair = [
        best_of(900, (2, 1, 0), subset="Ties", tie="ref:99"),
        best_of(901, (2, 1.5, 0), 2, subset="Ties", tie="tied:99"),
    ]
    ties = [drawn_ties(seed, grid) + pair for seed in SEEDS for grid in (2, 1000)]
    best = [
        [[(7 * i * seed + 3 * k) % (2 + seed % 4) for k in range(4)] for i in range(1, 30)] for seed in range(1, 12)
    ]
    given = {
        "means": [means_of(rows) for rows in first],
        "ties": [[published_row(row) for row in rows] for rows in ties],
        "best": best,
    }
    theirs = ask(python_for("rewardbench"), given)
    assert theirs["counts"] == rewardbench.WEIGHTS
    for rows, sections in zip(first, theirs["sections"], strict=True):
        found = rewardbench.aggregate(rows)
        assert {name: value(found, name) for name in sections} == pytest.approx(sections)
        assert value(found, "RewardBench") == pytest.approx(sum(sections.values()) / 4)
    assert [rewardbench2.ties_score(rows) for rows in ties] == pytest.approx(theirs["ties"])
    for scores, results in zip(best, theirs["best"], strict=True):
        rows = [best_of(i, tuple(row), subset="Math") for i, row in enumerate(scores)]
        assert value(rewardbench2.aggregate(rows), "Math") == pytest.approx(sum(results) / len(results))
