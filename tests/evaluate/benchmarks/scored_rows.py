"""Scored rows of each benchmark, with scores given or drawn."""

import numpy as np

from bradley.evaluate.benchmarks import rewardbench
from tests.evaluate.tables import scored


def pair(number, better, worse, prompt=None, **tags):
    """A row of two responses, the better one second."""
    return scored(f"{number}", (worse, better), ((1, 0),), prompt=prompt or f"p{number}", tags=tags)


def pairs(values, start=0, **tags):
    """A row for each value: 1 right, 0 wrong, 0.5 equal scores."""
    return [pair(start + i, float(value), 0.5, **tags) for i, value in enumerate(values)]


def best_of(number, scores, correct=1, **tags):
    """A row whose first `correct` responses beat all others."""
    judgments = [(b, w) for b in range(correct) for w in range(correct, len(scores))]
    return scored(f"{number}", scores, judgments, prompt=f"p{number}", tags=tags)


def styles(number, chosen, rejected, domain):
    """A row of RM-Bench from three scores of each side."""
    judgments = [(i, 3 + j) for i in range(3) for j in range(3)]
    return scored(f"{number}", (*chosen, *rejected), judgments, prompt=f"p{number}", tags={"domain": domain})


def value(result, name, scheme="published"):
    """The value of a figure."""
    (found,) = [f for f in result["figures"] if (f["name"], f["scheme"]) == (name, scheme)]
    return found["value"]


def figure(result, name, scheme="published"):
    """A figure of a result."""
    (found,) = [f for f in result["figures"] if (f["name"], f["scheme"]) == (name, scheme)]
    return found


def drawn_rewardbench(seed, prior=(), rows=12):
    """Rows of every subset with scores on a coarse grid, so that some are equal; prompts shared inside a section."""
    draw = np.random.default_rng(seed)
    found = []
    for name in (*rewardbench.COUNTS, *prior):
        for i in range(int(draw.integers(3, rows))):
            better, worse = draw.integers(0, 5, 2) / 4
            found.append(pair(len(found), better, worse, prompt=f"{name[:4]} {i}", subset=name))
    return found


def drawn_ties(seed, grid, numbers=10, correct=3):
    """Rows of the subset Ties; on a coarse grid some spreads are 0, and some prompts lack the other kind."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(numbers):
        for kind, right in (("ref", 1), ("tied", int(draw.integers(1, correct + 1)))):
            if draw.random() < 0.9:
                scores = draw.integers(-grid, grid + 1, right + 4) / grid
                scores[:right] += draw.choice([0.0, 0.5, 2.0])
                found.append(best_of(len(found), tuple(scores), right, subset="Ties", tie=f"{kind}:{number}"))
    return found
