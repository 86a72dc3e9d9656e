"""Temperature: one number that turns score differences into probabilities, fitted on a validation set.

The probability that one response is better than another is sigmoid(scale * d), with d the score difference. Training
used scale = beta. A temperature T divides the logits beta * d (Guo et al. 2017), so

    scale = beta / T.

Only `scale` ever multiplies a score difference: beta and temperature are never applied one after the other. The fit
maximises the likelihood of the labels. Both orders of a pair are the same observation and no intercept is fitted,
because swapping the responses must turn p into 1 - p.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import DataError
from ..records import ScoredComparison
from .calibration import correctness
from .ece import debiased_ece
from .folds import FOLDS, cluster_folds
from .intervals import interval_dict
from .judgments import Floats, JudgmentTable, factors_of, judgment_table, negative_log_likelihood, set_identity

CHANCE = math.log(2)
"""NLL of a model that says 1/2 of every pair, on labels of either side."""
COLDEST, HOTTEST = 1e-4, 1e4
"""Temperatures between which the fit searches, for scores in units of their own differences; a fit at an end means that
no temperature fits."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """Fitted temperature.

    Example:
        fit_temperature(rows, beta=1.0).probability(score_a - score_b)

    Attributes:
        temperature: T; above 1 for a model that is too sure.
        low, high: 95 % interval, clustered by prompt; None where unknown.
        scale: beta / T, the factor of score differences.
        beta: beta of the loss in training.
        n, clusters: judgments and prompts of the fit.
        set: name of the set.
        set_sha256: identity of the set, see `set_identity`.
    """

    temperature: float
    low: float | None
    high: float | None
    scale: float
    beta: float
    n: int
    clusters: int
    set: str = ""
    set_sha256: str = ""

    def probability(self, difference: Any) -> Any:
        """Probability that the first response is better, for score differences of any shape."""
        from scipy.special import expit

        return expit(self.scale * np.asarray(difference, dtype=np.float64))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def fit_temperature(rows: Sequence[ScoredComparison], beta: float | None = None, name: str = "") -> Temperature:
    """Fit the temperature on all judgments of a set, each with its weight.

    Args:
        rows: scored comparisons, which the model was not trained on.
        beta: factor of score differences in the loss; by default of the rows, see `factors_of`.
        name: name of the set.

    Raises:
        DataError: no judgment, or labels that no temperature fits: scores no better than chance, or right everywhere.

    Example:
        fit_temperature(rows).temperature  # 1.7
    """
    beta, _ = factors_of(rows, beta)
    table = judgment_table(rows)
    logit = beta * table.margin
    _check_labels(name, table)
    unit = _unit(logit)
    scale = _fit(logit / unit, table.probability, table.weight)
    _check_fit(scale, name, table)
    low, high = (end if end is None else end * unit for end in _interval(scale, logit / unit, table))
    scale /= unit
    clusters = len(np.unique(table.prompt))
    return Temperature(1 / scale, low, high, beta * scale, beta, len(logit), clusters, name, set_identity(rows))


def temperature_figures(rows: Sequence[ScoredComparison], beta: float | None = None, name: str = "") -> dict[str, Any]:
    """Fit the temperature, and measure NLL, Brier score and debiased ECE before and after.

    The figures after are cross-fitted: each judgment is measured under the temperature of the other folds of prompts,
    so that the fit is not praised on its own data.

    Returns:
        Fields of `Temperature`, and `before`, `after`, and `change` (after minus before), each with `nll`, `brier` and
        `ece` as intervals; `ece` has no change.

    Raises:
        DataError: as `fit_temperature`.
    """
    beta, _ = factors_of(rows, beta)
    fitted = fit_temperature(rows, beta, name)
    table = judgment_table(rows)
    fold = cluster_folds(table.prompt)
    logit = beta * table.margin
    unit = _unit(logit)
    after = np.empty_like(logit)
    for number in range(FOLDS):
        held, rest = fold == number, fold != number
        scale = _fit(logit[rest] / unit, table.probability[rest], table.weight[rest]) if rest.any() else 1.0
        after[held] = scale * (logit[held] / unit)
    figures = {"before": _losses(logit, table), "after": _losses(after, table)}
    change = {key: figures["after"][key] - figures["before"][key] for key in ("nll", "brier")}
    shown = {
        when: {
            **{key: interval_dict(values, table.prompt, (0.0, math.inf)) for key, values in each.items()},
            "ece": _ece(logit if when == "before" else after, table),
        }
        for when, each in figures.items()
    }
    changes = {key: interval_dict(values, table.prompt, (-math.inf, math.inf)) for key, values in change.items()}
    return {**fitted.to_json(), **shown, "change": changes}


def temperature_verdict(found: Mapping[str, Any]) -> str:
    """Say whether the scores alone are too sure, as far as the 95 % interval of T leaves 1 out.

    Args:
        found: fields of `Temperature`.

    Example:
        temperature_verdict({"temperature": 2.0, "low": 0.9, "high": 4.0})  # "no evidence that ..."
    """
    low, high = found["low"], found["high"]
    if low is None or high is None or low <= 1 <= high:
        return "no evidence that the scores are too sure or not sure enough"
    return f"the scores alone are {'too sure' if low > 1 else 'not sure enough'}"


def temperature_warnings(found: Mapping[str, Any]) -> list[str]:
    """Sentences about a temperature that helps nobody, by the cross-fitted NLL.

    Args:
        found: result of `temperature_figures`.
    """
    before, after = found["before"]["nll"]["value"], found["after"]["nll"]["value"]
    lines = []
    if after >= CHANCE:
        lines.append(f"NLL after the temperature is {after:.4f}, no better than chance ({CHANCE:.4f})")
    if after >= before:
        lines.append("the temperature does not lower the NLL of prompts outside the fit: scores may serve as they are")
    return lines


def _fit(logit: Floats, probability: Floats, weight: Floats) -> float:
    """Factor of the logits with the largest likelihood, between 1 / `HOTTEST` and 1 / `COLDEST`."""
    from scipy.optimize import minimize_scalar

    if not len(logit):
        return math.nan

    def loss(log_scale: float) -> float:
        x = math.exp(log_scale) * logit
        return float(np.dot(weight, negative_log_likelihood(x, probability)))

    # In the logarithm the loss has one minimum, since it is convex in the scale.
    bounds = (-math.log(HOTTEST), -math.log(COLDEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return math.exp(float(found.x))


def _check_labels(name: str, table: JudgmentTable) -> None:
    """Raise `DataError` for labels that no temperature fits, whatever the likelihood looks like."""
    told = f"{name}: " if name else ""
    if not len(table.row):
        raise DataError(f"{told}no judgment to fit a temperature on", "give rows with chosen and rejected responses")
    margin = table.margin
    if not np.any(margin):
        hint = "look at the accuracy first: a model that tells nothing apart has no probabilities"
        raise DataError(f"{told}no temperature fits: all scores of a pair are equal", hint)
    # The likelihood rises for ever, and is flat to the last bit long before the end of the search.
    if np.all((table.probability == 1.0) & (margin >= 0.0)):
        hint = "give a larger set with disagreements, or check that the scores were not made from the labels"
        raise DataError(f"{told}no temperature fits: every judgment is right, and any colder fits better", hint)


def _check_fit(scale: float, name: str, table: JudgmentTable) -> None:
    """Raise `DataError` for a scale at the lower end of the search."""
    if scale > 1.01 / HOTTEST:
        return
    told, decided = f"{name}: " if name else "", table.select(table.decided)
    share = float(np.mean(correctness(decided))) if len(decided.row) else 0.5
    if share < 0.5:
        hint = "check that a higher score means a better response"
        raise DataError(f"{told}no temperature fits: {1 - share:.1%} of the judgments contradict the scores", hint)
    hint = "look at the accuracy first: a model at chance has no probabilities to calibrate"
    raise DataError(f"{told}no temperature fits: the scores say nothing about the labels", hint)


def _unit(logit: Floats) -> float:
    """Median size of the differences that are not 0: scores may have any scale, and the search has ends."""
    sizes = np.abs(logit[logit != 0.0])
    return float(np.median(sizes)) if len(sizes) else 1.0


def _interval(scale: float, logit: Floats, table: JudgmentTable) -> tuple[float | None, float | None]:
    """Interval of the temperature, from the clustered sandwich variance of the scale in logarithm.

    With g the score of each judgment in the scale and H minus its derivative, SE = sqrt(G / (G - 1) sum_g(u_g^2)) / H,
    u_g the sum of g over cluster g (Liang and Zeger 1986).
    """
    from scipy.special import expit
    from scipy.stats import t as student

    names, codes = np.unique(table.prompt, return_inverse=True)
    groups = len(names)
    p = expit(scale * logit)
    sums = np.bincount(codes.reshape(-1), weights=table.weight * logit * (table.probability - p))
    information = float(np.dot(table.weight, logit**2 * p * (1 - p)))
    if groups < 2 or not information > 0:
        return None, None
    error = math.sqrt(groups / (groups - 1) * float(np.dot(sums, sums))) / information / scale
    half = float(student.ppf(0.975, groups - 1)) * error
    # A logarithm keeps both ends positive.
    return math.exp(-half) / scale, math.exp(min(half, 700.0)) / scale


def _losses(logit: Floats, table: JudgmentTable) -> dict[str, Floats]:
    """NLL in nats and Brier score of each judgment [J]."""
    from scipy.special import expit

    nll = negative_log_likelihood(logit, table.probability)
    return {"nll": nll, "brier": (expit(logit) - table.probability) ** 2}


def _ece(logit: Floats, table: JudgmentTable) -> dict[str, Any]:
    from scipy.special import expit

    return debiased_ece(expit(np.abs(logit)), correctness(table), table.prompt)
