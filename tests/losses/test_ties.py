"""Ties as an outcome of their own: distributions over win, tie and loss, and what the tie parameter does to them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bradley.losses import bradley_terry, davidson, rao_kupper
from tests.losses.judged import targets

models = pytest.mark.parametrize("loss", [rao_kupper, davidson])


def cost(loss, z, probability=1.0, **options):
    made = targets([0], [1], [probability])
    return float(loss(torch.tensor([z, 0.0], dtype=torch.float64), made, **options).sum)


def outcomes(loss, z, strength, **options):
    """Probabilities of win, tie and loss."""
    rows = [(z, 1.0), (z, 0.5), (-z, 1.0)]
    return [math.exp(-cost(loss, difference, p, tie_strength=strength, **options)) for difference, p in rows]


@models
@given(z=st.floats(-20, 20), strength=st.floats(0.01, 10), beta=st.floats(0.1, 3))
def test_the_probabilities_of_win_tie_and_loss_add_up_to_one(loss, z, strength, beta):
    assert sum(outcomes(loss, z, strength, beta=beta)) == pytest.approx(1.0)


@models
def test_a_tie_is_likeliest_at_equal_scores_and_the_likelier_the_stronger(loss):
    for z in (0.5, -0.5, 4.0):
        assert outcomes(loss, z, 1.0)[1] < outcomes(loss, 0.0, 1.0)[1]
    assert outcomes(loss, 0.3, 0.5)[1] < outcomes(loss, 0.3, 1.0)[1] < outcomes(loss, 0.3, 3.0)[1]


def test_a_tie_at_equal_scores_has_the_probability_of_the_papers():
    theta = math.exp(0.8)
    assert outcomes(rao_kupper, 0.0, 0.8)[1] == pytest.approx((theta - 1) / (theta + 1))
    assert outcomes(davidson, 0.0, 0.8)[1] == pytest.approx(0.8 / 2.8)


@models
def test_where_ties_all_but_vanish_wins_are_those_of_bradley_terry(loss):
    for z in (-2.0, 0.3, 3.0):
        assert cost(loss, z, tie_strength=1e-9) == pytest.approx(cost(bradley_terry, z), abs=1e-8)


@models
def test_davidson_keeps_the_odds_of_bradley_terry_and_rao_kupper_does_not(loss):
    win, _, lose = outcomes(loss, 1.3, 2.0)
    assert (math.log(win / lose) == pytest.approx(1.3)) == (loss is davidson)


@models
def test_a_soft_label_is_a_mixture_of_win_and_loss_and_smoothing_spares_ties(loss):
    win, _, lose = outcomes(loss, 0.7, 1.5)
    mixture = -0.8 * math.log(win) - 0.2 * math.log(lose)
    assert cost(loss, 0.7, 0.8, tie_strength=1.5) == pytest.approx(mixture, rel=1e-6)
    assert cost(loss, 0.7, tie_strength=1.5, label_smoothing=0.2) == pytest.approx(mixture)
    tie = cost(loss, 0.7, 0.5, tie_strength=1.5)
    assert cost(loss, 0.7, 0.5, tie_strength=1.5, label_smoothing=0.2) == tie


@models
@pytest.mark.parametrize("strength", [1e-6, 1e-3, 500.0, 1e6])
def test_extreme_tie_strengths_stay_finite(loss, strength):
    for probability in (0.5, 1.0):
        scores = torch.tensor([1.0, 0.0], requires_grad=True)
        value = loss(scores, targets([0], [1], [probability]), tie_strength=strength).sum
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(scores.grad).all()
