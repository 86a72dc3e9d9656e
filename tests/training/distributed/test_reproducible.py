"""Any number of processes gives the same bits in canonical mode."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from bradley.config import Parallel
from bradley.data.plan import Step
from bradley.errors import UserError
from bradley.model.engine.batch import collate
from bradley.training.distributed import reproducible
from bradley.training.distributed.build import check_parts
from bradley.training.distributed.process_group import ProcessGroup
from bradley.training.distributed.reproducible import Reproducible, buckets
from bradley.training.distributed.strategy import Strategy
from bradley.training.job import Job
from bradley.training.metrics import StepSums
from tests.helpers import LLAMA
from tests.training.distributed.processes import values
from tests.training.distributed.steps import Trained, take_steps
from tests.training.jobs import config, job

SETTINGS = config(model={"dropout": True}, train={"micro_batch_tokens": 100, "batch_size": 8, "max_steps": 3})
DROPPING = {**LLAMA, "attention_dropout": 0.1}


def as_bytes(trained: Trained) -> dict[str, bytes]:
    return {name: weight.numpy().tobytes() for name, weight in trained.weights.items()}


@pytest.mark.parametrize("size", [3, *(pytest.param(size, marks=pytest.mark.nightly) for size in (2, 4))])
def test_several_processes_give_the_bits_of_one(size: int) -> None:
    alone = take_steps(ProcessGroup(), Reproducible, SETTINGS, 3, model=DROPPING)
    for found in values(size, lambda group: take_steps(group, Reproducible, SETTINGS, 3, model=DROPPING)):
        assert found.figures == alone.figures
        assert found.norms == alone.norms
        assert as_bytes(found) == as_bytes(alone)


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.nightly)])
def test_parts_of_several_micro_batches_give_the_same_bits_too(size: int) -> None:
    settings = config(train={"micro_batch_tokens": 70, "batch_size": 24, "max_steps": 3})
    three = functools.partial(Reproducible, parts=3)
    alone = take_steps(ProcessGroup(), three, settings, 3)
    for found in values(size, lambda group: take_steps(group, three, settings, 3)):
        assert found.figures == alone.figures
        assert found.norms == alone.norms
        assert as_bytes(found) == as_bytes(alone)
    assert as_bytes(alone) != as_bytes(take_steps(ProcessGroup(), Reproducible, settings, 3))


@pytest.mark.parametrize("parts", [1, 3, 8, 100])
def test_the_gradient_is_the_sum_of_parts_of_micro_batches_in_that_order(tmp_path, parts: int) -> None:
    made, strategy, step = prepared(tmp_path, parts)

    def gradient(number: int) -> list[np.ndarray]:
        made.model.zero_grad()
        made.model(collate(made.store, step.micro_batches[number], made.weights)).sum().backward()
        return [weight.grad.numpy().copy() for weight in made.model.parameters()]

    each = [gradient(number) for number in range(len(step.micro_batches))]
    ((*runs,),) = made.plan.parts(step, parts, 1)
    sums = [functools.reduce(add, each[first:stop]) for first, stop in runs]
    wanted = functools.reduce(add, sums)
    made.model.zero_grad()
    for number, chosen in strategy.share(made.plan, step):
        made.model(collate(made.store, chosen, made.weights)).sum().backward()
        strategy.collect(number, StepSums())
    strategy.reduce()
    assert len(runs) == min(parts, len(each)) >= min(parts, 16)
    for weight, expected in zip(made.model.parameters(), wanted, strict=True):
        assert weight.grad.numpy().tobytes() == expected.tobytes()


def add(left: list[np.ndarray], right: list[np.ndarray]) -> list[np.ndarray]:
    return [a + b for a, b in zip(left, right, strict=True)]


def prepared(folder: Path, parts: int) -> tuple[Job, Reproducible, Step]:
    """A step of many micro-batches, and one process to take it."""
    made = job(folder / "run", config(train={"micro_batch_tokens": 70, "batch_size": 24, "max_steps": 1}))
    return made, Reproducible(ProcessGroup(), made.model, parts), made.plan.step(1)


@pytest.mark.parametrize(("parts", "kept"), [(1, 1), (2, 2), (8, 2), (100, 1)])
def test_a_process_alone_holds_the_sum_and_one_more_gradient_however_many_there_are(tmp_path, parts, kept) -> None:
    """And where every part is one micro-batch, autograd's own gradient is added as it comes."""
    made, strategy, step = prepared(tmp_path, parts)
    for _ in range(3):
        made.model.zero_grad()
        for number, chosen in strategy.share(made.plan, step):
            made.model(collate(made.store, chosen, made.weights)).sum().backward()
            strategy.collect(number, StepSums())
        strategy.reduce()
    assert len(step.micro_batches) >= 16
    assert len(strategy.spare) == kept and not strategy.part_gradients and strategy.part is None


def test_a_weight_that_a_later_micro_batch_of_a_part_reaches_has_that_gradient_and_nothing_old(tmp_path) -> None:
    made, _, step = prepared(tmp_path, 2)
    made.model.extra = torch.nn.Parameter(torch.zeros(3))
    strategy = Reproducible(ProcessGroup(), made.model, 2)
    for reached, wanted in (((1, 5), 6.0), ((), None), ((2,), 2.0)):
        made.model.zero_grad()
        for number, chosen in strategy.share(made.plan, step):
            loss = made.model(collate(made.store, chosen, made.weights)).sum()
            (loss + number * made.model.extra.sum() if number in reached else loss).backward()
            strategy.collect(number, StepSums())
        strategy.reduce()
        found = made.model.extra.grad
        assert found is None if wanted is None else found.tolist() == [wanted] * 3


def test_more_processes_than_parts_are_refused() -> None:
    check_parts(Parallel(parts=8), 8)
    with pytest.raises(UserError, match=r"parallel\.parts = 8, and 12 processes: 4 of them would have nothing to do"):
        check_parts(Parallel(), 12)


def test_small_buckets_and_more_processes_than_micro_batches_give_the_same_bits(monkeypatch) -> None:
    settings = config(train={"micro_batch_tokens": 400, "batch_size": 8, "max_steps": 2})
    alone = take_steps(ProcessGroup(), Reproducible, settings, 2)
    monkeypatch.setattr(reproducible, "BUCKET", 1000)
    for found in values(4, lambda group: take_steps(group, Reproducible, settings, 2)):
        assert as_bytes(found) == as_bytes(alone)


def test_the_order_of_the_parts_is_another_than_that_of_autograd_and_differs_by_rounding_alone() -> None:
    settings = config(model={"dropout": True}, train={"micro_batch_tokens": 70, "batch_size": 24, "max_steps": 3})
    alone, plain = (
        take_steps(ProcessGroup(), strategy, settings, 3, model=DROPPING) for strategy in (Reproducible, Strategy)
    )
    assert as_bytes(alone) != as_bytes(plain)
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight, plain.weights[name], rtol=1e-4, atol=1e-6)
    assert np.allclose(alone.norms, plain.norms, rtol=1e-5)


def test_a_weight_that_no_loss_reaches_keeps_no_gradient() -> None:
    def work(group: ProcessGroup) -> list[bool]:
        class Unused(Reproducible):
            def __init__(self, group, model) -> None:
                model.unused = torch.nn.Parameter(torch.ones(3))
                super().__init__(group, model)

            def clip(self, max_norm: float) -> float:
                nonlocal without
                without = [name for name, weight in self.model.named_parameters() if weight.grad is None]
                return super().clip(max_norm)

        without: list[str] = []
        take_steps(group, Unused, SETTINGS, 1)
        return without

    assert values(2, work) == [["unused"], ["unused"]]


def test_buckets_hold_every_weight_once_in_order(monkeypatch) -> None:
    monkeypatch.setattr(reproducible, "BUCKET", 10)
    assert list(buckets([4, 6, 1, 30, 2, 2])) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert list(buckets([])) == []
