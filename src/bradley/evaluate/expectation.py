"""Expected accuracies with a stated argument, and verdicts about measured ones: pass, fail or undecided.

A verdict reads the confidence interval, never the value alone. With [a, b] the interval of the measured accuracy:

    within [low, high]:  fail if [a, b] misses [low, high]; pass if [a, b] lies within tolerance of [low, high];
    above `low`:         pass if a > low; fail if b < low + tolerance;
    undecided otherwise: undecided is no pass.

A sound set-up fails with a chance of at most 1 - confidence. The pass in the first line is an equivalence test in the
form of an interval (Schuirmann 1987, two one-sided tests).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from .power import POWER, reach, standard_error

CONFIDENCE = 0.99
"""Confidence of the interval behind the verdict of a run: a sound run fails once in a hundred."""
TOLERANCE = 0.05
"""Distance from the expected accuracy that matters, in accuracy."""

Verdict = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """Accuracy of a sound set-up.

    Example:
        Expectation("above", 0.5, 1.0, "a model that reads the prompt tells its answer from others")

    Attributes:
        kind: "within" for an accuracy between `low` and `high`; "above" for an accuracy above `low`.
        low, high: ends of the expected range.
        why: argument, as a clause.
    """

    kind: Literal["within", "above"]
    low: float
    high: float
    why: str


def expected_of(diagnostic: str, rate: float = 0.5) -> Expectation:
    """Expected accuracy of a diagnostic of `data.diagnostic`, on rows changed by the same diagnostic.

    Args:
        diagnostic: a name, such as "label_shuffle".
        rate: probability of reversed labels, for `label_shuffle`.

    Raises:
        ValueError: an unknown name.
    """
    if diagnostic == "label_shuffle":
        # A model of accuracy a has a (1 - r) + (1 - a) r on labels reversed at rate r: between r and 1 - r.
        low, high = min(rate, 1 - rate), max(rate, 1 - rate)
        return Expectation("within", low, high, f"no text tells which labels were reversed, with probability {rate:g}")
    if diagnostic == "prompt_only":
        return Expectation("within", 0.5, 0.5, "both responses belong to other prompts and say nothing about the label")
    if diagnostic == "random_negatives":
        return Expectation("above", 0.5, 1.0, "a model that reads the prompt tells its answer from answers to others")
    if diagnostic == "length_matched":
        return Expectation("above", 0.5, 1.0, "a model that reads more than lengths ranks responses of like length")
    raise ValueError(f"unknown diagnostic {diagnostic!r}")


def judge(
    figure: dict[str, Any], expected: Expectation, *, confidence: float = CONFIDENCE, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """Compare a measured accuracy with the expectation.

    Args:
        figure: accuracy as `interval_dict` gives it, with `value`, `low`, `high`, `n` and `clusters`.
        expected: accuracy of a sound set-up.
        confidence: of the interval behind the verdict.
        tolerance: distance from the expected range that matters.

    Returns:
        `verdict`; `value`, `low`, `high`: the accuracy with its interval at `confidence`; `n`, `clusters`;
        `expected_low`, `expected_high`: range of accuracies that a sound set-up shows at this n; `prompts_needed`:
        prompts for a verdict with 80 % power, None if unknown; `why`; `kind`; `confidence`; `tolerance`.

    Example:
        judge(results["last"]["valid"]["accuracy"], expected_of("prompt_only"))["verdict"]  # "pass"
    """
    error = standard_error(figure)
    value, clusters = figure["value"], figure["clusters"]
    found = {
        "verdict": "undecided",
        "value": value,
        "low": None,
        "high": None,
        "n": figure["n"],
        "clusters": clusters,
        "expected_low": None,
        "expected_high": None,
        "prompts_needed": None,
        "why": expected.why,
        "kind": expected.kind,
        "confidence": confidence,
        "tolerance": tolerance,
    }
    if value is None or error is None:
        return found
    from scipy.stats import t as student

    # Residuals around the expected value, as in a score test (Rao 1948): around the measured share, the interval of
    # few prompts is too short far from 1/2, and a sound set-up would fail more often than promised.
    away = max(expected.low - value, value - expected.high, 0.0) if expected.kind == "within" else value - expected.low
    error = math.hypot(error, away / math.sqrt(clusters))
    half = float(student.ppf((1 + confidence) / 2, clusters - 1)) * error
    low, high = max(0.0, value - half), min(1.0, value + half)
    found |= {
        "verdict": _verdict(low, high, expected, tolerance),
        "low": low,
        "high": high,
        "expected_low": max(0.0, expected.low - half) if expected.kind == "within" else expected.low,
        "expected_high": min(1.0, expected.high + half),
        "prompts_needed": math.ceil(clusters * (reach(POWER, confidence) * error / tolerance) ** 2),
    }
    return found


def describe_verdict(found: dict[str, Any]) -> str:
    """Describe the result of `judge` in a sentence or two.

    Example:
        describe_verdict(judge(figure, expected_of("prompt_only")))
    """
    if found["low"] is None:
        return f"undecided: {found['clusters']:,} prompts give no interval; expected, because {found['why']}."
    measured = f"{found['value']:.1%}, {found['confidence']:.0%} interval {found['low']:.1%} to {found['high']:.1%}"
    sizes = f"{found['n']:,} judgments of {found['clusters']:,} prompts"
    wanted = (
        f"{found['expected_low']:.1%} to {found['expected_high']:.1%}"
        if found["kind"] == "within"
        else f"above {found['expected_low']:.1%}"
    )
    more = ""
    if found["verdict"] == "undecided":
        more = f" About {found['prompts_needed']:,} prompts would decide."
    return f"{found['verdict']}: accuracy {measured} ({sizes}); expected {wanted}, because {found['why']}.{more}"


def _verdict(low: float, high: float, expected: Expectation, tolerance: float) -> Verdict:
    """Compare the interval [low, high] with the expected range."""
    if expected.kind == "above":
        if low > expected.low:
            return "pass"
        return "fail" if high < expected.low + tolerance else "undecided"
    if high < expected.low or low > expected.high:
        return "fail"
    near = expected.low - tolerance <= low and high <= expected.high + tolerance
    return "pass" if near else "undecided"
