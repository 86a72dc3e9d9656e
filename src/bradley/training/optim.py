"""The optimizer's parameter groups, and schedules as pure functions of the step."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..config import Optim
from ..errors import UserError, one_line
from ..model.reward import ScoreModel, is_head_weight
from .optimizers import optimizer_arguments, optimizer_class


def learning_rate(step: int, num_steps: int, settings: Optim) -> float:
    """The learning rate of optimizer step `step`, from 1 to `num_steps`.

    Warm-up over w steps: peak * (step / w), squared where `warmup_shape` is quadratic; the first step's rate is above 0
    and step w has the peak. After it, with t running from 0 at step w to 1 at the last step:

        constant   peak
        linear     peak * (floor + (1 - floor) * (1 - t))
        cosine     peak * (floor + (1 - floor) * (1 + cos(pi * t)) / 2)
    """
    return settings.lr * share_of_peak(step, num_steps, settings)


def share_of_peak(step: int, num_steps: int, settings: Optim) -> float:
    """The schedule without its peak, from 0 to 1: the same for every parameter group."""
    warmup = warmup_steps(num_steps, settings)
    if step < warmup:
        share = step / warmup
        return share**2 if settings.warmup_shape == "quadratic" else share
    t = (step - warmup) / max(1, num_steps - warmup)
    shape = {"constant": 1.0, "linear": 1.0 - t, "cosine": (1.0 + math.cos(math.pi * t)) / 2}[settings.schedule]
    floor = 0.0 if settings.schedule == "constant" else settings.floor
    return floor + (1.0 - floor) * shape


def warmup_steps(num_steps: int, settings: Optim) -> int:
    """Steps of warm-up: a share of all steps where the setting is below 1, that many steps from 1 on.

    At least one, so that the first step has the peak and a run of one step has a rate at all.
    """
    steps = settings.warmup * num_steps if settings.warmup < 1 else settings.warmup
    return max(1, min(round(steps), num_steps))


def peak_rate(group: str, settings: Optim) -> float:
    """The peak learning rate of the group `head` or `backbone`."""
    return settings.head_lr if group == "head" and settings.head_lr else settings.lr


def set_rates(optimizer: torch.optim.Optimizer, step: int, num_steps: int, settings: Optim) -> dict[str, float]:
    """Set every group's learning rate for step `step` of `num_steps`: its own peak times the schedule.

    Returns:
        `lr`, the rate of the backbone's groups, and `lr_head` if the head has a peak of its own.
    """
    share = share_of_peak(step, num_steps, settings)
    for group in optimizer.param_groups:
        group["lr"] = peak_rate(group["name"], settings) * share
    rates = {"lr": settings.lr * share}
    if peak_rate("head", settings) != settings.lr:
        rates["lr_head"] = peak_rate("head", settings) * share
    return rates


def make_optimizer(model: ScoreModel, settings: Optim) -> torch.optim.Optimizer:
    """The optimizer of the settings over every trained weight of the model, see `parameter_groups`.

    Raises:
        UserError: a class, an argument or a rate that does not suit the settings or the weights.
    """
    kind = optimizer_class(settings.name)
    sharded = any(hasattr(weight, "to_local") for weight in model.parameters())
    arguments = optimizer_arguments(kind, settings, sharded=sharded)
    groups = parameter_groups(model, settings)
    try:
        _try_step(kind, {"lr": settings.lr, **arguments})
        return kind(groups, lr=settings.lr, **arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"optim.name = {settings.name} refuses the settings or the weights: {one_line(error)}",
            "see this class in the documentation of PyTorch, or use --optim.name AdamW",
        ) from error


def _try_step(kind: Callable[..., torch.optim.Optimizer], arguments: dict[str, Any]) -> None:
    """One step on a tiny weight: some arguments are only looked at there."""
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    kind([weight], **arguments).step()


def parameter_groups(model: ScoreModel, settings: Optim) -> list[dict[str, Any]]:
    """Each trained weight in exactly one group: backbone with decay, backbone without, head.

    Decay acts on matrices alone, of the backbone or of the head: biases and norms have no size to keep small.

    Raises:
        UserError: weight decay or a rate of the head's own that would act on nothing, or leave nothing to the other.
    """
    decay_head = settings.decay == "head"
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {
        key: [] for key in (("backbone", True), ("backbone", False), ("head", True), ("head", False))
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            head = is_head_weight(model.network, name.removeprefix("network."))
            decayed = head == decay_head and parameter.ndim >= 2
            groups["head" if head else "backbone", decayed].append(parameter)
    _check_groups({key for key, parameters in groups.items() if parameters}, settings)
    return [
        {
            "params": parameters,
            "name": name,
            "lr": peak_rate(name, settings),
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for (name, decayed), parameters in groups.items()
        if parameters
    ]


def _check_groups(present: set[tuple[str, bool]], settings: Optim) -> None:
    if settings.weight_decay and not any(decayed for _, decayed in present):
        raise UserError(
            f"optim.weight_decay = {settings.weight_decay} acts on no weight: none of the {settings.decay} is trained",
            "use --optim.decay head, or --optim.weight_decay 0",
        )
    if settings.head_lr and all(name == "head" for name, _ in present):
        raise UserError(
            f"optim.head_lr = {settings.head_lr}, but the score head is all that is trained",
            "give its rate as optim.lr, and leave optim.head_lr out",
        )
