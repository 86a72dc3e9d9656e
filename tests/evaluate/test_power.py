"""Power: against statsmodels, a hand calculation, and simulated tests."""

import math

import numpy as np
import pytest

from bradley.errors import UserError
from bradley.evaluate.intervals import clustered_error, interval_dict
from bradley.evaluate.power import pairs_needed, smallest_difference, standard_error


def test_pairs_of_two_sets_by_hand():
    # (1.959964 + 0.841621)^2 * (0.7 * 0.3 + 0.71 * 0.29) / 0.01^2
    assert pairs_needed(0.7, 0.01)["unpaired"] == math.ceil(2.8015852**2 * (0.21 + 0.2059) / 1e-4)


def test_pairs_of_two_sets_agree_with_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    effect = proportion.proportion_effectsize(0.71, 0.7)
    other = power.NormalIndPower().solve_power(effect, power=0.8, alpha=0.05)
    # statsmodels uses the arcsine effect size, which differs in the fourth digit.
    assert pairs_needed(0.7, 0.01)["unpaired"] == pytest.approx(other, rel=0.002)


def test_the_number_of_pairs_gives_the_power():
    generator = np.random.default_rng(0)
    (need,) = pairs_needed(0.7, 0.05, discordant=0.25)["paired"]
    # Discordant pairs: b gains 0.15 and loses 0.10.
    draws = generator.multinomial(need["pairs"], [0.15, 0.10, 0.75], size=4000)
    difference = (draws[:, 0] - draws[:, 1]) / need["pairs"]
    error = np.sqrt(((draws[:, 0] + draws[:, 1]) / need["pairs"] - difference**2) / need["pairs"])
    assert np.mean(difference / error > 1.96) == pytest.approx(0.8, abs=0.02)


def test_the_smallest_difference_is_2_8_standard_errors():
    values = np.random.default_rng(1).random(2000) < 0.7
    figure = interval_dict(values.astype(float), np.arange(2000))
    error = math.sqrt(figure["value"] * (1 - figure["value"]) / 2000)
    assert standard_error(figure) == pytest.approx(error, rel=1e-3)
    found = smallest_difference(figure, paired=figure)
    assert found["unpaired"] == pytest.approx(2.8015852 * math.sqrt(2) * error, rel=1e-3)
    assert found["paired"] == pytest.approx(2.8015852 * error, rel=1e-3)
    assert found["design_effect"] == pytest.approx(1.0, abs=1e-6)


def test_twice_the_same_judgment_doubles_the_design_effect():
    values = np.repeat((np.random.default_rng(2).random(500) < 0.6).astype(float), 2)
    figure = interval_dict(values, np.repeat(np.arange(500), 2))
    assert smallest_difference(figure)["design_effect"] == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("values, prompts", [([1.0, 0.0], ["a", "a"]), ([], [])])
def test_too_few_prompts_show_no_difference(values, prompts):
    assert smallest_difference(interval_dict(values, prompts))["unpaired"] is None


@pytest.mark.parametrize(
    "numbers",
    [
        {"accuracy": 1.2, "difference": 0.1},
        {"accuracy": math.nan, "difference": 0.1},
        {"accuracy": 0.7, "difference": 0.0},
        {"accuracy": 0.7, "difference": 0.4},
        {"accuracy": 0.7, "difference": 0.1, "power": 1.0},
        {"accuracy": 0.7, "difference": 0.1, "confidence": 95},
        {"accuracy": 0.5, "difference": 1e-300},
        {"accuracy": 0.5, "difference": 0.5, "power": 0.99, "confidence": 0.9999999999999999},
        {"accuracy": 0.7, "difference": 0.1, "discordant": 0.05},
        {"accuracy": 0.7, "difference": 0.1, "design_effect": 0},
    ],
)
def test_a_number_out_of_range_is_refused(numbers):
    with pytest.raises(UserError) as refused:
        pairs_needed(**numbers)
    assert refused.value.hint


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_pair_a_prompt_has_the_design_effect_1_even_at_a_bound(value):
    found = smallest_difference(interval_dict([value] * 20, range(20)))
    assert found["design_effect"] == pytest.approx(1.0)


def test_few_prompts_show_no_more_than_their_interval() -> None:
    # The interval of few prompts has t quantiles, and so has the smallest difference.
    values, prompts = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]), np.array(list("aabbcde"))
    from scipy.stats import t

    wanted = (t.ppf(0.975, 4) + t.ppf(0.8, 4)) * np.sqrt(2) * clustered_error(values, prompts)
    assert smallest_difference(interval_dict(values, prompts))["unpaired"] == pytest.approx(wanted)
