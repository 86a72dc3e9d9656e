"""The planner: pure, complete, within budget, the same however it is asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.micro_batches import Limit, Sizes, load_of, measure
from bradley.data.plan import Plan, make_plan
from bradley.errors import DataError
from tests.helpers import comparisons, dealt, store_for


def plan_of(lengths, batch_size=4, budget=400, seed=0, num_steps=100, most=0, padded=True):
    """A plan over pairs of the given lengths without a shared prompt."""
    longest, ones = np.array(lengths), np.ones(len(lengths), int)
    load = load_of(Sizes(2 * ones, longest, 2 * longest, longest * (longest + 1)), padded=padded)
    return Plan(load, Limit(budget, most), ones, ones, batch_size, seed, num_steps)


def plan_for(store, budget=4096, **settings):
    load = load_of(measure(store), padded=True)
    return make_plan(store, load, Limit(budget), **{"seed": 0, **settings})


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(200, 900),
    st.integers(0, 10**6),
    st.integers(0, 4),
    st.booleans(),
)
def test_every_epoch_sees_each_comparison_once_and_keeps_the_budget(lengths, batch_size, budget, seed, most, padded):
    plan = plan_of(lengths, batch_size=batch_size, budget=budget, seed=seed, most=most, padded=padded)
    for epoch in range(2):
        steps = [plan.step(epoch * plan.steps_per_epoch + i + 1) for i in range(plan.steps_per_epoch)]
        seen = np.concatenate([step.comparisons for step in steps])
        assert sorted(seen.tolist()) == list(range(len(lengths)))
        for step in steps:
            assert sorted(np.concatenate(step.micro_batches)) == sorted(step.comparisons)
            for piece in step.micro_batches:
                held = [lengths[i] for i in piece]
                assert 2 * (len(piece) * max(held) if padded else sum(held)) <= budget
                assert len(piece) <= (most or len(lengths))


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_many_steps_at_once_are_the_steps_one_by_one(count, batch_size, first, steps):
    plan = plan_of(range(1, count + 1), batch_size=batch_size)
    rows = plan.chosen(first, first + steps)
    for row, number in zip(rows, range(first, first + steps), strict=True):
        assert row[row >= 0].tolist() == plan.step(number).comparisons.tolist()


@given(st.integers(1, 8), st.integers(1, 30))
def test_the_same_micro_batches_are_dealt_to_any_number_of_processes(processes, count):
    plan = plan_of(range(1, count + 1), batch_size=20, budget=100, padded=False)
    step = plan.step(1)
    ranks = dealt(plan, step, processes)
    assert len(ranks) == processes and len({len(rank) for rank in ranks}) == 1
    run = sorted(tuple(piece) for rank in ranks for piece in rank if len(piece))
    assert run == sorted(tuple(piece) for piece in step.micro_batches)


def test_a_step_does_not_depend_on_the_steps_before_it():
    plan = plan_of(range(1, 31))
    straight = [step.comparisons.tolist() for step in plan.steps()]
    assert plan.step(57).comparisons.tolist() == straight[56]
    assert plan_of(range(1, 31), seed=1).step(1).comparisons.tolist() != straight[0]
    assert sorted(straight[0]) != sorted(straight[8])  # a new order in the next epoch


def test_totals_are_known_before_the_step():
    store = store_for([*comparisons(5), *comparisons(5, responses=3, seed=2)])
    plan = plan_for(store, batch_size=10, weight_by="pair")
    assert plan.totals(plan.step(1)) == (5 * 1 + 5 * 2, 5 * 2 + 5 * 3, 10)


def test_epochs_and_max_steps():
    store = store_for(comparisons(10))
    assert plan_for(store, batch_size=4, epochs=2).num_steps == 6
    assert plan_for(store, batch_size=4, epochs=0.5).num_steps == 2
    assert plan_for(store, batch_size=4, max_steps=7).num_steps == 7
    assert plan_for(store, batch_size=1, epochs=1.1).num_steps == 11  # not 12


def test_a_comparison_above_the_budget_is_named():
    store = store_for(comparisons(3))
    need = 2 * int(store.longest().max())
    with pytest.raises(DataError, match=f"needs {need} tokens"):
        plan_for(store, need - 1, batch_size=2)
