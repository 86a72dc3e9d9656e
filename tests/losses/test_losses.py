"""Bradley-Terry against a float64 hand calculation: labels, smoothing, margins."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bradley.losses import bradley_terry
from tests.losses.judged import targets

judged = st.lists(
    st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(0.5, 1.0), st.floats(0.1, 3.0)), min_size=1, max_size=8
)


@given(judged, st.floats(0.1, 4.0))
def test_value_and_gradient_equal_the_formula_in_float64(rows, beta):
    """d/d s_better = weight * beta * (sigmoid(z) - p), and the negative of it for the other response."""
    flat = [score for row in rows for score in row[:2]]
    scores = torch.tensor(flat, dtype=torch.float32, requires_grad=True)
    index = list(range(len(rows)))
    made = targets([2 * i for i in index], [2 * i + 1 for i in index], [r[2] for r in rows], [r[3] for r in rows])
    term = bradley_terry(scores, made, beta=beta)
    term.sum.backward()
    z = beta * (scores.detach().double().numpy()[0::2] - scores.detach().double().numpy()[1::2])
    p = made.probability.double().numpy()
    w = made.weight.double().numpy()
    expected = float((w * (p * np.logaddexp(0, -z) + (1 - p) * np.logaddexp(0, z))).sum())
    slope = w * beta * (1 / (1 + np.exp(-z)) - p)
    assert float(term.sum.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(scores.grad[0::2], slope, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(scores.grad[1::2], -slope, rtol=1e-4, atol=2e-6)
    assert term.unit == "judgment_weight"


def test_known_values():
    assert float(bradley_terry(torch.tensor([0.0, 0.0]), targets([0], [1])).sum) == pytest.approx(math.log(2))
    assert float(bradley_terry(torch.tensor([2.0, 0.5]), targets([0], [1])).sum) == pytest.approx(0.20141327798)
    tie = targets([0], [1], [0.5])
    assert float(bradley_terry(torch.tensor([1.0, 0.0]), tie).sum) == pytest.approx(0.8132616875)


@pytest.mark.parametrize("gap", [-1e4, -100.0, 100.0, 1e4])
def test_extreme_margins_stay_finite(gap):
    """log(1 + exp(x)) written out is infinite from a gap of -100 on in float32."""
    scores = torch.tensor([gap, 0.0], requires_grad=True)
    value = bradley_terry(scores, targets([0], [1])).sum
    value.backward()
    assert float(value.detach()) == pytest.approx(max(0.0, -gap), abs=1e-6)
    assert torch.isfinite(scores.grad).all()


def test_one_logit_per_judgment_not_per_batch():
    """Summing rewards before the sigmoid gives one logit for the whole batch: 0 here, instead of two of +-3."""
    scores = torch.tensor([3.0, 0.0, 0.0, 3.0])
    value = float(bradley_terry(scores, targets([0, 2], [1, 3])).sum)
    assert value == pytest.approx(math.log1p(math.exp(-3)) + math.log1p(math.exp(3)))


def test_swapping_the_labels_changes_the_loss_as_the_formula_says():
    scores = torch.tensor([1.5, -0.5])
    right, wrong = (float(bradley_terry(scores, targets([a], [1 - a])).sum) for a in (0, 1))
    assert wrong - right == pytest.approx(2.0)  # softplus(z) - softplus(-z) = z


def nll(scores, made, **options):
    return float(bradley_terry(torch.tensor(scores, dtype=torch.float64), made, **options).sum)


def test_label_smoothing_is_the_share_of_wrong_labels():
    """Conservative DPO: (1 - s) * -log sigmoid(z) + s * -log sigmoid(-z); mixing with 1/2 needs twice the s for it."""
    z, s = 1.25, 0.15
    loss = nll([z, 0.0], targets([0], [1]), label_smoothing=s)
    assert loss == pytest.approx((1 - s) * math.log1p(math.exp(-z)) + s * math.log1p(math.exp(z)))
    mixed = 1.0 * (1 - 2 * s) + 0.5 * 2 * s
    assert loss == pytest.approx(nll([z, 0.0], targets([0], [1], [mixed])), rel=1e-6)
    tie = targets([0], [1], [0.5])
    assert nll([z, 0.0], tie, label_smoothing=s) == pytest.approx(nll([z, 0.0], tie))


def test_margins_are_those_of_trl_at_scale_one():
    scores = torch.tensor([1.0, 0.25, -0.5, 2.0], dtype=torch.float64)
    made = targets([0, 2], [1, 3], margin=[0.5, 3.0])
    trl = -torch.nn.functional.logsigmoid(scores[0::2] - scores[1::2] - torch.tensor([0.5, 3.0])).mean()
    assert float(bradley_terry(scores, made, margin_scale=1.0).sum) / 2 == pytest.approx(float(trl))
    doubled = targets([0, 2], [1, 3], margin=[1.0, 6.0])
    assert nll(scores.tolist(), made, margin_scale=2.0) == pytest.approx(
        nll(scores.tolist(), doubled, margin_scale=1.0)
    )


def test_the_margin_is_not_scaled_by_beta_and_asks_for_more_not_for_less():
    made = targets([0], [1], margin=[2.0])
    assert nll([3.0, 0.0], made, beta=0.5, margin_scale=1.0) == pytest.approx(math.log1p(math.exp(-(1.5 - 2.0))))
    assert nll([3.0, 0.0], made, margin_scale=1.0) > nll([3.0, 0.0], made)


def test_a_missing_margin_and_the_margin_of_a_tie_count_as_zero():
    plain = nll([1.0, 0.0], targets([0], [1]))
    assert nll([1.0, 0.0], targets([0], [1], margin=[math.nan]), margin_scale=1.0) == plain
    tie = targets([0], [1], [0.5], margin=[2.0])
    assert nll([1.0, 0.0], tie, margin_scale=1.0) == nll([1.0, 0.0], tie)
    mixed = targets([0, 0], [1, 1], margin=[math.nan, 2.0])
    expected = plain + math.log1p(math.exp(-(1.0 - 2.0)))
    assert nll([1.0, 0.0], mixed, margin_scale=1.0) == pytest.approx(expected)


def test_margins_that_are_not_asked_for_are_not_read():
    assert nll([1.0, 0.0], targets([0], [1], margin=[7.0])) == nll([1.0, 0.0], targets([0], [1]))
