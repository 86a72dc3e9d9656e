"""DDP and every kind of FSDP2 against one process: the same gradients, figures and weights but for rounding."""

import functools

import pytest
import torch

from bradley.config import Parallel
from bradley.errors import UserError
from bradley.training.distributed.build import BY_ELEMENT
from bradley.training.distributed.ddp import DDP, leaves_out
from bradley.training.distributed.fsdp import FSDP, MATRICES, layers, make_mesh, sharded
from bradley.training.distributed.process_group import ProcessGroup, Rank
from bradley.training.distributed.strategy import Strategy
from tests.helpers import BERT, GPT2, LLAMA, tiny_model
from tests.training.distributed.processes import values
from tests.training.distributed.steps import Trained, take_steps
from tests.training.jobs import TOKENIZER, config

pytestmark = pytest.mark.transformers

SETTINGS = config(train={"micro_batch_tokens": 200, "batch_size": 8, "max_steps": 8})
OF_DIFFERENCES = [f"train/rm/{name}" for name in ("loss", "nll", "accuracy", "reward_margin", "mean_probability")]
"""Figures that a constant added to all scores does not change: its gradient is rounding, and Adam follows that."""
NIGHTLY = functools.partial(pytest.param, marks=pytest.mark.nightly)
MODES = ("shard_optimizer_and_gradients", "shard_all", "hybrid")


def shards(mode: str, **fields):
    settings = Parallel(mode=mode, **fields)
    return lambda group, model: FSDP(group, model, settings, torch.device("cpu"))


def assert_near(found: Trained, alone: Trained, tolerance: float = 1e-5) -> None:
    for one, other in zip(found.figures, alone.figures, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            near = pytest.approx(value, rel=tolerance, abs=1e-6 if name in OF_DIFFERENCES else 1e-3)
            assert one[name] == near, name
    assert found.norms == pytest.approx(alone.norms, rel=1e-4)


@pytest.mark.parametrize(("size", "model"), [(2, LLAMA), NIGHTLY(3, LLAMA), NIGHTLY(2, BERT)])
def test_ddp_follows_one_process(size: int, model) -> None:
    alone = take_steps(ProcessGroup(), Strategy, SETTINGS, 4, model=model)
    for found in values(size, lambda group: take_steps(group, DDP, SETTINGS, 4, model=model)):
        assert_near(found, alone)


@pytest.mark.parametrize(
    ("size", "mode", "model"),
    [
        *((2, mode, LLAMA) for mode in MODES[:2]),
        NIGHTLY(2, MODES[2], LLAMA),  # by day over two copies of two shards, below
        NIGHTLY(3, "shard_all", LLAMA),
        NIGHTLY(2, "shard_all", GPT2),
        (2, "shard_all", BERT),
    ],
)
def test_shards_follow_one_process(size: int, mode: str, model) -> None:
    alone = take_steps(ProcessGroup(), Strategy, SETTINGS, 4, model=model)
    for found in values(size, lambda group: take_steps(group, shards(mode), SETTINGS, 4, model=model)):
        assert_near(found, alone)


@pytest.mark.parametrize("names", [("NAdam", "SGD"), NIGHTLY(tuple(BY_ELEMENT))], ids=["two", "every"])
def test_every_optimizer_that_shards_are_allowed_follows_one_process(names) -> None:
    """By day one with numbers beside the step and one without state; AdamW is that of the other tests."""
    every = [config(optim={"name": name}, train={"max_steps": 3}) for name in names]

    def work(group: ProcessGroup) -> list[Trained]:
        return [take_steps(group, shards("shard_all"), settings, 3) for settings in every]

    alone = [take_steps(ProcessGroup(), Strategy, settings, 3) for settings in every]
    for found in values(2, work):
        for one, other in zip(found, alone, strict=True):
            assert_near(one, other)


def test_hybrid_over_two_copies_of_two_shards_follows_one_process() -> None:
    alone = take_steps(ProcessGroup(), Strategy, SETTINGS, 4)
    make = shards("hybrid", processes_per_copy=2)
    for found in values(4, lambda group: take_steps(group, make, SETTINGS, 4)):
        assert_near(found, alone)


def test_each_process_keeps_its_part_of_the_weights_alone() -> None:
    def work(group: ProcessGroup) -> tuple[int, int]:
        model = tiny_model(LLAMA, TOKENIZER)
        size = sum(weight.numel() for weight in model.parameters())
        shards("shard_all")(group, model)
        return size, sum(weight.to_local().numel() for weight in model.parameters())

    (size, first), (_, second) = values(2, work)
    assert first + second == size
    assert 0.45 * size < first < 0.55 * size


def test_no_weight_stays_whole_after_scoring_without_gradients() -> None:
    def work(group: ProcessGroup) -> bool:
        model = tiny_model(LLAMA, TOKENIZER)
        shards("shard_optimizer_and_gradients")(group, model)
        from bradley.model.choose_engine import _scores, _toy_batch

        _scores(model, _toy_batch((5, 6), model.device))
        return all(hasattr(weight, "to_local") for weight in model.parameters())

    assert values(2, work) == [True, True]


def test_bfloat16_scores_in_shards_are_those_of_the_whole_model_bit_for_bit() -> None:
    from bradley.model.choose_engine import _scores, _toy_batch

    def scores(group: ProcessGroup) -> list[float]:
        model = tiny_model(LLAMA, TOKENIZER, precision="bfloat16")
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name:
                    weight.add_(torch.linspace(0, 0.01, weight.numel()))  # numbers that bfloat16 would round
        if group.size > 1:
            shards("shard_all")(group, model)
        return _scores(model, _toy_batch((5, 6), model.device)).tolist()

    assert values(2, scores) == [scores(ProcessGroup())] * 2


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=lambda config: config["model_type"])
def test_float32_scores_of_bfloat16_shards_are_those_of_the_rounded_matrices(config) -> None:
    """As the checks of gradients compute; afterwards the shards are as before."""
    from bradley.model.choose_engine import _scores, _toy_batch
    from bradley.model.folder.parity import in_float32

    def scores(group: ProcessGroup) -> list[list[float]]:
        model = tiny_model(config, TOKENIZER, precision="bfloat16")
        batch = _toy_batch((5, 6), model.device)
        if group.size > 1:
            shards("shard_all")(group, model)
        else:
            with torch.no_grad():
                for layer in layers(model.network):
                    for module in layer.modules():
                        if type(module).__name__ in MATRICES:
                            for weight in module.parameters():
                                weight.copy_(weight.bfloat16())
        before = _scores(model, batch)
        with in_float32(model):
            exact = _scores(model, batch)
        assert torch.equal(_scores(model, batch), before) and not torch.equal(exact, before)
        assert group.size == 1 or all(hasattr(weight, "to_local") for weight in model.parameters())
        return [exact.tolist(), before.tolist()]

    alone = scores(ProcessGroup())
    for found in values(2, scores):
        assert found[0] == pytest.approx(alone[0], abs=1e-6)
        assert found[1] == alone[1]


def test_gradient_checkpointing_in_shards_gives_the_same_steps() -> None:
    alone = take_steps(ProcessGroup(), Strategy, SETTINGS, 3)

    def work(group: ProcessGroup) -> Trained:
        def make(group, model):
            from bradley.model.execution import checkpoint_activations

            checkpoint_activations(model.network)
            return shards("shard_all")(group, model)

        return take_steps(group, make, SETTINGS, 3)

    for found in values(2, work):
        assert_near(found, alone)


def test_processes_that_do_not_divide_into_copies_are_refused() -> None:
    group = ProcessGroup(Rank(0, 3, 0, 3))
    with pytest.raises(UserError, match="3 processes do not divide into copies over 2"):
        make_mesh(group, Parallel(mode="hybrid", processes_per_copy=2), "cpu")


def test_layers_are_found_by_their_class() -> None:
    assert {type(layer).__name__ for layer in layers(tiny_model(LLAMA, TOKENIZER).network)} == {"LlamaDecoderLayer"}
    assert not list(sharded(tiny_model(LLAMA, TOKENIZER)))


def test_ddp_looks_out_for_unused_weights_only_where_there_are_some() -> None:
    model = tiny_model(LLAMA, TOKENIZER)
    assert not leaves_out(model)
    assert all(weight.grad is None for weight in model.parameters())
    model.unused = torch.nn.Parameter(torch.ones(3))
    assert leaves_out(model)


def test_ddp_trains_past_a_weight_that_no_score_depends_on() -> None:
    def make(group: ProcessGroup, model) -> DDP:
        model.network.score.unused = torch.nn.Parameter(torch.ones(3))
        return DDP(group, model)

    alone = take_steps(ProcessGroup(), Strategy, SETTINGS, 3)
    for found in values(2, lambda group: take_steps(group, make, SETTINGS, 3)):
        assert_near(found, alone)
        assert torch.equal(found.weights["network.score.unused"], torch.ones(3))
