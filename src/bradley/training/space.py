"""Whether the disk has room for the checkpoints of a run, found out before it trains."""

from typing import Any

from ..config import Config
from ..files import check_space
from ..model.weights import tensors_to_save
from .job import Job
from .states import state_bytes

AT_ONCE = 2
"""Checkpoints that are on the disk together, at least: an old one goes only when the next is whole."""


def check_disk(job: Job, *, begun: bool) -> None:
    """Make sure that a run can save itself.

    Args:
        begun: a checkpoint of the run is there already.

    Raises:
        DiskError: the disk has too little room.
    """
    check_space(job.folder, checkpoint_bytes(job.model.network, job.optimizer, job.config) * (AT_ONCE - begun))


def checkpoint_bytes(network: Any, optimizer: Any, config: Config) -> int:
    """Bytes of the tensors in a checkpoint, weights and optimizer, each whole; all else is small beside them."""
    trained = [tuple(weight.shape) for group in optimizer.param_groups for weight in group["params"]]
    return weights_bytes(network) + sum(
        state_bytes(config.optim.name, dict(config.optim.options), shape) for shape in trained
    )


def weights_bytes(network: Any) -> int:
    """Bytes of the weights in a checkpoint."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_to_save(network).values())


def growth(job: Job) -> float:
    """The size of later checkpoints over that of the present one: before its first step, an optimizer keeps nothing."""
    if job.optimizer.state:
        return 1.0
    network = job.model.network
    return checkpoint_bytes(network, job.optimizer, job.config) / weights_bytes(network)
