"""Simulated judgments with a known truth, independent or clustered by prompt."""

import numpy as np
from scipy.special import expit, ndtr

from bradley.evaluate.judgments import JudgmentTable


def table_of(margin, prompt, probability=None):
    """A table of judgments with given margins [J] and prompts [J]; scores of the worse responses are 0."""
    number = len(margin)
    ones = np.ones(number)
    return JudgmentTable(
        row=np.arange(number),
        prompt=np.asarray(prompt).astype(str),
        probability=ones if probability is None else np.asarray(probability, dtype=float),
        weight=ones,
        chosen=np.asarray(margin, dtype=float),
        rejected=np.zeros(number),
        extra_tokens=np.zeros(number),
        mean_tokens=ones,
    )


def pairs(generator, prompts, clustered, temperature=1.0, spread=1.5):
    """Judgments of a scorer whose logits are `temperature` times the true logits; labels of a prompt agree by chance.

    Clustered sets have 1 to 11 judgments a prompt, whose labels share a normal factor with correlation 0.6.
    """
    counts = generator.integers(1, 12, size=prompts) if clustered else np.ones(prompts, dtype=int)
    prompt = np.repeat(np.arange(prompts), counts)
    logit = np.abs(generator.normal(0, spread, size=len(prompt)))
    shared = 0.6 if clustered else 0.0
    common = np.repeat(generator.normal(size=prompts), counts)
    uniform = ndtr(np.sqrt(shared) * common + np.sqrt(1 - shared) * generator.normal(size=len(prompt)))
    right = uniform < expit(logit)
    return table_of(np.where(right, 1, -1) * temperature * logit, prompt)


def true_ece(temperature, spread=1.5):
    """E|sigmoid(T m) - sigmoid(m)| for |m| half-normal, by quadrature."""
    from scipy.integrate import quad

    def density(m):
        return 2 * np.exp(-(m**2) / (2 * spread**2)) / np.sqrt(2 * np.pi * spread**2)

    return quad(lambda m: abs(expit(temperature * m) - expit(m)) * density(m), 0, 12 * spread)[0]


def true_accuracy(spread=1.5):
    """E[sigmoid(m)] for |m| half-normal, by quadrature."""
    from scipy.integrate import quad

    def density(m):
        return 2 * np.exp(-(m**2) / (2 * spread**2)) / np.sqrt(2 * np.pi * spread**2)

    return quad(lambda m: expit(m) * density(m), 0, 12 * spread)[0]
