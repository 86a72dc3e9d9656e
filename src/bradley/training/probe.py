"""Whether the largest micro-batch of a run fits into memory, found out before the first step instead of hours later."""

import torch

from ..config import Config
from ..data.schedule import heaviest
from .blame import Again
from .memory import GIB
from .parallel.whole import local
from .room import Room
from .states import state_bytes


def probe(again: Again, optimizer: torch.optim.Optimizer, gradients: int, config: Config, room: Room) -> str:
    """Run the largest micro-batch forward and backward, twice, so that gradients add up as in a step of several, beside
    as much memory as the optimizer and other gradients will keep. No weight, gradient or state is left changed.

    Args:
        gradients: held at once, see `Team.gradients`.
        room: is told what is being run, so that it can say so when memory runs out.

    Returns:
        The peak in words; '' on a device that does not count.
    """
    model, chosen, step = again.model, heaviest(again.plan), again.plan.step(1)
    room.probe(chosen)
    size = 0 if optimizer.state else optimizer_bytes(optimizer, config)
    size += (gradients - 1) * sum(local(w).nbytes for w in model.parameters() if w.requires_grad)
    kept = torch.empty(size, dtype=torch.uint8, device=model.device)
    for _ in range(2):
        again.backward(step, 0, chosen)
    model.zero_grad(set_to_none=True)
    del kept
    if model.device.type != "cuda":
        return ""
    peak = torch.cuda.max_memory_allocated(model.device) / GIB
    total = torch.cuda.get_device_properties(model.device).total_memory / GIB
    return f"{peak:.2f} of {total:.2f} GiB for the largest micro-batch, {len(chosen)} comparisons"


def optimizer_bytes(optimizer: torch.optim.Optimizer, config: Config) -> int:
    """Bytes that the optimizer of a run will keep once it has taken a step."""
    shapes = [tuple(local(weight).shape) for group in optimizer.param_groups for weight in group["params"]]
    return sum(state_bytes(config.optim.name, dict(config.optim.options), shape) for shape in shapes)
