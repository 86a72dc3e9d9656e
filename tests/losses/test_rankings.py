"""Plackett-Luce: a distribution over rankings, Bradley-Terry for two, equal places, comparisons without a ranking."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.losses import bradley_terry, plackett_luce
from tests.losses.judged import cut, draw, targets

MISSING = math.nan


def value_of(scores, rank):
    made = targets([0], [1], rank=rank, responses=len(rank))
    return float(plackett_luce(torch.tensor(scores, dtype=torch.float64), made).sum)


@pytest.mark.parametrize("scores", [[0.3, -1.2], [1.0, 0.0, 2.5], [0.1, -0.4, 3.0, 1.1]])
def test_the_probabilities_of_all_rankings_add_up_to_one(scores):
    every = itertools.permutations(map(float, range(len(scores))))
    assert sum(math.exp(-value_of(scores, list(rank))) for rank in every) == pytest.approx(1.0)


def test_a_ranking_of_three_written_out():
    a, b, c = 0.5, 2.0, -1.0  # ranked b, a, c
    first = math.exp(b) / (math.exp(a) + math.exp(b) + math.exp(c))
    second = math.exp(a) / (math.exp(a) + math.exp(c))
    assert value_of([a, b, c], [1.0, 0.0, 2.0]) == pytest.approx(-math.log(first * second))


@given(
    st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(0.1, 3)), min_size=1, max_size=6),
    st.floats(0.1, 3),
)
def test_two_responses_are_bradley_terry_in_value_and_gradient(rows, beta):
    pairs = range(len(rows))
    made = targets(
        [2 * i for i in pairs],
        [2 * i + 1 for i in pairs],
        weight=[row[2] for row in rows],
        group=[i for i in pairs for _ in range(2)],
        rank=[0.0, 1.0] * len(rows),
    )
    results = []
    for loss in (plackett_luce, bradley_terry):
        scores = torch.tensor([s for row in rows for s in row[:2]], requires_grad=True)
        total = loss(scores, made, beta=beta).sum
        total.backward()
        results.append((total.detach(), scores.grad))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def test_the_judgment_weights_of_a_comparison_weigh_its_ranking_once():
    scores = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64)
    made = targets([1, 1, 0], [0, 2, 2], weight=[0.25, 0.25, 0.5], rank=[1.0, 0.0, 2.0])
    assert float(plackett_luce(scores, made).sum) == pytest.approx(value_of(scores.tolist(), [1.0, 0.0, 2.0]))
    doubled = replace(made, weight=2 * made.weight)
    assert float(plackett_luce(scores, doubled).sum) == pytest.approx(2 * float(plackett_luce(scores, made).sum))


def test_equal_places_are_no_alternatives_to_each_other():
    """Both of the shared first place are chosen from themselves and the last; nothing is said of their difference."""
    a, b, c = 0.5, 2.0, -1.0
    expected = math.log1p(math.exp(c - a)) + math.log1p(math.exp(c - b))
    assert value_of([a, b, c], [0.0, 0.0, 1.0]) == pytest.approx(expected)
    shared_last = math.log(math.exp(a) + math.exp(b) + math.exp(c)) - a
    assert value_of([a, b, c], [0.0, 1.0, 1.0]) == pytest.approx(shared_last)
    assert value_of([a, b, c], [4.0, 4.0, 4.0]) == 0.0


def test_comparisons_without_a_ranking_count_by_their_judgments():
    scores = torch.tensor([0.5, 2.0, -1.0, 0.3, 0.9], dtype=torch.float64)
    made = targets(
        [1, 4, 3],
        [2, 3, 4],
        [1.0, 0.7, 0.5],
        weight=[1.0, 0.4, 0.6],
        group=[0, 0, 0, 1, 1],
        rank=[1.0, 0.0, 2.0, MISSING, MISSING],
    )
    ranked, unranked = (cut(scores, made, [g]) for g in (0, 1))
    expected = float(plackett_luce(*ranked).sum) + float(bradley_terry(*unranked, beta=1.0).sum)
    assert float(plackett_luce(scores, made).sum) == pytest.approx(expected)
    assert float(bradley_terry(*unranked).sum) > 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_gradient_stands_up_to_large_sizes_beside_small_ones(seed):
    scores, made = draw(seed, most_responses=40)
    leaf = scores.requires_grad_()
    slope = torch.autograd.grad(plackett_luce(leaf, made).sum, leaf)[0]
    assert torch.isfinite(slope).all()
    for g in made.group.unique().tolist():  # a likelihood of differences pulls a comparison nowhere as a whole
        assert float(slope[made.group == g].sum()) == pytest.approx(0.0, abs=1e-9)
