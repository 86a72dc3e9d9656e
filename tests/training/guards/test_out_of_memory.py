"""Running out of memory names what was run and what to try, before the first step where that can be known."""

import re

import numpy as np
import pytest
import torch

from bradley.data.schedule import heaviest
from bradley.errors import OutOfMemoryError
from bradley.training.guards.culprits import Replay
from bradley.training.guards.out_of_memory import MemoryGuard, is_out_of_memory, optimizer_bytes, probe
from bradley.training.loop import fit
from tests.training.jobs import config, job

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free.")


def failing(made, error, at):
    """Have the model raise at its call number `at` with gradients."""
    forward, calls = made.model.forward, []

    def call(batch):
        calls.append(torch.is_grad_enabled())
        if sum(calls) == at and calls[-1]:
            raise error
        return forward(batch)

    made.model.forward = call
    return made


def test_it_knows_what_pytorch_and_python_say():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert (
        is_out_of_memory(caught.value) and is_out_of_memory(CUDA) and is_out_of_memory(np.exceptions.AxisError) is False
    )
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("error", [CUDA, MemoryError("no room")])
def test_the_error_names_the_micro_batch_and_a_budget_with_which_the_run_goes_through(tmp_path, error):
    made = failing(job(tmp_path / "run", config(train={"micro_batch_tokens": 300, "max_steps": 3})), error, 2)
    chosen = made.plan.step(1).micro_batches[1]
    with pytest.raises(OutOfMemoryError) as caught:
        fit(made)
    assert caught.value.exit_code == 2
    sizes = made.plan.load.sizes
    tokens = sizes.tokens[chosen].sum()
    assert caught.value.message.startswith(
        f"out of memory in micro-batch 2 of step 1, of {tokens:,} tokens as the engine runs them: {len(chosen)} "
        f"comparisons of {sizes.rows[chosen].sum()} responses of up to {sizes.longest[chosen].max()} tokens "
        f"({named(made, chosen)}); "
        "train.micro_batch_tokens is 300: "
    )
    budget = int(re.match(r"use --train.micro_batch_tokens (\d+): ", caught.value.hint)[1])
    assert budget == max(tokens // 2, sizes.tokens.max()) < tokens
    fit(job(tmp_path / "smaller", config(train={"micro_batch_tokens": budget, "max_steps": 3})))


def named(made, chosen):
    """The ids of comparisons, the largest first, for at most three of them."""
    ids = [made.store.info[g].id for g in sorted(map(int, chosen), key=lambda g: -made.plan.load.tokens[g])]
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_the_comparisons_are_named_the_largest_first(tmp_path, count):
    made = job(tmp_path / "run")
    room, chosen = MemoryGuard(made.config, made.plan, made.store), np.arange(count)
    room.enter(made.plan.step(1), 0, chosen)
    with pytest.raises(OutOfMemoryError) as caught, room.explained():
        raise CUDA
    largest = made.store.info[int(made.plan.load.tokens[chosen].argmax())].id
    said = caught.value.message
    assert f" tokens ({named(made, chosen)}); " in said and f" tokens ({largest}" in said
    assert ("and 7 more" in said) == (count == 10)


def test_a_comparison_that_is_alone_too_much_is_named_with_other_ways(tmp_path):
    made = job(tmp_path / "run")
    room, largest = MemoryGuard(made.config, made.plan, made.store), int(made.plan.load.tokens.argmax())
    room.enter(made.plan.step(1), 0, np.array([largest]))
    with pytest.raises(OutOfMemoryError) as caught, room.explained():
        raise CUDA
    name = made.store.info[largest].id
    assert caught.value.hint == (
        f"no smaller budget helps, because comparison {name} is never split: use --model.gradient_checkpointing true, "
        "or lower render.max_tokens"
    )
    room.config = config(model={"gradient_checkpointing": True})
    with pytest.raises(OutOfMemoryError) as caught, room.explained():
        raise CUDA
    assert caught.value.hint.endswith("is never split: lower render.max_tokens")


def test_no_budget_is_named_that_the_largest_comparison_would_exceed(tmp_path):
    made = job(tmp_path / "run")
    room, tokens = MemoryGuard(made.config, made.plan, made.store), made.plan.load.tokens
    room.enter(made.plan.step(1), 0, np.array([int(tokens.argmax()), int(tokens.argmin())]))
    with pytest.raises(OutOfMemoryError) as caught, room.explained():
        raise CUDA
    assert caught.value.hint.startswith(f"use --train.micro_batch_tokens {tokens.max()}: ")


def test_padded_rows_count_with_their_padding(tmp_path):
    made = job(tmp_path / "run")
    made.plan = made.plan.__class__(**{**vars(made.plan), "load": made.plan.load._replace(padded=True)})
    room, chosen = MemoryGuard(made.config, made.plan, made.store), np.arange(4)
    room.enter(made.plan.step(1), 0, chosen)
    sizes = made.plan.load.sizes
    wanted = f"of {sizes.rows[:4].sum() * sizes.longest[:4].max():,} tokens"
    with pytest.raises(OutOfMemoryError, match=wanted), room.explained():
        raise CUDA


def test_the_update_is_named_where_it_is_the_update(tmp_path):
    made = job(tmp_path / "run")

    def step():
        raise CUDA

    made.optimizer.step = step
    with pytest.raises(
        OutOfMemoryError, match="out of memory in the update of step 1, or in what follows it; "
    ) as caught:
        fit(made)
    assert "--memory" in caught.value.hint


def test_any_other_error_passes(tmp_path):
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(failing(job(tmp_path / "run"), RuntimeError("shapes do not fit"), 1))


def test_the_heaviest_micro_batch_is_that_of_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr("bradley.data.schedule.PLACES_AT_ONCE", 5)  # one step at a time
    for seed, budget in enumerate((250, 250, 250, 100_000, 100_000, 100_000)):
        settings = config(seed, train={"micro_batch_tokens": budget, "batch_size": 5})
        plan = job(tmp_path / str(seed), settings).plan
        every = [chosen for step in plan.steps() for chosen in step.micro_batches]
        most = max(int(plan.load.tokens[chosen].sum()) for chosen in every)
        assert int(plan.load.tokens[heaviest(plan)].sum()) == most
        assert any(np.array_equal(chosen, heaviest(plan)) for chosen in every)


def test_the_probe_runs_the_heaviest_micro_batch_and_changes_nothing(tmp_path):
    made = job(tmp_path / "run", config(train={"micro_batch_tokens": 300}))
    again = Replay(made.model, made.losses, made.store, made.weights, made.plan, 0)
    room, forward, seen = MemoryGuard(made.config, made.plan, made.store), made.model.forward, []
    made.model.forward = lambda batch: (seen.append(len(batch.tokens)), forward(batch))[1]
    before = [p.detach().clone() for p in made.model.parameters()]
    assert probe(again, made.optimizer, made.strategy.gradients, made.config, room) == ""
    assert seen == [int(made.plan.load.tokens[heaviest(made.plan)].sum())] * 2
    assert all(torch.equal(a, b.detach()) for a, b in zip(before, made.model.parameters(), strict=True))
    assert all(p.grad is None for p in made.model.parameters()) and not made.optimizer.state
    wanted = "in the largest micro-batch of the run, tried before it begins, of "
    with pytest.raises(OutOfMemoryError, match=wanted), room.explained():
        raise CUDA


def test_the_probe_makes_room_for_what_the_optimizer_will_keep(tmp_path):
    made = job(tmp_path / "run")
    promised = optimizer_bytes(made.optimizer, made.config)
    fit(made)
    kept = [value for state in made.optimizer.state.values() for value in state.values() if value.ndim]
    assert promised == sum(value.numel() * value.element_size() for value in kept)
