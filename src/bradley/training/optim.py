"""Build the optimizer and the parameter groups, and compute learning rates as pure functions of the step."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..common.text import nearest, one_line
from ..config import Optim
from ..errors import UserError
from ..model.reward import ScoreModel, is_head_weight

Kind = Callable[..., torch.optim.Optimizer]
"""Class of an optimizer."""
EIGHT_BIT = "AdamW8bit"
"""Name of bitsandbytes' 8-bit AdamW in `optim.name`."""
REFUSED = {
    "LBFGS": "evaluates the loss several times in one step, and a step here reads its batch once",
    "SparseAdam": "takes sparse gradients alone, and those of a transformer are dense",
}
"""Classes of `torch.optim` unfit for this loop, and the reason."""
OWN_SETTINGS = ("lr", "weight_decay", "betas", "eps")
"""Arguments with a setting of their own, hence refused in `optim.options`."""
FUSED_IN_SHARDS = ("Adam", "AdamW")
"""Classes whose fused step PyTorch supports for shards."""
UNFUSED_WITH = ("fused", "foreach", "differentiable")
"""Options choosing an implementation other than the fused implementation."""


def make_optimizer(model: ScoreModel, settings: Optim) -> torch.optim.Optimizer:
    """Return the optimizer of the settings over every trained weight of the model, see `parameter_groups`.

    Raises:
        UserError: a class, an argument or a rate does not suit the settings or the weights.
    """
    kind = optimizer_class(settings.name)
    sharded = any(hasattr(weight, "to_local") for weight in model.parameters())
    arguments = optimizer_arguments(kind, settings, sharded=sharded)
    groups = parameter_groups(model, settings)
    try:
        # An argument refused at the first step would end the run after data and model have been prepared.
        _try_step(kind, {"lr": settings.lr, **arguments})
        return kind(groups, lr=settings.lr, **arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"optim.name = {settings.name} refuses the settings or the weights: {one_line(error)}",
            "see this class in the documentation of PyTorch, or use --optim.name AdamW",
        ) from error


def parameter_groups(model: ScoreModel, settings: Optim) -> list[dict[str, Any]]:
    """Put each trained weight into a single group: backbone or head, with or without decay.

    Decay acts on matrices only, of the backbone or of the head: biases and norms have no size to keep small.

    Returns:
        Groups for an optimizer, without empty groups: `params`, `name` (`backbone` or `head`), `lr`, `weight_decay`.

    Raises:
        UserError: weight decay, or a rate of the head's own, would act on no weight or on all weights.
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


def optimizer_class(name: str) -> Kind:
    """Return a class of `torch.optim`, or the 8-bit AdamW of bitsandbytes.

    Raises:
        UserError: the class does not exist or suit, or bitsandbytes is not installed.
    """
    if name in REFUSED:
        raise UserError(f"optim.name = {name}: it {REFUSED[name]}", "use --optim.name AdamW")
    if name == EIGHT_BIT:
        return _eight_bit()
    known: dict[str, Kind] = {key: value for key, value in vars(torch.optim).items() if _is_optimizer(value)}
    if name not in known:
        names = sorted({*known, EIGHT_BIT} - set(REFUSED))
        raise UserError(f"optim.name = {name}, wanted one of {', '.join(names)}", did_you_mean(name, names))
    return known[name]


def optimizer_arguments(kind: Kind, settings: Optim, *, sharded: bool = False) -> dict[str, Any]:
    """Return the keyword arguments of an optimizer's class, without learning rate and weight decay: groups hold both.

    If the class offers a choice, decay is decoupled and the implementation fused.

    Args:
        kind: the class.
        settings: section `optim` of the configuration.
        sharded: True if weights are in shards; PyTorch then fuses the steps of a few classes only.

    Raises:
        UserError: the class does not take a setting or an option.
    """
    takes = inspect.signature(kind).parameters
    _check_options(takes, settings)
    given = {name: getattr(settings, name) for name in ("betas", "eps") if _takes(takes, name)}
    # Decay added to the gradient would be rescaled by Adam's second moment (Loshchilov and Hutter, 2019,
    # arXiv:1711.05101).
    if "decoupled_weight_decay" in takes:
        given["decoupled_weight_decay"] = True
    fused = settings.name in FUSED_IN_SHARDS if sharded else "fused" in takes
    if fused and not set(UNFUSED_WITH) & set(settings.options):
        given["fused"] = True
    return {**given, **settings.options}


def learning_rate(step: int, num_steps: int, settings: Optim) -> float:
    """Return the learning rate of optimizer step `step`, from 1 to `num_steps`.

    Warm-up over w steps: peak * (step / w), with the share squared if `warmup_shape` is quadratic. The first step's
    rate is above 0, and step w has the peak. After the warm-up, t runs from 0 at step w to 1 at the last step:

        constant:  peak
        linear:    peak * (floor + (1 - floor) * (1 - t))
        cosine:    peak * (floor + (1 - floor) * (1 + cos(pi * t)) / 2)
    """
    return settings.lr * share_of_peak(step, num_steps, settings)


def share_of_peak(step: int, num_steps: int, settings: Optim) -> float:
    """Return the schedule as a share of the peak, from 0 to 1: the same for every parameter group."""
    warmup = warmup_steps(num_steps, settings)
    if step < warmup:
        share = step / warmup
        return share**2 if settings.warmup_shape == "quadratic" else share
    t = (step - warmup) / max(1, num_steps - warmup)
    shape = {"constant": 1.0, "linear": 1.0 - t, "cosine": (1.0 + math.cos(math.pi * t)) / 2}[settings.schedule]
    floor = 0.0 if settings.schedule == "constant" else settings.floor
    return floor + (1.0 - floor) * shape


def warmup_steps(num_steps: int, settings: Optim) -> int:
    """Return the steps of warm-up: below 1 the setting is a share of all steps, from 1 on a number of steps.

    At least a single step: the first step then has the peak, and a run of a single step has a rate above 0.
    """
    steps = settings.warmup * num_steps if settings.warmup < 1 else settings.warmup
    return max(1, min(round(steps), num_steps))


def peak_rate(group: str, settings: Optim) -> float:
    """Return the peak learning rate of the group `head` or `backbone`."""
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


def _try_step(kind: Callable[..., torch.optim.Optimizer], arguments: dict[str, Any]) -> None:
    """Take a step on a tiny weight: some classes check arguments only in a step."""
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    kind([weight], **arguments).step()


def _check_groups(present: set[tuple[str, bool]], settings: Optim) -> None:
    # A setting without effect is an error: people would otherwise credit results to it.
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


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer


def _eight_bit() -> Kind:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            f"optim.name = {EIGHT_BIT} needs bitsandbytes, which cannot be imported: {one_line(error)}",
            'install it with `pip install "bradley[8bit]"`',
        ) from error
    kind: Kind = AdamW8bit
    return kind


def _check_options(takes: Mapping[str, inspect.Parameter], settings: Optim) -> None:
    """Raise `UserError` for a setting or option without effect on the class."""
    for name in ("betas", "eps", "weight_decay"):
        if not _takes(takes, name) and getattr(settings, name) != Optim.model_fields[name].default:
            raise UserError(
                f"optim.{name} = {getattr(settings, name)}: {settings.name} has no such setting",
                f"leave optim.{name} out; the options of {settings.name} are {', '.join(_options(takes))}",
            )
    for name in settings.options:
        if name in OWN_SETTINGS and _takes(takes, name):
            raise UserError(f"optim.options.{name}: it has a setting of its own", f"give it as optim.{name}")
        if name not in _options(takes):
            raise UserError(
                f"optim.options.{name}: {settings.name} takes no such argument", did_you_mean(name, _options(takes))
            )


def _takes(takes: Mapping[str, inspect.Parameter], name: str) -> bool:
    """Return True if a class takes a setting with the same meaning: Adafactor's `eps` is a pair of other quantities."""
    if name == "eps":
        return name in takes and isinstance(takes[name].default, float)
    return name in takes


def _options(takes: Mapping[str, inspect.Parameter]) -> list[str]:
    own = {"params", *(name for name in OWN_SETTINGS if _takes(takes, name))}
    return [name for name in takes if name not in own]


def did_you_mean(name: str, known: list[str]) -> str:
    """Return the nearest known name as a hint, ignoring case, or all known names."""
    by_case = {word.lower(): word for word in known}
    near = nearest(name.lower(), by_case)
    return f"did you mean {by_case[near]}?" if near else f"known: {', '.join(known)}"
