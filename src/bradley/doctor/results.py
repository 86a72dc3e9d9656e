"""Result of a probe: what was measured, what a sound set-up shows and why, and the verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..errors import BradleyError, CheckpointError, DataError
from ..evaluate.expectation import Expectation, Verdict, judge

FALSE_ALARMS = 0.001
"""Chance that any statistical probe of an examination fails on a sound set-up."""
TOLERANCE = 0.05
"""Distance from an expected share that matters."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Result of a probe.

    Attributes:
        name: of the probe.
        verdict: `pass`, `fail`, or `undecided`, which is no pass.
        measured: what was found, in words, with units.
        expected: what a sound set-up shows, in words.
        why: argument for the expectation, as a clause.
        value, low, high: measured share with its interval; None for a probe that compares bits or roundings.
        n, clusters: judgments or rows, and prompts among these.
        needed: prompts for a verdict with 80 % power; None if decided or unknown.
        cause, remedy: most likely cause of a failure, and what to do; "" without a failure.
        of: `data` for a fault of the rows, `model` for a fault of the model or its settings.

    Example:
        ProbeResult("scored twice", "pass", "equal bits", "equal bits", "nothing is random in evaluation")
    """

    name: str
    verdict: Verdict
    measured: str
    expected: str
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    clusters: int = 0
    needed: int | None = None
    cause: str = ""
    remedy: str = ""
    of: Literal["data", "model"] = "model"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Advice:
    """Name of a probe, with the most likely cause of a failure and what to do.

    Attributes:
        name: of the probe.
        cause: most likely cause of a failure.
        remedy: what to do.
        of: place of the fault, see `ProbeResult`.
    """

    name: str
    cause: str
    remedy: str
    of: Literal["data", "model"] = "model"


def found(
    advice: Advice, verdict: Verdict | bool, measured: str, expected: str, why: str, **figures: Any
) -> ProbeResult:
    """Make the result of a probe; cause and remedy are kept for a failure alone.

    Args:
        advice: of the probe.
        verdict: True for `pass`, False for `fail`.
        figures: further fields of `ProbeResult`.
    """
    word: Verdict = verdict if isinstance(verdict, str) else ("pass" if verdict else "fail")
    result = ProbeResult(advice.name, word, measured, expected, why, of=advice.of, **figures)
    return replace(result, cause=advice.cause, remedy=advice.remedy) if word == "fail" else result


def judged(
    advice: Advice, figure: dict[str, Any], expected: Expectation, confidence: float, what: str = "accuracy"
) -> ProbeResult:
    """Judge a share by its interval, see `expectation.judge`.

    Args:
        advice: of the probe.
        figure: share as `interval_dict` gives it.
        expected: share of a sound set-up.
        confidence: of the interval behind the verdict.
        what: name of the share.
    """
    known = judge(figure, expected, confidence=confidence, tolerance=TOLERANCE)
    return found(advice, known["verdict"], share_in_words(known, what), _wanted(expected), expected.why, **of(known))


def of(known: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `ProbeResult` from the result of `judge`."""
    figures = {name: known[name] for name in ("value", "low", "high", "n", "clusters")}
    return {**figures, "needed": known["prompts_needed"] if known["verdict"] == "undecided" else None}


def share_in_words(known: dict[str, Any], what: str = "accuracy") -> str:
    """Describe a share with its interval."""
    if known["low"] is None:
        return f"{known['n']:,} judgments of {known['clusters']:,} prompts give no interval"
    interval = f"{known['low']:.1%} to {known['high']:.1%} at {known['confidence']:.3%} confidence"
    return f"{what} {known['value']:.1%}, {interval} ({known['n']:,} judgments of {known['clusters']:,} prompts)"


def confidence_of(count: int) -> float:
    """Confidence of each of `count` statistical probes, for `FALSE_ALARMS` of all together (Bonferroni)."""
    return 1 - FALSE_ALARMS / max(1, count)


def failure(results: Sequence[ProbeResult]) -> BradleyError | None:
    """Return the error for an examination with failures, or None; the kind is that of the first failure.

    Example:
        if (error := failure(results)) is not None:
            raise error
    """
    failed = [result for result in results if result.verdict == "fail"]
    if not failed:
        return None
    kind = DataError if failed[0].of == "data" else CheckpointError
    names = ", ".join(result.name for result in failed)
    return kind(f"{len(failed)} of {len(results)} probes failed: {names}", failed[0].remedy)


def _wanted(expected: Expectation) -> str:
    if expected.kind == "above":
        return f"above {expected.low:.0%}"
    if expected.low == expected.high:
        return f"{expected.low:.0%}, within chance"
    return f"at most {expected.high:.0%}" if expected.low == 0 else f"{expected.low:.0%} to {expected.high:.0%}"
