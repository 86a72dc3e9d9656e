import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import t as student

from bradley.evaluate.logit import fit_logit, influence_dict

SMALL = st.lists(
    st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.sampled_from([0.0, 1.0])), min_size=6, max_size=14
)


def sample(seed=0, n=400, clusters=40, soft=False):
    draw = np.random.default_rng(seed)
    z, codes = draw.normal(size=(n, 3)), draw.integers(0, clusters, n)
    p = 1 / (1 + np.exp(-(z @ [0.5, -0.3, 0.0] + draw.normal(size=clusters)[codes])))
    return z, p if soft else (draw.random(n) < p).astype(float), codes


def test_three_wins_of_four_by_hand():
    """b = log 3; scores of the clusters -1/2, +1/2; curvature 4 * 3/16; SE^2 = 2 * 2 * (1/2)^2 / (3/4)^2."""
    fit = fit_logit([[1.0], [1.0], [1.0], [-1.0]], [1, 0, 1, 0], ["p", "p", "q", "q"])
    found, se = fit.coefficient(0), math.sqrt(2 * 2 * 0.25 / 0.75**2)
    reach = student.ppf(0.975, 1) * se
    assert (fit.n, fit.clusters, found["reason"]) == (4, 2, None)
    assert (found["value"], found["se"]) == pytest.approx((math.log(3), se))
    assert (found["low"], found["high"]) == pytest.approx((math.log(3) - reach, math.log(3) + reach))


@pytest.mark.parametrize("soft", [False, True])
def test_coefficients_and_errors_are_those_of_statsmodels(soft):
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is the oracle of the sandwich")
    z, y, codes = sample(soft=soft)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # soft labels are no counts, which statsmodels remarks on
        model = sm.GLM(y, z, family=sm.families.Binomial()).fit(
            cov_type="cluster", cov_kwds={"groups": codes}, tol=1e-12
        )
        logit = None if soft else sm.Logit(y, z).fit(disp=0, cov_type="cluster", cov_kwds={"groups": codes})
    fit = fit_logit(z, y, codes)
    # statsmodels has a further factor (n - 1) / (n - k), as Stata has for least squares.
    errors = np.sqrt(np.diag(fit.covariance) * (len(z) - 1) / (len(z) - 3))
    for oracle in [model] if logit is None else [model, logit]:
        assert fit.coefficients == pytest.approx(oracle.params, abs=1e-8)
        assert errors == pytest.approx(oracle.bse, rel=1e-6)


def test_coefficients_are_those_of_scikit_learn_without_a_penalty():
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is a second oracle")
    z, y, codes = sample(1)
    oracle = linear.LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=1000).fit(z, y)
    assert fit_logit(z, y, codes).coefficients == pytest.approx(oracle.coef_[0], abs=1e-6)


@given(SMALL, st.lists(st.booleans(), min_size=14, max_size=14), st.sampled_from([1e-8, 1.0, 1e8]))
def test_swapped_sides_change_nothing_and_units_scale_the_coefficient(pairs, swaps, unit):
    z, y = np.array(pairs, dtype=float)[:, :2], np.array(pairs)[:, 2]
    sign = np.where(swaps[: len(z)], -1.0, 1.0)
    fit, swapped = (
        fit_logit(z, y, np.arange(len(z))),
        fit_logit(z * sign[:, None] * unit, np.where(sign < 0, 1 - y, y), np.arange(len(z))),
    )
    assert (fit.reason is None) == (swapped.reason is None)
    if fit.reason is None:
        assert swapped.coefficients * unit == pytest.approx(fit.coefficients, rel=1e-6, abs=1e-8)
        assert swapped.covariance * unit**2 == pytest.approx(fit.covariance, rel=1e-6, abs=1e-8)


@given(SMALL)
def test_labels_are_separated_exactly_if_a_linear_program_separates_them(pairs):
    """A direction b with (2y - 1) z b >= 0 everywhere, and above 0 somewhere."""
    z, y = np.array(pairs, dtype=float)[:, :2], np.array(pairs)[:, 2]
    if np.linalg.matrix_rank(z) < 2:
        assert fit_logit(z, y, np.arange(len(z))).reason is not None
        return
    sided = z * (2 * y - 1)[:, None]
    best = linprog(-sided.sum(axis=0), A_ub=-sided, b_ub=np.zeros(len(z)), bounds=[(-1, 1)] * 2)
    reason = fit_logit(z, y, np.arange(len(z))).reason
    assert (best.fun < -1e-9) == (reason is not None and reason.startswith("separated"))


@pytest.mark.parametrize(
    ("z", "y", "clusters", "reason"),
    [
        (np.zeros((0, 1)), [], [], "no pairs"),
        (np.zeros((3, 0)), [1, 0, 1], [1, 2, 3], "no features"),
        ([[1, 0], [2, 0], [-1, 0]], [1, 0, 1], [1, 2, 3], "equal on both sides of every pair: b"),
        ([[1, 2], [2, 4], [-1, -2]], [1, 0, 1], [1, 2, 3], "collinear: a, b"),
        ([[1, 1], [2, 0], [-1, 3]], [1, 0, 1], [1, 2, 2], "2 clusters for 2 features: needs at least 3"),
        ([[1], [2], [-3]], [1, 1, 0], [1, 2, 3], "separated: a would predict some outcomes with certainty"),
        ([[1, 1], [2, 0], [1, 0], [2, 0]], [1, 1, 0, 0], [1, 2, 3, 4], "separated: b would predict"),
        ([[1e-300], [2e-300], [3e-300]], [1, 1, 1], [1, 2, 3], "separated: a"),
    ],
)
def test_no_fit_has_a_reason_and_no_number(z, y, clusters, reason):
    z = np.array(z, dtype=float)
    fit = fit_logit(z, y, clusters, ["a", "b"][: z.shape[1]])
    assert fit.reason.startswith(reason)
    assert np.isnan(fit.coefficients).all()
    if z.shape[1]:
        found = fit.coefficient(0)
        assert json.loads(json.dumps(found)) == {
            "value": None,
            "se": None,
            "low": None,
            "high": None,
            "reason": fit.reason,
        }


def test_a_huge_but_finite_maximum_is_found():
    """One contradiction in 10,000: b = log 9999, and an outlier of 1e6 deviations does not stop Newton's method."""
    y = np.ones(10_000)
    y[0] = 0.0
    fit = fit_logit(np.ones((10_000, 1)), y, np.arange(10_000))
    assert fit.coefficients[0] == pytest.approx(math.log(9999))
    z = np.append(np.random.default_rng(0).normal(size=500), 1e6)[:, None]
    fit = fit_logit(z, np.append(z[:-1, 0] > np.random.default_rng(1).normal(size=500), 0.4), np.arange(501))
    assert fit.reason is None and abs(fit.coefficients[0] * 1e6 - math.log(0.4 / 0.6)) < 1e-2


@pytest.mark.parametrize(
    ("z", "y"), [([[math.nan]], [1.0]), ([[math.inf]], [1.0]), ([[1.0]], [1.5]), ([[1.0]], [math.nan])]
)
def test_numbers_that_are_none_are_refused(z, y):
    with pytest.raises(ValueError, match="finite"):
        fit_logit(z, y, ["p"])


def test_one_cluster_leaves_the_value_alone():
    found = influence_dict(0.3, np.array([0.0]))
    assert found["value"] == 0.3 and found["low"] is found["high"] is found["se"] is None
    assert found["reason"] == "one prompt alone shows no error"
