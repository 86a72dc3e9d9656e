import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from bradley.evaluate.matching import match
from bradley.evaluate.style import BIN_SIZE, COEFFICIENTS, STYLE, cross_fitted, regress_style, style, style_features
from tests.helpers import needs_data, read_gz

from .tables import numbers, real_pairs, scored, swap, words, written

STEPS = np.array([-1.5, -0.5, 0.5, 1.5]) / math.sqrt(1.25)
"""Values of the style feature in the simulations, equally likely, of deviation 1."""
TASTE, BIAS = 0.4, 0.5


def draw_judgments(draw, prompts, bias):
    """Two judgments a prompt with correlated quality q; labels follow q + TASTE z, scores q + (TASTE + bias) z."""
    cluster = np.repeat(np.arange(prompts), 2)
    q = math.sqrt(0.5) * (draw.normal(size=prompts)[cluster] + draw.normal(size=2 * prompts))
    z = draw.choice(STEPS, prompts)[cluster]
    labels = (draw.random(len(q)) < expit(q + TASTE * z)).astype(float)
    return cluster, z, labels, q + (TASTE + bias) * z


def expected_excess(bias, bins):
    """Excess in the population by sums over a grid of q and the values of z.

    b_y and b_p solve E[z (y - sigma(z b))] = 0 with y = sigma(q + TASTE z), and with the mean of y over each bin of |d|
    on the side of d.
    """
    q = norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]
    z = np.broadcast_to(STEPS, (len(q), 4))
    label, d = expit(q + TASTE * z), q + (TASTE + bias) * z
    edges = np.quantile(np.abs(d), np.arange(1, bins) / bins)
    place = np.searchsorted(edges, np.abs(d), side="right")
    share = np.bincount(place.ravel(), (np.sign(d) * (label - 0.5)).ravel()) / np.bincount(place.ravel())
    outcomes = (label, 0.5 + np.sign(d) * share[place])
    taste, model = (brentq(lambda b, p=p: np.mean(z * (p - expit(b * z))), -9, 9) for p in outcomes)
    return model - taste


def coverage(sets, prompts, bias, figure, truth, annotator=False):
    """Share of simulated sets whose interval of a figure holds the truth, and the mean of the figure."""
    draw, hits, values = np.random.default_rng(5), 0, []
    for _ in range(sets):
        cluster, z, labels, margin = draw_judgments(draw, prompts, bias)
        if annotator:
            margin = np.where(draw.random(len(z)) < expit(margin), 1.0, -1.0)
        found = regress_style(z[:, None], labels, margin, cluster, ["length"]).per_feature(0)[figure]
        hits += found["low"] <= truth <= found["high"]
        values.append(found["value"])
    return hits / sets, np.mean(values)


def check_coverage(sets):
    slack = 4 * math.sqrt(0.05 * 0.95 / sets)
    bins, prompts = 2 * 150 // BIN_SIZE, 150
    for bias in (0.0, BIAS):
        truth = expected_excess(bias, bins)
        assert abs(truth) < 0.005 if bias == 0.0 else truth > 0.2
        share, value = coverage(sets, prompts, bias, "excess", truth)
        assert abs(share - 0.95) < slack + 0.01, (bias, share)
        assert value == pytest.approx(truth, abs=0.5 / math.sqrt(sets))
    share, value = coverage(sets, prompts, 0.0, "choice_excess", 0.0, annotator=True)
    assert abs(share - 0.95) < slack + 0.01, share
    assert value == pytest.approx(0.0, abs=0.5 / math.sqrt(sets))


def test_a_planted_bias_is_covered_and_a_copy_of_the_annotators_has_none():
    check_coverage(sets=150)


@pytest.mark.nightly
def test_coverage_over_many_sets():
    check_coverage(sets=4000)


def test_the_error_of_an_excess_is_that_of_a_bootstrap_over_prompts():
    """The reliability is estimated from the same labels; with its error left out, the figure is 24 % too large."""
    draw, prompts = np.random.default_rng(0), 400
    _, z, labels, margin = draw_judgments(draw, prompts, BIAS)
    cluster, values = np.repeat(np.arange(prompts), 2), []

    def excess(of):
        return regress_style(z[of, None], labels[of], margin[of], cluster, ["length"]).per_feature(0)["excess"]

    for _ in range(150):
        values.append(excess((draw.integers(0, prompts, prompts)[:, None] * 2 + [0, 1]).ravel())["value"])
    assert excess(np.arange(2 * prompts))["se"] == pytest.approx(np.std(values), rel=0.13)


def test_every_coefficient_is_that_of_statsmodels():
    """The error of a difference is that of an interaction in one regression of both outcomes, clustered together."""
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is the oracle of the sandwich")
    draw = np.random.default_rng(1)
    cluster, z, labels, margin = draw_judgments(draw, 100, BIAS)
    z = np.stack([z, draw.normal(size=len(z))], axis=1)
    score = margin[:, None] / np.sqrt(np.mean(margin**2))
    decisions = (margin > 0).astype(float)

    def oracle(outcome, design, groups):
        fit = sm.Logit(outcome, design).fit(disp=0, cov_type="cluster", cov_kwds={"groups": groups})
        n, k = design.shape
        return fit.params, fit.bse / math.sqrt((n - 1) / (n - k))

    fits = regress_style(z, labels, margin, cluster, ["length", "bold"])
    both = np.block([[z, np.zeros_like(z)], [z, z]])
    expected = {
        "label": oracle(labels, z, cluster),
        "label_given_score": [part[1:] for part in oracle(labels, np.hstack([score, z]), cluster)],
        "choice": oracle(decisions, z, cluster),
        "choice_excess": [part[2:] for part in oracle(np.append(labels, decisions), both, np.tile(cluster, 2))],
    }
    for k in range(2):
        found = fits.per_feature(k)
        assert tuple(found) == COEFFICIENTS
        for name, (values, errors) in expected.items():
            assert (found[name]["value"], found[name]["se"]) == pytest.approx((values[k], errors[k]), rel=1e-5), name


def simulated(seed, count, score, label=lambda q, z: q, question="Why?"):
    """Rows and comparisons of two texts, the longer by a random share; `label` and `score` take quality and feature."""
    draw = np.random.default_rng(seed)
    rows, comparisons = [], []
    for number in range(count):
        a, b = draw.integers(5, 80, 2).tolist()
        q, z = draw.normal(), (a - b) / (a + b)
        first = draw.random() < expit(2 * label(q, z))
        row = scored(
            f"{number}", (score(q, z), 0.0), [(0, 1) if first else (1, 0)], prompt=f"{number // 2}", lengths=(a, b)
        )
        rows.append(row)
        bullets = "\n- x" * int(draw.integers(0, 3))
        comparisons.append(written(row, (words(a), words(b) + bullets), question))
    return rows, comparisons


def test_style_control_removes_a_planted_style_effect_and_leaves_quality():
    pure = style(*simulated(0, 2000, lambda q, z: q))
    biased = style(*simulated(0, 2000, lambda q, z: q + 4 * z))
    assert biased["accuracy"]["value"] < pure["accuracy"]["value"] - 0.1
    assert biased["controlled_accuracy"]["value"] == pytest.approx(pure["accuracy"]["value"], abs=0.005)
    assert biased["controlled_change"]["low"] > 0.07
    assert pure["controlled_change"]["value"] == pytest.approx(0.0, abs=0.005)
    assert biased["style_alone"]["low"] < 0.5 < biased["style_alone"]["high"]
    assert biased["features"]["length"]["excess"]["low"] > 0.1
    assert pure["features"]["length"]["excess"]["low"] < 0 < pure["features"]["length"]["excess"]["high"]
    assert biased["features"]["length"]["label_given_score"]["high"] < 0
    assert biased["features"]["headers"]["label"]["reason"] == "differs in fewer than 10 prompts"
    assert list(biased["features"]) == list(STYLE)


def test_style_that_people_like_is_no_excess():
    """Labels follow length as much as the score does: the choice prefers length, and the excess is 0."""
    figures = style(*simulated(1, 3000, lambda q, z: q + 1.5 * z, label=lambda q, z: q + 1.5 * z))
    length = figures["features"]["length"]
    assert length["label"]["low"] > 0.5 and length["choice"]["low"] > 0.5
    assert length["excess"]["low"] < 0 < length["excess"]["high"]
    assert length["choice_excess"]["low"] > 0.1  # decisions carry no noise
    assert figures["style_alone"]["low"] > 0.5
    assert figures["controlled_change"]["high"] < 0


@settings(max_examples=8)
@given(st.integers(0, 99), st.randoms(use_true_random=False))
def test_order_and_sides_change_nothing_and_scores_have_no_unit(seed, random):
    rows, comparisons = simulated(seed, 80, lambda q, z: q + z)
    figures = style(rows, comparisons)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    turned = [random.random() < 0.5 for _ in rows]
    pairs = [
        (swap(row), text.swap()) if side else (row, text)
        for row, text, side in zip(rows, comparisons, turned, strict=True)
    ]
    changed, texts = zip(*random.sample(pairs, len(pairs)), strict=True)
    expected, found = numbers(figures), numbers(style(changed, texts))
    assert list(found) == list(expected)
    for path, value in expected.items():
        assert found[path] == (pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value), path
    cubed = [replace(row, scores=(1e3 * (row.scores[0] - row.scores[1]) ** 3, 0.0)) for row in rows]
    unit = style(cubed, comparisons)["features"]["length"]
    assert unit["excess"]["value"] == pytest.approx(figures["features"]["length"]["excess"]["value"])


def test_a_fold_is_predicted_by_least_squares_of_the_other_folds():
    draw = np.random.default_rng(0)
    z, target, folds = draw.normal(size=(60, 3)), draw.normal(size=60), draw.integers(0, 4, 60)
    z[:, 2] = z[:, 0]  # collinear columns share their effect
    found = cross_fitted(z, target, folds)
    for fold in range(4):
        inside = folds == fold
        solution = np.linalg.lstsq(z[~inside], target[~inside], rcond=None)[0]
        assert found[inside] == pytest.approx(z[inside] @ solution)
        assert cross_fitted(z, np.where(inside, 9.0, target), folds)[inside] == pytest.approx(found[inside])


@pytest.mark.parametrize(
    ("score", "figure", "reason"),
    [
        (lambda q, z: 0.0, "choice", None),
        (lambda q, z: 0.0, "label_given_score", "equal on both sides of every pair: score"),
        (lambda q, z: 0.0, "excess", "the scores do not predict the labels better than chance"),
        (lambda q, z: -q, "probability", "the scores do not predict the labels better than chance"),
        (lambda q, z: z, "choice", "separated: length"),
        (lambda q, z: z, "choice_excess", "separated: length"),
    ],
)
def test_a_figure_that_does_not_exist_has_a_reason(score, figure, reason):
    found = style(*simulated(0, 200, score))["features"]["length"][figure]
    assert (found["value"] is None) == (reason is not None)
    assert found["reason"] == reason or found["reason"].startswith(reason)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_handful_of_pairs_has_no_style(count):
    figures = style(*simulated(0, count, lambda q, z: q))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["judgments"] == count
    for name in STYLE:
        for coefficient in COEFFICIENTS:
            assert figures["features"][name][coefficient]["reason"] == "differs in fewer than 10 prompts"
    assert figures["controlled_accuracy"]["reason"] is not None


def test_the_arena_features_by_hand():
    row = scored("a", (1.0, 0.0), [(1, 0)], lengths=(30, 10))
    table = match([row], [written(row, ("# h\n- a\n- b\n- c", "**b**\n1. x"))])
    a, b = 0 / 10, 1 / 30
    bold, lists = (0.1 - 0.0) / 1.1, (0.1 - 0.1) / 1.2
    assert style_features(table).tolist() == [pytest.approx([-20 / 40, (a - b) / (a + b + 1), bold, lists])]


def test_the_logarithm_of_length_copies_what_people_like_about_length():
    """The Arena's length feature is tanh(d / 2) of the difference of logarithms: the scorer knows style alone."""
    rows, comparisons = real_pairs(read_gz(needs_data("human_mix", "val.jsonl.gz")))
    rows = [replace(row, scores=tuple(math.log(max(score, 1)) for score in row.scores)) for row in rows]
    figures = style(rows, comparisons)
    length = figures["features"]["length"]
    assert length["label"]["low"] > 0.2
    assert length["excess"]["low"] < 0 < length["excess"]["high"] and length["excess"]["se"] < 0.03
    assert length["choice"]["reason"].startswith("separated")
    assert figures["accuracy"]["value"] == pytest.approx(0.566, abs=0.001)
    assert figures["controlled_accuracy"]["low"] < 0.5
    assert figures["style_alone"]["value"] == pytest.approx(figures["accuracy"]["value"], abs=0.02)
