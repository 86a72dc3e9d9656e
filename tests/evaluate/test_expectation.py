"""Verdicts on accuracies with an expected value: what passes, what fails, and how often a sound set-up fails."""

import numpy as np
import pytest

from bradley.evaluate.expectation import Expectation, describe_verdict, expected_of, judge
from bradley.evaluate.intervals import interval_dict

COIN = Expectation("within", 0.5, 0.5, "coins")
SIGNAL = Expectation("above", 0.5, 1.0, "signal")


def figure(accuracy: float, n: int):
    """Accuracy of `n` judgments, each of its own prompt."""
    values = np.zeros(n)
    values[: round(accuracy * n)] = 1.0
    return interval_dict(values, list(range(n)))


@pytest.mark.parametrize(
    ("expected", "accuracy", "n", "verdict"),
    [
        (COIN, 0.50, 4000, "pass"),
        (COIN, 0.60, 4000, "fail"),
        (COIN, 0.40, 4000, "fail"),
        (COIN, 0.53, 100, "undecided"),
        (SIGNAL, 0.60, 4000, "pass"),
        (SIGNAL, 0.50, 4000, "fail"),
        (SIGNAL, 0.30, 400, "fail"),
        (SIGNAL, 0.56, 100, "undecided"),
        (SIGNAL, 1.00, 400, "pass"),
    ],
)
def test_verdicts(expected, accuracy, n, verdict) -> None:
    found = judge(figure(accuracy, n), expected)
    assert found["verdict"] == verdict
    assert describe_verdict(found).startswith(f"{verdict}: accuracy {accuracy:.1%}")


def test_a_single_prompt_decides_nothing() -> None:
    found = judge(interval_dict([1.0, 0.0], ["same", "same"]), COIN)
    assert found["verdict"] == "undecided"
    assert "1 prompts give no interval" in describe_verdict(found)


def test_no_judgment_decides_nothing() -> None:
    assert judge(interval_dict([], []), SIGNAL)["verdict"] == "undecided"


def test_a_constant_scorer_is_a_coin_and_no_signal() -> None:
    ties = interval_dict([0.5] * 1000, list(range(1000)))
    assert judge(ties, COIN)["verdict"] == "pass"
    assert judge(ties, SIGNAL)["verdict"] == "fail"


def test_sound_runs_fail_once_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    # Prompts of several judgments with a common coin each: the interval must count prompts, not judgments.
    fails = 0
    for _ in range(1000):
        outcomes = np.repeat(rng.integers(0, 2, 150), 3).astype(float)
        fails += judge(interval_dict(outcomes, np.repeat(np.arange(150), 3)), COIN)["verdict"] == "fail"
    assert fails <= 25


@pytest.mark.parametrize("n", [40, 60, 150])
def test_coins_fail_no_more_often_than_promised_at_any_confidence(n) -> None:
    from scipy.stats import binom

    for confidence in (0.99, 0.9998):
        failing = [k for k in range(n + 1) if judge(figure(k / n, n), COIN, confidence=confidence)["verdict"] == "fail"]
        assert 0 < binom.pmf(failing, n, 0.5).sum() <= 1 - confidence


def test_prompts_needed_decide() -> None:
    found = judge(figure(0.5, 100), COIN)
    again = judge(figure(0.5, found["prompts_needed"]), COIN)
    assert (found["verdict"], again["verdict"]) == ("undecided", "pass")


def test_rate_of_reversed_labels_bounds_the_accuracy() -> None:
    shuffled = expected_of("label_shuffle", 0.2)
    assert (shuffled.low, shuffled.high) == (0.2, 0.8)
    # A model of accuracy 0.7 before: 0.7 * 0.8 + 0.3 * 0.2.
    assert judge(figure(0.62, 2000), shuffled)["verdict"] == "pass"
    assert judge(figure(0.90, 2000), shuffled)["verdict"] == "fail"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown diagnostic 'shuffle'"):
        expected_of("shuffle")
