"""Write simulated calibration errors into `docs/concepts/calibration.md`: python docs/scripts/make_calibration.py

Judgments with a known truth: logits |N(0, 1.5^2)|, labels drawn from them, one judgment a prompt. The model states the
logits times a factor.
"""

import re
from pathlib import Path

import numpy as np
from scipy.special import expit

from bradley.evaluate.ece import ece_figures
from bradley.evaluate.judgments import JudgmentTable

TARGET = Path(__file__).parents[1] / "concepts" / "calibration.md"
BEGIN, END = "<!-- simulated ECE: docs/scripts/make_calibration.py -->", "<!-- end of simulated ECE -->"
SIZES = ((100, 100), (300, 60), (1000, 40), (3000, 20))
"""Judgments of a set, and sets drawn."""
FACTORS = (1.0, 1.2, 2.0)
SPREAD = 1.5


def simulated(number: int, factor: float, seed: int) -> JudgmentTable:
    """Draw a set of judgments whose stated logits are `factor` times the true logits."""
    generator = np.random.default_rng(seed)
    logit = np.abs(generator.normal(0, SPREAD, size=number))
    right = generator.random(number) < expit(logit)
    ones = np.ones(number)
    return JudgmentTable(
        row=np.arange(number),
        prompt=np.arange(number).astype(str),
        probability=ones,
        weight=ones,
        chosen=np.where(right, 1, -1) * factor * logit,
        rejected=np.zeros(number),
        extra_tokens=np.zeros(number),
        mean_tokens=ones,
    )


def true_ece(factor: float) -> float:
    """E|sigmoid(factor * m) - sigmoid(m)| over a fine grid of quantiles of m."""
    from scipy.stats import halfnorm

    logit = SPREAD * halfnorm.ppf((np.arange(100_000) + 0.5) / 100_000)
    return float(np.abs(expit(factor * logit) - expit(logit)).mean())


def row(factor: float, number: int, sets: int) -> str:
    """Row of the table: mean figures over the simulated sets, in percent."""
    found = [ece_figures(simulated(number, factor, seed), 1.0, seed) for seed in range(sets)]
    figures = [
        [one["equal_width"]["ece"], one["equal_mass"]["ece"], one["equal_mass"]["calibrated"], one["debiased"]["value"]]
        for one in found
    ]
    cells = [f"{100 * value:.1f}" for value in np.mean(figures, axis=0)]
    return " | ".join(["", f"{100 * true_ece(factor):.1f}", f"{number:,}", *cells, ""]).strip()


def page(text: str) -> str:
    """Return the page with the table as computed now."""
    lines = [
        "| true ECE | judgments | 15 bins, equal width | equal mass | a calibrated model at this n | debiased |",
        "|---|---|---|---|---|---|",
        *(row(factor, number, sets) for factor in FACTORS for number, sets in SIZES),
    ]
    table = "\n".join([BEGIN, "", *lines, "", END])
    return re.sub(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL)


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
