"""Schedules against tables, which weights lie in which group, and what moves."""

import itertools
import math

import numpy as np
import pytest
import torch

from bradley.config import Optim
from bradley.data.micro_batches import Limit, load_of, measure
from bradley.data.plan import make_plan
from bradley.errors import UserError
from bradley.model.engine.batch import collate
from bradley.training.optim import learning_rate, make_optimizer, set_rates, warmup_steps
from tests.helpers import BERT, LLAMA, comparisons, store_for, tiny_model, tokenizer_for

ROWS = comparisons(4)
TOKENIZER = tokenizer_for(ROWS)
STORE = store_for(ROWS, TOKENIZER)
BACKBONE = {"embeddings.word", "embeddings.position", "embeddings.token_type", "encoder.layer"}


def named(model, group):
    """Names of a group's weights."""
    inside = {id(p) for p in group["params"]}
    return [name for name, p in model.named_parameters() if id(p) in inside]


def rates(num_steps, **settings):
    return [learning_rate(step, num_steps, Optim(lr=1.0, **settings)) for step in range(1, num_steps + 1)]


TABLE = [
    ({"schedule": "constant", "warmup": 0}, [1, 1, 1, 1, 1]),
    ({"schedule": "constant", "warmup": 2}, [0.5, 1, 1, 1, 1]),
    ({"schedule": "linear", "warmup": 1}, [1, 0.75, 0.5, 0.25, 0]),
    ({"schedule": "linear", "warmup": 0.2, "floor": 0.2}, [1, 0.8, 0.6, 0.4, 0.2]),
    ({"schedule": "cosine", "warmup": 1}, [1, 0.8535534, 0.5, 0.1464466, 0]),
    ({"schedule": "cosine", "warmup": 1, "floor": 0.1}, [1, 0.8681981, 0.55, 0.2318019, 0.1]),
    ({"schedule": "constant", "warmup": 4, "warmup_shape": "quadratic"}, [1 / 16, 4 / 16, 9 / 16, 1, 1]),
    ({"schedule": "linear", "warmup": 0.6}, [1 / 3, 2 / 3, 1, 0.5, 0]),
    ({"schedule": "cosine", "warmup": 9}, [0.2, 0.4, 0.6, 0.8, 1]),
]


@pytest.mark.parametrize(("settings", "expected"), TABLE)
def test_schedule_equals_its_table(settings, expected):
    assert rates(5, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("shape", ["linear", "quadratic"])
def test_the_whole_length_of_every_schedule(schedule, shape):
    """The first step moves, the peak comes once warm, the decay starts from it, the last step has the end."""
    settings = Optim(lr=3e-5, schedule=schedule, warmup=0.1, warmup_shape=shape, floor=0.05)
    table = [learning_rate(step, 1000, settings) for step in range(1, 1001)]
    assert 0 < table[0] < 3e-5 / 50
    assert table[99] == pytest.approx(3e-5) == max(table)
    assert table[100] > 0.99 * 3e-5
    assert table[-1] == pytest.approx(3e-5 if schedule == "constant" else 1.5e-6)
    assert all(b <= a for a, b in itertools.pairwise(table[99:]))


def test_warmup_is_a_share_below_one_and_steps_from_one_on():
    assert warmup_steps(200, Optim(warmup=0.05)) == 10
    assert warmup_steps(200, Optim(warmup=20)) == 20
    assert warmup_steps(10, Optim(warmup=20)) == 10


def test_every_group_has_its_own_peak_times_the_same_schedule():
    model = tiny_model(LLAMA, TOKENIZER)
    settings = Optim(lr=1e-4, head_lr=3e-2, warmup=2, schedule="linear", floor=0.1)
    optimizer = make_optimizer(model, settings)
    for step in range(1, 9):
        reported = set_rates(optimizer, step, 8, settings)
        share = learning_rate(step, 8, Optim(lr=1.0, warmup=2, schedule="linear", floor=0.1))
        assert reported == pytest.approx({"lr": 1e-4 * share, "lr_head": 3e-2 * share})
        rates = {name: group["lr"] for group in optimizer.param_groups for name in named(model, group)}
        assert rates["network.score.weight"] == reported["lr_head"]
        assert {rate for name, rate in rates.items() if name != "network.score.weight"} == {reported["lr"]}


def test_the_rate_of_the_head_is_reported_only_where_it_differs():
    model = tiny_model(LLAMA, TOKENIZER)
    for settings in (Optim(lr=2e-4), Optim(lr=2e-4, head_lr=2e-4)):
        optimizer = make_optimizer(model, settings)
        assert set_rates(optimizer, 1, 1, settings) == {"lr": 2e-4}
        assert {group["lr"] for group in optimizer.param_groups} == {2e-4}


CASES = [
    (model, trainable, decay, head_lr)
    for model in (LLAMA, BERT)
    for trainable, decay, head_lr in [
        ("all", "matrices", 0.0),
        ("all", "matrices", 1e-4),
        ("all", "head", 1e-4),
        ("head", "head", 0.0),
        ("head_and_norms", "head", 0.0),
        ("head_and_norms", "head", 1e-4),
    ]
]


@pytest.mark.parametrize(("config", "trainable", "decay", "head_lr"), CASES)
def test_what_is_trained_moves_at_the_real_rate_and_the_rest_not_by_a_bit(config, trainable, decay, head_lr):
    """Every trained weight lies in exactly one group, and three steps at 1e-5 change each tensor of them."""
    model = tiny_model(config, TOKENIZER, trainable=trainable)
    settings = Optim(lr=1e-5, weight_decay=0.1, decay=decay, head_lr=head_lr, schedule="constant", warmup=0)
    optimizer = make_optimizer(model, settings)
    placed = [name for group in optimizer.param_groups for name in named(model, group)]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(placed) == len(set(placed)) and set(placed) == trained
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = collate(STORE, np.arange(len(STORE)), STORE.judgment_weights("pair"))
    for step in range(1, 4):
        model(batch).square().sum().backward()
        set_rates(optimizer, step, 3, settings)
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == trained


@pytest.mark.parametrize(("decay", "expected"), [("matrices", BACKBONE), ("head", {"pooler.dense", "classifier"})])
def test_decay_shrinks_what_it_says_and_nothing_else(decay, expected):
    """With gradients of 0, AdamW's step is the decay alone: w becomes w (1 - lr * decay)."""
    model = tiny_model(BERT, TOKENIZER)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, Optim(lr=0.1, weight_decay=0.5, decay=decay))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        shrinks = parameter.ndim == 2 and any(part in name for part in expected)
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if shrinks else 1.0), rtol=1e-6, atol=0)


def test_decay_or_a_rate_that_would_act_on_nothing_is_refused():
    head, norms = (tiny_model(LLAMA, TOKENIZER, trainable=which) for which in ("head", "head_and_norms"))
    for model in (head, norms):
        with pytest.raises(UserError, match=r"optim\.weight_decay = 0\.1 acts on no weight"):
            make_optimizer(model, Optim(weight_decay=0.1))
    with pytest.raises(UserError, match=r"optim\.head_lr = 0\.1, but the score head is all"):
        make_optimizer(head, Optim(head_lr=0.1))


def test_decay_falls_on_matrices_and_spares_norms_and_the_head():
    model = tiny_model(LLAMA, tokenizer_for(comparisons(2)))
    optimizer = make_optimizer(model, Optim(weight_decay=0.1))
    names = {id(p): name for name, p in model.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(names)
    assert decay["network.score.weight"] == 0 and decay["network.model.norm.weight"] == 0
    assert decay["network.model.layers.0.mlp.up_proj.weight"] == 0.1


def test_the_pooler_of_an_encoder_is_head():
    model = tiny_model(BERT, tokenizer_for(comparisons(2)))
    optimizer = make_optimizer(model, Optim(weight_decay=0.1))
    decayed = {id(p) for p in optimizer.param_groups[0]["params"]}
    exempt = {name for name, p in model.named_parameters() if id(p) not in decayed and p.ndim == 2}
    assert exempt == {"network.bert.pooler.dense.weight", "network.classifier.weight"}


@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0, 0.03, 1, 5])
def test_the_shortest_runs_begin_with_a_rate_above_zero(num_steps, warmup):
    table = rates(num_steps, warmup=warmup)
    assert table[0] > 0 and max(table) == 1.0


def test_the_schedule_of_a_run_of_epochs_ends_where_it_should():
    """Two epochs counted twice would end half-way down."""
    store = store_for(comparisons(20))
    load = load_of(measure(store), padded=True)
    plan = make_plan(store, load, Limit(4096), batch_size=4, seed=0, epochs=2)
    settings = Optim(lr=1.0, schedule="linear", floor=0.1)
    assert plan.num_steps == 10
    assert learning_rate(plan.num_steps, plan.num_steps, settings) == pytest.approx(0.1)
    assert learning_rate(plan.num_steps // 2, plan.num_steps, settings) > 0.5


def test_a_schedule_is_a_function_of_the_step_alone():
    settings = Optim(lr=1e-3)
    forward = [learning_rate(step, 50, settings) for step in range(1, 51)]
    backward = [learning_rate(step, 50, settings) for step in range(50, 0, -1)]
    assert forward == backward[::-1]
    assert math.isclose(max(forward), 1e-3)
