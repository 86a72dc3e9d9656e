"""Power: the smallest difference that a set can show, and the number of pairs that a difference needs.

With z the normal quantiles of the confidence and of the power, a difference D is shown if D >= (z_conf + z_power) * SE
(Miller 2024, "Adding error bars to evals", section 5; Cohen 1988). For accuracies p and p + D on n pairs,

    unpaired, two sets:     SE^2 = (p (1 - p) + (p + D) (1 - p - D)) * deff / n,
    paired, the same pairs: SE^2 = (q - D^2) * deff / n,

where q is the share of pairs on which exactly one of the two models is right, and deff the design effect: the variance
of the accuracy with clusters over the variance as if all pairs were independent.
"""

import math
from typing import Any

from ..errors import UserError

CONFIDENCE, POWER = 0.95, 0.8
"""Two-sided confidence of the test, and the chance to find a true difference, by default."""
LEAST, SUREST = 1e-6, 0.999999
"""Smallest difference, and largest confidence and power, of which pairs are counted."""


def reach(power: float = POWER, confidence: float = CONFIDENCE, clusters: int | None = None) -> float:
    """Smallest difference found with `power`, in standard errors: 2.80 by default.

    Args:
        power: chance to find the difference.
        confidence: of the two-sided test.
        clusters: prompts behind the standard error, for t quantiles with clusters - 1 degrees of freedom; None for
            normal quantiles.
    """
    from scipy.special import ndtri, stdtrit

    if clusters is None:
        return float(ndtri((1 + confidence) / 2) + ndtri(power))
    return float(stdtrit(clusters - 1, (1 + confidence) / 2) + stdtrit(clusters - 1, power))


def smallest_difference(figure: dict[str, Any], *, paired: dict[str, Any] | None = None) -> dict[str, Any]:
    """Smallest difference of accuracy that a set can show with 80 % power at 95 % confidence.

    Args:
        figure: the accuracy of the set as `interval_dict` gives it.
        paired: the paired difference of two models on this set, as `interval_dict` gives it; None without another
            model.

    Returns:
        `unpaired`: against another model of the same accuracy, measured on another set of this size. `paired`: against
        the other model on the same pairs; None without another model. `design_effect`: see the module; None if
        unknown.

    Example:
        smallest_difference(summary["accuracy"])["unpaired"]  # 0.021
    """
    error, other = standard_error(figure), standard_error(paired) if paired else None
    alone = {**figure, "low": figure.get("naive_low"), "high": figure.get("naive_high"), "clusters": figure["n"]}
    naive = standard_error(alone)
    return {
        # Both sets are uncertain alike, hence the factor sqrt(2).
        "unpaired": None if error is None else reach(clusters=figure["clusters"]) * math.sqrt(2) * error,
        "paired": None if other is None or not paired else reach(clusters=paired["clusters"]) * other,
        "design_effect": (error / naive) ** 2 if error is not None and naive else None,
        "power": POWER,
        "confidence": CONFIDENCE,
    }


def standard_error(figure: dict[str, Any]) -> float | None:
    """Standard error behind a clustered t interval; None for an interval that is clipped on both ends or unknown."""
    if figure["value"] is None or figure["low"] is None or figure["high"] is None or figure["clusters"] < 2:
        return None
    # A bound clips one end at most, unless the interval says that nothing is known.
    half = max(figure["value"] - figure["low"], figure["high"] - figure["value"])
    return _error(figure["value"] - half, figure["value"] + half, figure["clusters"] - 1)


def pairs_needed(
    accuracy: float,
    difference: float,
    *,
    power: float = POWER,
    confidence: float = CONFIDENCE,
    discordant: float | None = None,
    design_effect: float = 1.0,
) -> dict[str, Any]:
    """Number of pairs that a difference between two accuracies needs.

    Args:
        accuracy: of the worse model.
        difference: accuracy of the better model minus `accuracy`.
        power: chance to find the difference.
        confidence: of the two-sided test.
        discordant: share of pairs on which exactly one of the models is right; None for the two ends of the possible
            range: the least, `difference`, and the share of two independent models.
        design_effect: variance with clusters over the variance of independent pairs, 1.0 for a pair a prompt.

    Returns:
        `unpaired`: pairs in each of two sets. `paired`: list of `discordant`, `pairs` and `prompts_at_least`.

    Raises:
        UserError: a number outside its range.

    Example:
        pairs_needed(0.7, 0.01)["unpaired"]  # 32644
    """
    _check(accuracy, difference, power, confidence, discordant, design_effect)
    better = accuracy + difference
    variance = accuracy * (1 - accuracy) + better * (1 - better)
    z = reach(power, confidence)
    independent = accuracy * (1 - better) + better * (1 - accuracy)
    shares = [discordant] if discordant is not None else _shares(difference, independent)
    return {
        "accuracy": accuracy,
        "difference": difference,
        "power": power,
        "confidence": confidence,
        "design_effect": design_effect,
        "unpaired": math.ceil(z**2 * variance * design_effect / difference**2 - 1e-9),
        "paired": [
            {"discordant": share, "pairs": _paired(share, difference, z, design_effect)} for share in sorted(shares)
        ],
    }


def _shares(difference: float, independent: float) -> list[float]:
    """Discordant shares to show: from models that agree where they can, to independent models."""
    usual = [share for share in (0.1, 0.2, 0.3) if difference < share < independent]
    return [*usual, independent]


def _paired(share: float, difference: float, z: float, design_effect: float) -> int:
    return max(1, math.ceil(z**2 * (share - difference**2) * design_effect / difference**2 - 1e-9))


def _error(low: float | None, high: float | None, freedom: int) -> float | None:
    from scipy.stats import t as student

    if low is None or high is None:
        return None
    return (high - low) / 2 / float(student.ppf((1 + CONFIDENCE) / 2, freedom))


def _check(
    accuracy: float, difference: float, power: float, confidence: float, discordant: float | None, effect: float
) -> None:
    """Raise `UserError` for a number outside its range."""
    # Each test is written so that nan fails.
    if not 0 < accuracy < 1:
        raise UserError(f"accuracy = {accuracy} is no share of pairs", "give a number between 0 and 1, such as 0.7")
    if not 0 < difference < 1 or not accuracy + difference <= 1:
        hint = f"give a positive share of at most {1 - accuracy:.4g}, such as {min(0.01, (1 - accuracy) / 2):.2g}"
        raise UserError(f"difference = {difference} cannot be added to an accuracy of {accuracy}", hint)
    for name, value in (("power", power), ("confidence", confidence)):
        if not 0.5 <= value <= SUREST:
            raise UserError(f"{name} = {value} is out of range", f"give a share from 0.5 to {SUREST}, such as 0.8")
    if discordant is not None and not difference <= discordant <= 1:
        hint = f"models {difference} apart differ on at least {difference} of the pairs, and on all at most"
        raise UserError(f"discordant = {discordant} is not possible", hint)
    if not difference >= LEAST:
        raise UserError(f"difference = {difference} needs more pairs than can be counted", f"give {LEAST} or more")
    if not 0 < effect < math.inf:
        raise UserError(f"design effect = {effect} is out of range", "1 for independent pairs; more with clusters")
