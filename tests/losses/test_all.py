"""What holds for every loss: the formula in float64, its gradient, extreme scores, any cut, one logit per judgment."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.losses import LOSSES, Targets, bradley_terry
from tests.losses.judged import VARIANTS, cut, draw, loss, swapped, targets, totals

everywhere = pytest.mark.parametrize("variant", VARIANTS)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def softplus(x):
    return np.logaddexp(0.0, x)


def by_hand(variant, scores, made):
    """The sum written out in float64, judgment by judgment or response by response, with numpy alone."""
    name, options = VARIANTS[variant]
    beta, share, scale = options.get("beta", 1.0), options.get("label_smoothing", 0.0), options.get("margin_scale", 0.0)
    s = scores.double().numpy()
    rows = [column.double().numpy() for column in (made.probability, made.margin, made.weight)]
    total = 0.0
    for b, w, p, margin, weight in zip(made.better.tolist(), made.worse.tolist(), *rows, strict=True):
        z, q = beta * (s[b] - s[w]), p * (1 - share) + (1 - p) * share
        if name == "bradley_terry":
            z -= 0.0 if p == 0.5 or math.isnan(margin) else scale * margin
            total += weight * (q * softplus(-z) + (1 - q) * softplus(z))
        elif name == "plackett_luce" and math.isnan(made.rank[b]):
            total += weight * (p * softplus(-z) + (1 - p) * softplus(z))
        elif name in ("rao_kupper", "davidson"):
            win, tie, lose = OUTCOMES[name](z, options["tie_strength"])
            total -= weight * (math.log(tie) if p == 0.5 else q * math.log(win) + (1 - q) * math.log(lose))
        elif name == "margin_penalty":
            total += weight * (abs(s[b] - s[w]) if options["kind"] == "l1" else (s[b] - s[w]) ** 2)
        elif name == "centering":
            total += weight * (s[b] + s[w]) ** 2
    if name == "score_penalty":
        total = sum(score**2 for score in s)
    return total + (rankings(s, made, beta) if name == "plackett_luce" else 0.0)


def rankings(s, made, beta):
    rank, group = made.rank.numpy(), made.group.numpy()
    total = 0.0
    for i in range(len(s)):
        weight = made.weight.double()[made.group[made.better] == group[i]].sum().item()
        below = [j for j in range(len(s)) if group[j] == group[i] and rank[j] > rank[i]]
        choice = math.exp(beta * s[i]) / sum(math.exp(beta * s[j]) for j in [i, *below])
        total -= weight * math.log(choice)
    return total


def rao_kupper_outcomes(z, eta):
    """The original form: pi_i / (pi_i + theta pi_j), and so on."""
    i, j, theta = math.exp(z), 1.0, math.exp(eta)
    win, lose = i / (i + theta * j), j / (theta * i + j)
    return win, (theta**2 - 1) * i * j / ((i + theta * j) * (theta * i + j)), lose


def davidson_outcomes(z, nu):
    i, j = math.exp(z), 1.0
    total = i + j + nu * math.sqrt(i * j)
    return i / total, nu * math.sqrt(i * j) / total, j / total


OUTCOMES = {"rao_kupper": rao_kupper_outcomes, "davidson": davidson_outcomes}


@everywhere
@given(seed=seeds)
@few
def test_value_equals_the_formula_in_float64(variant, seed):
    scores, made = draw(seed)
    expected = by_hand(variant, scores.float(), made)
    term = loss(variant)(scores.float(), made)
    assert term.sum.dtype == torch.float32
    assert float(term.sum) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert term.unit == ("response" if variant == "score_penalty" else "judgment_weight")


@everywhere
@given(seed=seeds)
@few
def test_gradient_equals_central_differences_in_float64(variant, seed):
    scores, made = draw(seed)
    scores.requires_grad_()
    (slope,) = torch.autograd.grad(loss(variant)(scores, made).sum, scores)
    step = 1e-5
    for i in range(len(scores)):
        moved = step * torch.eye(len(scores), dtype=torch.float64)[i]
        up, down = (float(loss(variant)(scores.detach() + side * moved, made).sum) for side in (1, -1))
        assert float(slope[i]) == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-6)


@everywhere
@given(seed=seeds)
@few
def test_gradient_in_float32_is_that_in_float64(variant, seed):
    scores, made = draw(seed, spread=20.0)
    scores = scores.float().double()
    slopes = []
    for kind in (torch.float32, torch.float64):
        leaf = scores.to(kind).requires_grad_()
        slopes.append(torch.autograd.grad(loss(variant)(leaf, made).sum, leaf)[0].double())
    torch.testing.assert_close(*slopes, rtol=2e-5, atol=2e-5)


@everywhere
@pytest.mark.parametrize("gap", [-1e4, -100.0, 100.0, 1e4])
def test_extreme_margins_keep_value_and_gradient_finite(variant, gap):
    for probability in (0.5, 0.8, 1.0):
        scores = torch.tensor([gap, 0.0, gap / 2], requires_grad=True)
        made = targets([0, 0, 2], [1, 2, 1], [probability] * 3, margin=[2.0] * 3, rank=[0.0, 2.0, 1.0])
        value = loss(variant)(scores, made).sum
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(scores.grad).all()
        assert scores.grad.abs().sum() > 0 or gap > 0  # what is wrongly ordered is pulled, however far


@everywhere
@given(seed=seeds, pieces=st.integers(2, 4))
@few
def test_no_cut_into_micro_batches_changes_value_or_gradient(variant, seed, pieces):
    scores, made = draw(seed)
    comparisons = np.random.default_rng(seed).permutation(made.group.unique().numpy())
    parts = [part.tolist() for part in np.array_split(comparisons, pieces) if len(part)]
    step = totals(scores, made)
    results = []
    for micro_batches in ([comparisons.tolist()], parts):
        leaf = scores.float().requires_grad_()
        terms = [loss(variant)(*cut(leaf, made, chosen)) for chosen in micro_batches]
        value = torch.stack([term.sum / step[term.unit] for term in terms]).sum()
        results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    (value, slope), (cut_value, cut_slope) = results
    assert float(cut_value) == pytest.approx(float(value), rel=1e-5, abs=1e-6)
    assert float((cut_slope - slope).norm()) <= 1e-5 * float(slope.norm()) + 1e-7


@everywhere
def test_one_logit_per_judgment_not_per_batch(variant):
    """Two pairs whose differences cancel: summed before the nonlinearity they would cost what two ties cost."""
    scores = torch.tensor([3.0, 0.0, 0.0, 3.0], dtype=torch.float64)
    made = targets([0, 2], [1, 3], margin=[1.0, 2.0], group=[0, 0, 1, 1], rank=[0.0, 1.0, 0.0, 1.0])
    together = float(loss(variant)(scores, made).sum)
    apart = [float(loss(variant)(*cut(scores, made, [g])).sum) for g in (0, 1)]
    assert together == pytest.approx(sum(apart))
    assert together > float(loss(variant)(torch.zeros(4, dtype=torch.float64), made).sum) + 1e-3


@everywhere
@given(seed=seeds)
@few
def test_the_order_of_responses_and_comparisons_is_of_no_account(variant, seed):
    scores, made = draw(seed)
    moved = torch.from_numpy(np.random.default_rng(seed).permutation(len(scores)))
    back = moved.argsort()
    shuffled = Targets(
        back[made.better],
        back[made.worse],
        made.probability,
        made.margin,
        made.weight,
        made.group[moved],
        made.rank[moved],
    )
    value, again = (loss(variant)(s, t).sum for s, t in ((scores, made), (scores[moved], shuffled)))
    assert float(again) == pytest.approx(float(value), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "penalty" not in name and name != "centering"])
def test_a_swap_of_labels_shows_in_every_likelihood_and_is_undone_by_a_swap_of_scores(variant):
    scores = torch.tensor([2.0, 0.5, -1.0], dtype=torch.float64)
    made = targets([0, 0, 1], [1, 2, 2], rank=[0.0, 1.0, 2.0])
    right = float(loss(variant)(scores, made).sum)
    assert float(loss(variant)(scores, swapped(made)).sum) > right + 1.0
    if variant != "plackett_luce":  # of two rankings, one is no mirror of the other
        assert float(loss(variant)(-scores, swapped(made)).sum) == pytest.approx(right)


@pytest.mark.parametrize("variant", ["margin_penalty l1", "margin_penalty l2", "score_penalty", "centering"])
def test_a_penalty_is_a_mean_that_ignores_labels_and_how_many_pairs_there_are(variant):
    scores, made = draw(3)
    term, turned = loss(variant)(scores, made), loss(variant)(scores, swapped(made))
    assert float(term.sum) == pytest.approx(float(turned.sum))
    pair = targets([0, 2, 4], [1, 3, 5], group=[0, 0, 1, 1, 2, 2])
    thrice = torch.tensor([1.5, -0.25], dtype=torch.float64).repeat(3)
    mean = float(loss(variant)(thrice, pair).sum) / totals(thrice, pair)[term.unit]
    assert mean == pytest.approx({"l1": 1.75, "l2": 1.75**2, "ty": (1.5**2 + 0.25**2) / 2, "ng": 1.25**2}[variant[-2:]])


@everywhere
def test_nothing_at_all_costs_nothing_and_still_has_a_gradient(variant):
    none, index = torch.zeros(0), torch.zeros(0, dtype=torch.long)
    scores = torch.zeros(0, requires_grad=True)
    term = loss(variant)(scores, Targets(index, index, none, none, none, index, none))
    term.sum.backward()
    assert float(term.sum.detach()) == 0.0 and scores.grad.shape == (0,)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in ("score_penalty", "centering")])
@given(seed=seeds, shift=st.floats(-50, 50))
@few
def test_a_level_common_to_a_comparison_is_of_no_account(variant, seed, shift):
    scores, made = draw(seed)
    moved = scores + shift * (made.group % 2)
    assert float(loss(variant)(moved, made).sum) == pytest.approx(float(loss(variant)(scores, made).sum), rel=1e-9)


def test_every_loss_is_among_the_variants():
    assert {name for name, _ in VARIANTS.values()} == set(LOSSES)
    assert LOSSES["bradley_terry"] is bradley_terry
