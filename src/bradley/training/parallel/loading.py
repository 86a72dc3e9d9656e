"""A model in shards without a copy of it in every process: one reads it, and each gets its part."""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from ...config import Config
from ...model.build import Built, build_model
from ...model.engine import choose_engine
from .group import Group
from .shards import Shards
from .whole import spread_tensors

CPU, META = torch.device("cpu"), torch.device("meta")


def build_in_shards(group: Group, config: Config, tokenizer: Any, device: torch.device) -> tuple[Built, Shards]:
    """The model of a run in shards on `device`.

    The main process builds it on the CPU, the others without numbers; then each weight is sent round and cut up.

    Raises:
        BradleyError: as `build_model`.
    """
    made: list[Built] = []
    settings, limit = config.model, config.render.max_tokens
    build = functools.partial(build_model, settings, tokenizer, config.seed, device, limit)
    group.on_main(lambda: made.append(build(place=CPU)))
    built = made[0] if made else build(place=META)
    built.model.use("plain")
    whole = tensors_of(built.model) if made else {}
    team = Shards(group, built.model, config.parallel, device)
    if not made:
        built.model.to_empty(device=device)
    spread_tensors(tensors_of(built.model), whole, group)
    return built._replace(engine=choose_engine(built.model, settings.engine, limit)), team


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer, those that no file holds too."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in named}
