"""The optimizer's parameter groups, and schedules as pure functions of the step."""

import math
from typing import Any

import torch
from torch import nn

from ..config import Optim
from ..model.reward import RewardModel, is_head_weight


def learning_rate(step: int, num_steps: int, settings: Optim) -> float:
    """The learning rate of optimizer step `step`, from 1 to `num_steps`.

    Warm-up over w steps: peak * (step / w), squared where `warmup_shape` is quadratic; the first step's rate is above 0
    and step w has the peak. After it, with t running from 0 at step w to 1 at the last step:

        constant   peak
        linear     peak * (floor + (1 - floor) * (1 - t))
        cosine     peak * (floor + (1 - floor) * (1 + cos(pi * t)) / 2)
    """
    warmup = warmup_steps(num_steps, settings)
    if step < warmup:
        share = step / warmup
        return settings.lr * (share**2 if settings.warmup_shape == "quadratic" else share)
    t = (step - warmup) / max(1, num_steps - warmup)
    shape = {"constant": 1.0, "linear": 1.0 - t, "cosine": (1.0 + math.cos(math.pi * t)) / 2}[settings.schedule]
    floor = 0.0 if settings.schedule == "constant" else settings.floor
    return settings.lr * (floor + (1.0 - floor) * shape)


def warmup_steps(num_steps: int, settings: Optim) -> int:
    """Steps of warm-up: a share of all steps where the setting is below 1, that many steps from 1 on.

    At least one, so that the first step has the peak and a run of one step has a rate at all.
    """
    steps = settings.warmup * num_steps if settings.warmup < 1 else settings.warmup
    return max(1, min(round(steps), num_steps))


def make_optimizer(model: RewardModel, settings: Optim) -> torch.optim.AdamW:
    """AdamW with decay on matrices only; biases, norms and the score head are exempt."""
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            head = is_head_weight(model.network, name.removeprefix("network."))
            (exempt if head or parameter.ndim < 2 else decayed).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )
