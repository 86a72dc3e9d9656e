"""Which team a run has, by its settings and the number of its processes."""

import torch

from ...config import Config, Model, Optim, Parallel
from ...errors import UserError
from ...model.build import Built, build_model
from ...model.reward import ScoreModel
from .process_group import ProcessGroup
from .reproducible import Reproducible
from .strategy import Strategy

BY_ELEMENT = (
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ASGD",
    "NAdam",
    "RAdam",
    "RMSprop",
    "SGD",
)
"""Optimizers whose step for a number depends on the gradient of that number alone, so that a shard is enough."""


def build_strategy(
    group: ProcessGroup, config: Config, tokenizer: object, device: torch.device
) -> tuple[Built, Strategy]:
    """The model of a run, and the team that trains it; all processes have the same weights, or shards of them.

    Raises:
        BradleyError: as `build_model`; settings that do not go with shards.
        DivergedError: the processes have built different weights.
    """
    settings, limit = config.model, config.render.max_tokens
    if config.parallel.mode == "replicate" or group.size == 1:
        built = build_model(settings, tokenizer, config.seed, device, limit)
        strategy = copies(group, config.parallel, built.model)
        strategy.check_weights()
        return built, strategy
    from .fsdp import build_in_shards

    check_shards(config.parallel, config.optim, settings)
    return build_in_shards(group, config, tokenizer, device)


def copies(group: ProcessGroup, settings: Parallel, model: ScoreModel) -> Strategy:
    """The team of processes that have a whole model each."""
    if is_reproducible(settings, model.device):
        check_parts(settings, group.size)
        return Reproducible(group, model, settings.parts)
    if group.size == 1:
        return Strategy(group, model)
    from .ddp import DDP

    return DDP(group, model)


def is_reproducible(settings: Parallel, device: torch.device) -> bool:
    """Whether gradients are added up in the order that does not depend on the number of processes."""
    return settings.canonical == "on" or (settings.canonical == "auto" and device.type == "cpu")


def check_parts(settings: Parallel, processes: int) -> None:
    """Raise `UserError` where a process could never have work."""
    if processes > settings.parts:
        raise UserError(
            f"parallel.parts = {settings.parts}, and {processes} processes: {processes - settings.parts} of them would "
            "have nothing to do",
            f"use --parallel.parts {processes}, which gives other bits, or --parallel.canonical off",
        )


def check_shards(settings: Parallel, optim: Optim, model: Model) -> None:
    """Raise `UserError` for what cannot be trained in shards."""
    if optim.name not in BY_ELEMENT:
        raise UserError(
            f"optim.name = {optim.name} looks at whole weights, and parallel.mode = {settings.mode} cuts them",
            f"use one of {', '.join(BY_ELEMENT)}, or --parallel.mode replicate",
        )
    given = {"model.compile": model.compile, "model.adapter.quantize": model.adapter.quantize != "none"}
    for name in (name for name, wanted in given.items() if wanted):
        raise UserError(
            f"{name} and parallel.mode = {settings.mode} do not go together", "use --parallel.mode replicate"
        )
