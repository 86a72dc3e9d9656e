"""Coverage of the intervals of an evaluation, on simulated sets with a known truth: the table of the documentation.

python benchmarks/coverage.py [--sets 4000]

Sets of 8 to 200 prompts, with a judgment a prompt, or with 1 to 11 judgments a prompt that agree by chance (a shared
normal factor with correlation 0.6). The scorer multiplies the true logits by a temperature. The Monte Carlo error of a
share of 95 % over 4,000 sets is 0.34 points.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.evaluate.simulated import pairs, true_accuracy, true_ece

from bradley.evaluate.auroc import auroc_interval
from bradley.evaluate.bootstrap import bootstrap_of_sums, draw_clusters
from bradley.evaluate.ece import debiased_ece
from bradley.evaluate.intervals import PROPORTION, clustered_mean, naive_mean

PROMPTS = (8, 20, 50, 200)
FIGURES = (
    "accuracy",
    "accuracy, unclustered",
    "accuracy, bootstrap",
    "paired difference",
    "AUROC",
    "ECE 0.05",
    "ECE 0.10",
)
TEMPERATURES = {"ECE 0.05": 1.4, "ECE 0.10": 2.0}


def main() -> None:
    """Print a table: a row for each figure, a column for each number of prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=4000)
    parser.add_argument("--bootstrapped", type=int, default=1000)
    given = parser.parse_args()
    truth = {
        "accuracy": true_accuracy(),
        "auroc": auroc_interval(pairs(np.random.default_rng(99), 2_000_000, False))["value"],
    }
    truth |= {name: true_ece(temperature) for name, temperature in TEMPERATURES.items()}
    for clustered in (False, True):
        print("1 to 11 judgments a prompt" if clustered else "a judgment a prompt")
        shares = {prompts: coverage(prompts, clustered, given.sets, given.bootstrapped, truth) for prompts in PROMPTS}
        print("| interval | " + " | ".join(f"{prompts} prompts" for prompts in PROMPTS) + " |")
        print("|---|" + "---|" * len(PROMPTS))
        for name in FIGURES:
            print(f"| {name} | " + " | ".join(f"{100 * shares[prompts][name]:.1f}" for prompts in PROMPTS) + " |")


def coverage(prompts: int, clustered: bool, sets: int, bootstrapped: int, truth: dict[str, float]) -> dict[str, float]:
    """Share of the sets in which each interval covers the truth."""
    hits = dict.fromkeys(FIGURES, 0.0)
    for seed in range(sets):
        generator = np.random.default_rng([seed, prompts, clustered])
        table = pairs(generator, prompts, clustered)
        right, accuracy = (table.margin > 0).astype(float), truth["accuracy"]
        hits["accuracy"] += covers(clustered_mean(right, table.prompt, PROPORTION)._asdict(), accuracy)
        hits["accuracy, unclustered"] += covers(naive_mean(right, PROPORTION)._asdict(), accuracy)
        # A second model that guesses on one judgment in five.
        other = np.where(generator.random(len(right)) < 0.2, generator.random(len(right)) < 0.5, right)
        # The bounds are those of an evaluation and a comparison: equal values get a width inside bounds alone.
        difference = clustered_mean(other - right, table.prompt, (-1.0, 1.0))._asdict()
        hits["paired difference"] += covers(difference, 0.2 * (0.5 - accuracy))
        hits["AUROC"] += covers(auroc_interval(table), truth["auroc"])
        for name, temperature in TEMPERATURES.items():
            hits[name] += covers(
                debiased_ece(expit(temperature * np.abs(table.margin)), right, table.prompt), truth[name]
            )
        if seed < bootstrapped:
            sums = np.stack([right, np.ones_like(right)], axis=1)
            found = bootstrap_of_sums(sums, lambda s: s[..., 0] / s[..., 1], draw_clusters(table.prompt, 1000, seed))
            hits["accuracy, bootstrap"] += covers(found, accuracy)
    number = {name: bootstrapped if name == "accuracy, bootstrap" else sets for name in FIGURES}
    return {name: hit / number[name] for name, hit in hits.items()}


def covers(interval: dict[str, float], truth: float) -> bool:
    """Return True if the truth lies in the interval."""
    return interval["low"] <= truth <= interval["high"]


if __name__ == "__main__":
    main()
