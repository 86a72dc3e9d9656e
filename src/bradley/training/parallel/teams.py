"""Which team a run has, by its settings and the number of its processes."""

import torch

from ...config import Optim, Parallel
from ...errors import UserError
from ...model.reward import ScoreModel
from .canonical import Canonical
from .group import Group
from .rounds import Replicas
from .shards import Shards
from .team import Team

BY_ELEMENT = (
    "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD",
)  # fmt: skip
"""Optimizers whose step for a number depends on that number's own gradient, so that a shard is enough."""


def make_team(group: Group, settings: Parallel, model: ScoreModel) -> Team:
    """The team of a run. With a mode that cuts weights into shards, the model is cut, in place.

    Raises:
        UserError: a model that cannot be cut.
    """
    if settings.mode != "replicate" and group.size > 1:
        return Shards(group, model, settings)
    if is_canonical(settings, model.device):
        return Canonical(group, model)
    return Replicas(group, model) if group.size > 1 else Team(group, model)


def is_canonical(settings: Parallel, device: torch.device) -> bool:
    """Whether gradients are added up in the order that does not depend on the number of processes."""
    return settings.canonical == "on" or (settings.canonical == "auto" and device.type == "cpu")


def check_shards(settings: Parallel, group: Group, optim: Optim, *, compiled: bool, quantize: str) -> None:
    """Raise `UserError` for what cannot be trained in shards."""
    if settings.mode == "replicate" or group.size == 1:
        return
    if optim.name not in BY_ELEMENT:
        raise UserError(
            f"optim.name = {optim.name} looks at whole weights, and parallel.mode = {settings.mode} cuts them",
            f"use one of {', '.join(BY_ELEMENT)}, or --parallel.mode replicate",
        )
    if compiled or quantize != "none":
        name = "model.compile" if compiled else f"model.adapter.quantize = {quantize}"
        raise UserError(
            f"{name} and parallel.mode = {settings.mode} do not go together", "use --parallel.mode replicate"
        )
