import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.evaluate.rewards import auroc
from bradley.evaluate.summary import summarize

from .tables import flip, scored, tables

SCORES = st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 3.0]), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_ordered_pairs_with_ties_at_one_half(chosen, rejected):
    wins = [(c > r) + 0.5 * (c == r) for c, r in itertools.product(chosen, rejected)]
    assert auroc(np.array(chosen), np.array(rejected)) == pytest.approx(sum(wins) / len(wins))


def test_auroc_compares_across_prompts():
    """Every judgment is right, but only by the offset of its prompt: of 4 x 4 pairs, 1 + 2 + 3 + 4 are ordered."""
    rows = [scored(f"{i}", (10.0 * i + 1.0, 10.0 * i), prompt=f"{i}") for i in range(4)]
    result = summarize(rows)
    assert result["accuracy"]["value"] == 1.0
    assert result["auroc"] == 10 / 16
    assert auroc(np.array([]), np.array([1.0])) is None


def test_spreads_and_negative_share_by_hand():
    rows = [
        scored("a", (2.0, 0.0)),
        scored("b", (1.0, 4.0)),
        scored("c", (5.0, 5.0)),
        scored("tie", (90.0, -90.0), [(0, 1, 0.5)]),
    ]
    result = summarize(rows)
    assert result["margin"]["negative_share"] == pytest.approx(1 / 3)
    assert result["chosen_reward_std"] == pytest.approx(statistics.pstdev([2, 1, 5]))
    assert result["rejected_reward_std"] == pytest.approx(statistics.pstdev([0, 4, 5]))
    assert result["margin"]["std"] == pytest.approx(statistics.pstdev([2, -3, 0]))


@given(tables())
def test_flipped_labels_give_one_minus_auroc_and_swap_the_sides(rows):
    result, flipped = summarize(rows), summarize([flip(row) for row in rows])
    assert flipped["chosen_reward_std"] == result["rejected_reward_std"]
    if result["auroc"] is None:
        assert result["accuracy"]["n"] == 0
    else:
        assert flipped["auroc"] == pytest.approx(1 - result["auroc"])
        shares = result["margin"]["negative_share"] + flipped["margin"]["negative_share"] + result["tie_rate"]
        assert shares == pytest.approx(1.0)
