"""Optimizers by name, and which of the settings each class takes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..config import Optim
from ..errors import UserError, nearest, one_line

Kind = Callable[..., torch.optim.Optimizer]
EIGHT_BIT = "AdamW8bit"
REFUSED = {
    "LBFGS": "evaluates the loss several times in one step, and a step here reads its batch once",
    "SparseAdam": "takes sparse gradients alone, and those of a transformer are dense",
}
OWN_SETTINGS = ("lr", "weight_decay", "betas", "eps")
"""Arguments that have a setting of their own, and that `optim.options` may not give a second time."""
FUSED_IN_SHARDS = ("Adam", "AdamW")
UNFUSED_WITH = ("fused", "foreach", "differentiable")
"""Options that choose another implementation than the fused one."""


def optimizer_class(name: str) -> Kind:
    """The class of `torch.optim`, or the 8-bit AdamW of bitsandbytes.

    Raises:
        UserError: no such class, one that does not suit, or bitsandbytes is not installed.
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


def did_you_mean(name: str, known: list[str]) -> str:
    """The nearest of the known names as a hint, whatever its case, or all of them."""
    by_case = {word.lower(): word for word in known}
    near = nearest(name.lower(), by_case)
    return f"did you mean {by_case[near]}?" if near else f"known: {', '.join(known)}"


def optimizer_arguments(kind: Kind, settings: Optim, *, sharded: bool = False) -> dict[str, Any]:
    """The keyword arguments of an optimizer's class, weight decay and learning rate aside, which belong to groups.

    Decay is decoupled and the implementation fused where the class leaves the choice.

    Args:
        sharded: whether the weights are in shards, of which PyTorch fuses the step of a few classes alone.

    Raises:
        UserError: a setting or an option that the class does not take.
    """
    takes = inspect.signature(kind).parameters
    _check_options(takes, settings)
    given = {name: getattr(settings, name) for name in ("betas", "eps") if _takes(takes, name)}
    if "decoupled_weight_decay" in takes:
        given["decoupled_weight_decay"] = True
    fused = settings.name in FUSED_IN_SHARDS if sharded else "fused" in takes
    if fused and not set(UNFUSED_WITH) & set(settings.options):
        given["fused"] = True
    return {**given, **settings.options}


def _check_options(takes: Mapping[str, inspect.Parameter], settings: Optim) -> None:
    """Raise `UserError` for what would be given in vain."""
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
    """Whether a class takes a setting and means the same by it: Adafactor's `eps` is a pair of other things."""
    if name == "eps":
        return name in takes and isinstance(takes[name].default, float)
    return name in takes


def _options(takes: Mapping[str, inspect.Parameter]) -> list[str]:
    own = {"params", *(name for name in OWN_SETTINGS if _takes(takes, name))}
    return [name for name in takes if name not in own]
