"""The temperature: recovered, equal to other libraries, and no better than it is on other prompts."""

import math

import numpy as np
import pytest

from bradley.errors import DataError
from bradley.evaluate.temperature import fit_temperature, temperature_figures, temperature_verdict, temperature_warnings

from .simulated import pairs
from .tables import scored


def rows_of(table):
    return [
        scored(f"row {i}", (float(margin), 0.0), prompt=prompt)
        for i, (margin, prompt) in enumerate(zip(table.margin, table.prompt, strict=True))
    ]


@pytest.mark.parametrize("temperature", [0.5, 2.0, 5.0])
def test_a_known_temperature_is_recovered_within_five_percent(temperature):
    found = fit_temperature(rows_of(pairs(np.random.default_rng(0), 20_000, False, temperature)))
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.low < temperature < found.high


def test_the_scale_holds_beta_once():
    rows = rows_of(pairs(np.random.default_rng(1), 2000, True, 2.0))
    plain, halved = fit_temperature(rows, beta=1.0), fit_temperature(rows, beta=0.5)
    # Probabilities of the same scores are the same, whatever beta the temperature is told beside.
    assert halved.scale == pytest.approx(plain.scale, rel=1e-6)
    assert halved.temperature == pytest.approx(plain.temperature / 2, rel=1e-6)
    assert plain.probability(1.0) == pytest.approx(1 / (1 + math.exp(-plain.scale)))


def test_the_fit_agrees_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    table = pairs(np.random.default_rng(2), 3000, False, 3.0)
    # Both orders of each pair, so that labels of both kinds exist; no intercept, no penalty.
    x = np.concatenate([table.margin, -table.margin])[:, None]
    y = np.concatenate([np.ones(len(table.margin)), np.zeros(len(table.margin))])
    other = linear.LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(x, y)
    assert fit_temperature(rows_of(table)).scale == pytest.approx(float(other.coef_[0, 0]), rel=1e-4)


def test_the_interval_agrees_with_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    table = pairs(np.random.default_rng(3), 400, True, 2.0)
    groups = np.unique(table.prompt, return_inverse=True)[1]
    fit = sm.GLM(np.ones(len(table.margin)), table.margin[:, None], family=sm.families.Binomial())
    # statsmodels multiplies by (n - 1) / (n - k) as well, which is 1 here.
    other = fit.fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = fit_temperature(rows_of(table))
    half = (math.log(found.high) - math.log(found.low)) / 2
    from scipy.stats import t

    error = half / t.ppf(0.975, found.clusters - 1) * found.scale
    assert found.scale == pytest.approx(float(other.params[0]), rel=1e-4)
    assert error == pytest.approx(float(other.bse[0]), rel=0.01)


def test_after_is_measured_on_other_prompts():
    found = temperature_figures(rows_of(pairs(np.random.default_rng(4), 1500, True, 3.0)), name="valid")
    assert found["after"]["nll"]["value"] < found["before"]["nll"]["value"]
    assert found["change"]["nll"]["high"] < 0
    assert found["after"]["ece"]["value"] < 0.5 * found["before"]["ece"]["value"]
    assert found["set"] == "valid"


def test_a_calibrated_model_gains_nothing():
    found = temperature_figures(rows_of(pairs(np.random.default_rng(5), 3000, False)))
    assert found["low"] < 1 < found["high"]
    assert found["change"]["nll"]["value"] == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(
    "rows, said",
    [
        ([], "no judgment"),
        ([scored(str(i), (1.0, 0.0), prompt=str(i)) for i in range(9)], "every judgment is right"),
        ([scored(str(i), (0.0, 1.0), prompt=str(i)) for i in range(9)], "100.0% of the judgments contradict"),
        ([scored(str(i), (1.0, 1.0), prompt=str(i)) for i in range(9)], "are equal"),
        ([scored(str(i), (i % 2, (i + 1) % 2), prompt=str(i)) for i in range(10)], "say nothing about the labels"),
    ],
)
def test_labels_that_no_temperature_fits_are_refused(rows, said):
    with pytest.raises(DataError) as refused:
        fit_temperature(rows)
    assert said in refused.value.message and refused.value.hint


@pytest.mark.parametrize("factor", [1e-300, 1e-6, 5e3, 1e30])
def test_scores_of_any_scale_have_the_same_probabilities(factor):
    table = pairs(np.random.default_rng(6), 500, False, 2.0)
    plain = fit_temperature(rows_of(table))
    scaled = [
        scored(f"row {i}", (float(margin) * factor, 0.0), prompt=prompt)
        for i, (margin, prompt) in enumerate(zip(table.margin, table.prompt, strict=True))
    ]
    found = fit_temperature(scaled)
    assert found.scale * factor == pytest.approx(plain.scale, rel=1e-5)
    assert found.low / factor == pytest.approx(plain.low, rel=1e-5)


def test_a_temperature_whose_interval_holds_1_proves_nothing():
    assert "no evidence" in temperature_verdict({"low": 0.8, "high": 1.3})
    assert "no evidence" in temperature_verdict({"low": None, "high": None})
    assert temperature_verdict({"low": 1.1, "high": 1.3}).endswith("too sure")
    assert temperature_verdict({"low": 0.7, "high": 0.9}).endswith("not sure enough")


@pytest.mark.parametrize(("before", "after", "said"), [(0.6, 0.5, 0), (0.5, 0.5, 1), (0.8, 0.7, 1), (0.7, 0.71, 2)])
def test_a_temperature_that_does_not_help_has_a_warning(before, after, said):
    found = {"before": {"nll": {"value": before}}, "after": {"nll": {"value": after}}}
    assert len(temperature_warnings(found)) == said
