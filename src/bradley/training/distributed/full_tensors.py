"""Make full tensors of shards, and shards of full tensors: the content of a checkpoint does not depend on the
processes.

Tensors are gathered in turn, hence no process holds more than a single tensor's shards of other processes. Only the
main process keeps all tensors, on the CPU.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...errors import CheckpointError
from ...model.folder.readback import INTEGERS
from .process_group import ProcessGroup

State = dict[str, Any]
"""An optimizer's state by weight: `state` of each weight, and the weights' names in each of the `groups`."""
Form = dict[str, Any]
"""`shape` and `dtype` of a tensor, as JSON values."""


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor: the shard, or a plain tensor unchanged."""
    shard: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return shard


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor in full, in every process; for a sharded tensor, all processes must call together."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def bit_sum(tensor: Tensor) -> Tensor:
    """Return the int64 sum of a tensor's bit patterns: any single changed number changes the sum; several changes may
    cancel."""
    numbers = tensor.detach().contiguous()
    # Integer addition is exact, hence equal in any order, on any device. A float sum would lose low bits and depend on
    # order.
    return numbers.view(INTEGERS[numbers.element_size()]).sum(dtype=torch.int64)


def cut_like(value: Tensor, like: Any) -> Tensor:
    """Return a full tensor as shards if `like` is sharded, and unchanged otherwise.

    Args:
        value: the full tensor, equal in every process.
        like: the tensor with the wanted layout.
    """
    if not hasattr(like, "to_local"):
        return value
    from torch.distributed.tensor import distribute_tensor

    # With `src_data_rank=None` each process cuts its own copy; no broadcast is needed, because all copies are equal.
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def assign(target: Tensor, value: Tensor) -> None:
    """Write a full tensor, equal in every process, into this process's part of `target`."""
    with torch.no_grad():
        local(target).copy_(local(cut_like(value, target)))


def gather_tensors(tensors: Mapping[str, Tensor], group: ProcessGroup) -> dict[str, Tensor]:
    """Return full tensors on the CPU of the main process, and an empty dict elsewhere; all processes must call."""
    found = {}
    for name, tensor in tensors.items():
        # A collective call, hence in every process and in the same order; the others drop the result at once.
        full = full_tensor(tensor).detach()
        if group.is_main:
            found[name] = full.cpu()
    return found


def spread(value: Tensor | None, like: Tensor, group: ProcessGroup) -> Tensor:
    """Return the main process's tensor in every process.

    Args:
        value: the tensor on the main process; None elsewhere.
        like: of the same shape, dtype and device.
        group: the processes; all must call.
    """
    if group.size == 1:
        assert value is not None
        return value
    full = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    if value is not None:
        full.copy_(value)
    dist.broadcast(full, 0)
    return full


def spread_tensors(tensors: Mapping[str, Tensor], given: Mapping[str, Tensor], group: ProcessGroup) -> None:
    """Write the main process's full tensors into the tensors of every process.

    Args:
        tensors: targets by name, full or in shards.
        given: full tensors by name; read on the main process only.
        group: the processes; all must call.
    """
    for name, target in tensors.items():
        assign(target, spread(given[name] if group.is_main else None, target, group))


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[State, dict[str, Tensor]]:
    """Return an optimizer's state under the names of the weights, as held by this process.

    Returns:
        Values other than tensors, the same in every process: `state` by weight, and `groups` with the weights' names.
        Tensors, not copies, as `weight/key`.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    values: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for weight, entry in optimizer.state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{names[id(weight)]}/{key}"] = value.detach()
            else:
                values.setdefault(names[id(weight)], {})[key] = value
    return {"state": values, "groups": _groups(names, optimizer)}, tensors


def load_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, saved: State, fill: Callable[[dict[str, Tensor]], object]
) -> None:
    """Load a state from `optimizer_state` into every process's optimizer over the same weights.

    Args:
        model: the model with the optimizer's weights.
        optimizer: gets the state.
        saved: the first result of `optimizer_state`, with the forms of the second under `tensors`; the same in every
            process.
        fill: writes numbers into tensors of these forms, full or in shards.

    Raises:
        CheckpointError: the state belongs to other weights, or to other groups. Any other exception of `fill` passes
            through.
    """
    weights = dict(model.named_parameters())
    own = _groups({id(weight): name for name, weight in weights.items()}, optimizer)
    numbers = {name: number for number, name in enumerate(name for each in own for name in each)}
    owners = {place: place.rpartition("/")[0] for place in saved["tensors"]}
    if own != saved["groups"] or not {*owners.values(), *saved["state"]} <= set(numbers):
        raise CheckpointError("the checkpoint's optimizer is over other weights", "begin anew in another --output")
    tensors = {place: _empty(weights[owners[place]], form) for place, form in saved["tensors"].items()}
    # Shards are filled in place. Loading a full state first would need the memory of all shards in each process.
    fill(tensors)
    state = {numbers[name]: dict(entry) for name, entry in saved["state"].items()}
    for place, tensor in tensors.items():
        state.setdefault(numbers[owners[place]], {})[place.rpartition("/")[2]] = tensor
    # Rates and options come from this run's settings, not from the checkpoint: `set_rates` sets them in each step.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def form_of(tensor: Tensor) -> Form:
    """Return the form of a tensor; for a sharded tensor, the form of the full tensor."""
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}


def _groups(names: Mapping[int, str], optimizer: torch.optim.Optimizer) -> list[list[str]]:
    return [[names[id(weight)] for weight in each["params"]] for each in optimizer.param_groups]


def _empty(weight: Tensor, form: Form) -> Tensor:
    """Return zeros for a state's tensor: in shards if the weight is sharded and the shapes agree."""
    shape, dtype = torch.Size(form["shape"]), getattr(torch, form["dtype"])
    if shape == weight.shape:
        return torch.zeros_like(weight, dtype=dtype, requires_grad=False)
    # PyTorch creates step counts on the CPU, and moves them itself for fused optimizers.
    return torch.zeros(shape, dtype=dtype, device=weight.device if shape else "cpu")
