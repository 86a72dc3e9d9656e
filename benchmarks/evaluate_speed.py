"""Time and memory of a whole evaluation of 100,000 scored pairs with 1,000 bootstrap draws, on one core.

python benchmarks/evaluate_speed.py [--pairs 100000] [--draws 1000]

Beside stands a plain Python loop that computes the accuracy and a bootstrap by rows alone, as many scripts do; the loop
runs a few draws, and its time is multiplied up.
"""

import argparse
import os
import random
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bradley.evaluate.compare import compare
from bradley.evaluate.evaluation import evaluation
from bradley.evaluate.temperature import temperature_figures
from bradley.records import Comparison, Judgment, Message, Response, ScoredComparison

LOOPED = 5
"""Draws of the plain loop."""
WORDS = ["river", "**bold**", "the", "a", "\n- item", "\n# Head\n", "sorry", "stone", "runs", "because"]


def main() -> None:
    """Print seconds and peak memory of each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=1000)
    given = parser.parse_args()
    rows, texts = made(given.pairs, 0)
    others, _ = made(given.pairs, 1)
    steps = {
        "evaluation": lambda: evaluation(rows, draws=given.draws),
        "evaluation with texts (shortcuts, style)": lambda: evaluation(rows, texts, draws=given.draws),
        "calibration": lambda: temperature_figures(rows),
        "comparison of two models": lambda: compare({"a": rows, "b": others}, draws=given.draws),
        f"plain loop, accuracy alone, {given.draws} draws": lambda: loop(rows, LOOPED),
    }
    for name, step in steps.items():
        before = time.perf_counter()
        step()
        seconds = (time.perf_counter() - before) * (given.draws / LOOPED if name.startswith("plain") else 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:<48} {seconds:8.1f} s   peak {peak:,.0f} MiB", flush=True)


def made(pairs: int, seed: int) -> tuple[list[ScoredComparison], list[Comparison]]:
    """Scored pairs of random texts, three to a prompt."""
    generator = np.random.default_rng(seed)
    margin = generator.normal(0.5, 1.5, size=pairs).tolist()
    words = np.random.default_rng(7).integers(len(WORDS), size=(2 * pairs, 12)).tolist()
    texts = [" ".join(WORDS[word] for word in line) for line in words]
    rows, comparisons = [], []
    for i in range(pairs):
        id, key, tags = str(i), f"prompt {i // 3}", {"subset": f"s{i % 7}"}
        lengths = (len(words[2 * i]), len(words[2 * i + 1]) + i % 5)
        judgments = (Judgment(0, 1),)
        rows.append(
            ScoredComparison(id, key, (margin[i], 0.0), (20, 20), lengths, (False, False), judgments, tags=tags)
        )
        answers = tuple(Response((Message("assistant", text),)) for text in texts[2 * i : 2 * i + 2])
        comparisons.append(Comparison(id, key, (Message("user", "river stone"),), answers, judgments, tags=tags))
    return rows, comparisons


def loop(rows: list[ScoredComparison], draws: int) -> tuple[float, float]:
    """Accuracy and its interval by rows, as a plain script computes them."""
    right = [row.scores[row.judgments[0].better] > row.scores[row.judgments[0].worse] for row in rows]
    drawn = []
    for _ in range(draws):
        drawn.append(sum(random.choice(right) for _ in range(len(right))) / len(right))
    drawn.sort()
    return drawn[0], drawn[-1]


if __name__ == "__main__":
    main()
