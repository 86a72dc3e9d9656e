"""The debiased ECE: unbiased where the plug-in value is not, with intervals that cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from bradley.evaluate.ece import binned_ece, calibrated_ece, debiased_ece, ece_figures, equal_mass_edges

from .simulated import pairs, table_of, true_ece


def figures(table):
    confidence = expit(np.abs(table.margin))
    return debiased_ece(confidence, (np.sign(table.margin) + 1) / 2, table.prompt)


def test_binned_ece_by_hand():
    confidence, correct = np.array([0.6, 0.6, 0.9, 0.9]), np.array([1.0, 0.0, 1.0, 1.0])
    # First bin: 0.5 against 0.6; second bin: 1.0 against 0.9.
    assert binned_ece(confidence, correct, np.array([0.5, 0.75, 1.0])) == pytest.approx(0.1)
    assert binned_ece(np.empty(0), np.empty(0), np.array([0.5, 1.0])) is None


def test_equal_width_bins_agree_with_scikit_learn():
    calibration = pytest.importorskip("sklearn.calibration")
    table = pairs(np.random.default_rng(0), 3000, False, 2.0)
    confidence, correct = expit(np.abs(table.margin)), (table.margin > 0).astype(float)
    rate, mean = calibration.calibration_curve(correct, confidence * 2 - 1, n_bins=15)
    found = ece_figures(table, 1.0)["equal_width"]["bins"]
    assert [one["accuracy"] for one in found] == pytest.approx(rate.tolist())
    assert [2 * one["confidence"] - 1 for one in found] == pytest.approx(mean.tolist())


def test_a_calibrated_scorer_has_a_debiased_ece_below_one_percent():
    values = sorted(figures(pairs(np.random.default_rng(seed), 20_000, False))["value"] for seed in range(10))
    # The accuracy of a set of 20,000 has a standard error of 0.3 %: one set in two hundred is off by 1 % by chance.
    assert values[-2] < 0.01 and np.mean(values) < 0.004


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_the_debiased_ece_is_the_analytic_value(temperature):
    found = figures(pairs(np.random.default_rng(4), 20_000, False, temperature))
    assert found["value"] == pytest.approx(true_ece(temperature), abs=0.01)
    assert found["low"] < true_ece(temperature) < found["high"]


def test_a_gap_of_both_signs_is_found():
    generator = np.random.default_rng(5)
    truth = expit(np.abs(generator.normal(0, 1.5, size=20_000)))
    confidence = np.clip(truth + 0.06 * np.sin(4 * np.pi * (truth - 0.5)), 0.5, 0.999)
    found = debiased_ece(confidence, (generator.random(20_000) < truth).astype(float), np.arange(20_000))
    assert found["bins"] > 1
    assert found["value"] == pytest.approx(np.abs(confidence - truth).mean(), abs=0.005)


def test_the_plug_in_value_of_a_calibrated_scorer_is_the_printed_bias():
    found = ece_figures(pairs(np.random.default_rng(6), 300, False), 1.0)
    assert found["equal_mass"]["calibrated"] > 0.03
    assert found["equal_mass"]["ece"] < 1.5 * found["equal_mass"]["calibrated_high"]
    assert found["debiased"]["value"] < found["equal_mass"]["calibrated"]


def test_the_value_under_calibration_is_the_mean_of_simulated_values():
    confidence = np.random.default_rng(7).uniform(0.5, 1, size=500)
    edges = equal_mass_edges(confidence)
    generator = np.random.default_rng(8)
    drawn = [binned_ece(confidence, (generator.random(500) < confidence).astype(float), edges) for _ in range(400)]
    mean, high = calibrated_ece(confidence, edges, np.random.default_rng(9))
    assert mean == pytest.approx(np.mean(drawn), rel=0.05)
    assert high == pytest.approx(np.quantile(drawn, 0.95), rel=0.1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-40, 40)), max_size=30))
def test_no_set_breaks_the_figures(rows):
    table = table_of([margin / 10 for _, margin in rows], [prompt for prompt, _ in rows])
    found = ece_figures(table, 1.0)
    debiased = found["debiased"]
    assert debiased["n"] == len(rows)
    if rows:
        assert 0 <= debiased["low"] <= debiased["high"] <= 1
        assert sum(one["n"] for one in found["equal_mass"]["bins"]) == len(rows)
    else:
        assert debiased["value"] is None


def test_a_single_prompt_knows_nothing():
    found = figures(table_of([1.0, 2.0, -1.0], ["a"] * 3))
    assert (found["low"], found["high"], found["clusters"]) == (0.0, 1.0, 1)
    # The value itself needs no interval: |2/3 - mean confidence|.
    assert found["value"] == pytest.approx(abs(2 / 3 - np.mean(expit([1.0, 2.0, 1.0]))))


def test_the_ece_of_a_calibrated_model_does_not_depend_on_the_order_of_rows() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1.0, 300)
    edges = np.linspace(0.5, 1.0, 16)
    shuffled = generator.permutation(confidence)
    first, second = (calibrated_ece(each, edges, np.random.default_rng(1)) for each in (confidence, shuffled))
    assert first == second
