"""Penalties: known values, the peers' formulas, and what each leaves free."""

import pytest
import torch

from bradley.losses import centering, margin_penalty, score_penalty
from tests.losses.judged import cut, draw, targets, totals

SCORES = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=torch.float64)
PAIRS = targets([0, 2], [1, 3], group=[0, 0, 1, 1])


def mean(loss, scores, made, **options):
    term = loss(scores, made, **options)
    return float(term.sum) / totals(scores, made)[term.unit]


def test_known_values():
    assert mean(margin_penalty, SCORES, PAIRS) == pytest.approx((1.5**2 + 1.75**2) / 2)
    assert mean(margin_penalty, SCORES, PAIRS, kind="l1") == pytest.approx((1.5 + 1.75) / 2)
    assert mean(score_penalty, SCORES, PAIRS) == pytest.approx((1.0 + 0.25 + 0.0625 + 4.0) / 4)
    assert mean(centering, SCORES, PAIRS) == pytest.approx((0.5**2 + 2.25**2) / 2)


def test_centering_equals_the_term_of_trl():
    """`center_rewards_coefficient * torch.mean((rewards_chosen + rewards_rejected) ** 2)` for pairs."""
    rewards_chosen, rewards_rejected = SCORES[0::2], SCORES[1::2]
    assert mean(centering, SCORES, PAIRS) == pytest.approx(float(torch.mean((rewards_chosen + rewards_rejected) ** 2)))


def test_centering_leaves_differences_free_and_the_margin_penalty_leaves_levels_free():
    leaf = SCORES.clone().requires_grad_()
    (pull,) = torch.autograd.grad(centering(leaf, PAIRS).sum, leaf)
    assert pull[0] == pull[1] and pull[2] == pull[3] and pull.abs().min() > 0
    (pull,) = torch.autograd.grad(margin_penalty(leaf, PAIRS).sum, leaf)
    assert pull[0] == -pull[1] and pull[2] == -pull[3] and pull.abs().min() > 0


def test_penalties_on_judgments_weigh_them_and_the_score_penalty_does_not():
    weighed = targets([0, 2], [1, 3], weight=[3.0, 1.0], group=[0, 0, 1, 1])
    assert mean(margin_penalty, SCORES, weighed) == pytest.approx((3 * 1.5**2 + 1.75**2) / 4)
    assert mean(centering, SCORES, weighed) == pytest.approx((3 * 0.5**2 + 2.25**2) / 4)
    assert mean(score_penalty, SCORES, weighed) == mean(score_penalty, SCORES, PAIRS)


@pytest.mark.parametrize("loss", [margin_penalty, score_penalty, centering])
def test_a_penalty_does_not_grow_with_the_step_nor_depend_on_its_micro_batches(loss):
    once, made = draw(11)
    parts = [cut(once, made, [g]) for g in made.group.unique().tolist()]
    divisor = totals(once, made)[loss(once, made).unit]
    assert sum(float(loss(*part).sum) for part in parts) / divisor == pytest.approx(mean(loss, once, made))
    five = targets([0, 2] * 5, [1, 3] * 5, group=[0, 0, 1, 1])
    if loss is not score_penalty:
        assert mean(loss, SCORES, five) == pytest.approx(mean(loss, SCORES, PAIRS))
    else:
        many = targets([2 * i for i in range(6)], [2 * i + 1 for i in range(6)], group=[i // 2 for i in range(12)])
        assert mean(loss, SCORES.repeat(3), many) == pytest.approx(mean(loss, SCORES, PAIRS))
