"""Schedules against tables, and which weights decay."""

import itertools
import math

import pytest
import torch

from bradley.config import Optim
from bradley.training.optim import learning_rate, make_optimizer, warmup_steps
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for


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


def test_decay_falls_on_matrices_and_spares_norms_and_the_head():
    model = tiny_model(LLAMA, tokenizer_for(comparisons(2)))
    optimizer = make_optimizer(model, Optim(weight_decay=0.1))
    names = {id(p): name for name, p in model.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(names)
    assert decay["network.score.weight"] == 0 and decay["network.model.norm.weight"] == 0
    assert decay["network.model.layers.0.mlp.up_proj.weight"] == 0.1


def test_small_rates_move_float32_weights_that_bfloat16_would_swallow():
    """An Adam-sized step of 3e-6 changes about 4 % of bfloat16 weights of this size, and nearly all in float32."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(20_000, generator=generator) * 0.02
    moved = {}
    for dtype in (torch.float32, torch.bfloat16):
        parameter = torch.nn.Parameter(weights.to(dtype))
        before = parameter.detach().clone()
        parameter.grad = torch.ones_like(parameter)
        torch.optim.AdamW([parameter], lr=3e-6, weight_decay=0.0).step()
        moved[dtype] = float((parameter != before).float().mean())
    assert moved[torch.bfloat16] < 0.1 < 0.99 < moved[torch.float32]


def test_a_schedule_is_a_function_of_the_step_alone():
    settings = Optim(lr=1e-3)
    forward = [learning_rate(step, 50, settings) for step in range(1, 51)]
    backward = [learning_rate(step, 50, settings) for step in range(50, 0, -1)]
    assert forward == backward[::-1]
    assert math.isclose(max(forward), 1e-3)
