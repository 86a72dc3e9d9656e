"""Choose and build the parallel strategy of a run, from settings and the number of processes."""

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
"""Optimizers working element by element: a number's step depends on the number's own gradient, so shards suffice."""


def build_strategy(
    group: ProcessGroup, config: Config, tokenizer: object, device: torch.device
) -> tuple[Built, Strategy]:
    """Build the model of a run and the strategy training the model, with equal weights, or shards, in all processes.

    Args:
        group: the processes; all must call.
        config: of the run.
        tokenizer: of the run.
        device: of the weights.

    Raises:
        UserError: settings unfit for shards, or too many processes.
        DivergedError: the processes have built different weights.
        BradleyError: as for `build_model`.
    """
    settings, limit = config.model, config.render.max_tokens
    if config.parallel.mode == "replicate" or group.size == 1:
        built = build_model(settings, tokenizer, config.seed, device, limit)
        strategy = copies(group, config.parallel, built.model)
        # Every process draws or loads its own weights. Replicas with different weights would train without any error.
        strategy.check_weights()
        return built, strategy
    from .fsdp import build_in_shards

    check_shards(config.parallel, config.optim, settings)
    return build_in_shards(group, config, tokenizer, device)


def copies(group: ProcessGroup, settings: Parallel, model: ScoreModel) -> Strategy:
    """Return the strategy for replicas: a full model in each process.

    Raises:
        UserError: as for `check_parts`.
    """
    if is_reproducible(settings, model.device):
        # Even a single process sums in the fixed order: its bits then equal the bits of several processes.
        check_parts(settings, group.size)
        return Reproducible(group, model, settings.parts)
    if group.size == 1:
        return Strategy(group, model)
    from .ddp import DDP

    return DDP(group, model)


def is_reproducible(settings: Parallel, device: torch.device) -> bool:
    """Return True if gradients are summed in a fixed order, independent of the number of processes."""
    return settings.canonical == "on" or (settings.canonical == "auto" and device.type == "cpu")


def check_parts(settings: Parallel, processes: int) -> None:
    """Check that every process has work: a step has at most `parallel.parts` parts.

    Raises:
        UserError: more processes than parts.
    """
    if processes > settings.parts:
        raise UserError(
            f"parallel.parts = {settings.parts}, and {processes} processes: {processes - settings.parts} of them would "
            "have nothing to do",
            f"use --parallel.parts {processes}, which gives other bits, or --parallel.canonical off",
        )


def check_shards(settings: Parallel, optim: Optim, model: Model) -> None:
    """Check settings against training in shards.

    Raises:
        UserError: the optimizer, `model.compile` or quantization needs full weights.
    """
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
