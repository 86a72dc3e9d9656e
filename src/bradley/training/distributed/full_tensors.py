"""Whole tensors from shards and back: what a checkpoint holds does not depend on who wrote it.

Tensors go one by one, so that no process holds more of the others' shards than one of them; only the main process keeps
all, on the CPU.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...errors import CheckpointError
from .process_group import ProcessGroup

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes of a number, the integers that its bits are read as."""
State = dict[str, Any]
"""An optimizer's state by weight: `state` of each, and the weights of each of its `groups`."""
Form = dict[str, Any]
"""`shape` and `dtype` of a tensor, as values of JSON."""


def local(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor."""
    kept: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return kept


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor in full, in every process; all of them have to ask."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def bit_sum(tensor: Tensor) -> Tensor:
    """The sum of the bit patterns of a tensor: one changed number changes it, but for a coincidence of several."""
    kept = tensor.detach().contiguous()
    return kept.view(INTEGERS[kept.element_size()]).sum(dtype=torch.int64)


def cut_like(value: Tensor, like: Any) -> Tensor:
    """A whole tensor, which every process has, in shards where `like` is."""
    if not hasattr(like, "to_local"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def assign(target: Tensor, value: Tensor) -> None:
    """Write a whole tensor, which every process has, into what this process keeps of it."""
    with torch.no_grad():
        local(target).copy_(local(cut_like(value, target)))


def gather_tensors(tensors: Mapping[str, Tensor], group: ProcessGroup) -> dict[str, Tensor]:
    """Tensors in full on the CPU of the main process, and nothing elsewhere."""
    found = {}
    for name, tensor in tensors.items():
        full = full_tensor(tensor).detach()
        if group.is_main:
            found[name] = full.cpu()
    return found


def spread(value: Tensor | None, like: Tensor, group: ProcessGroup) -> Tensor:
    """The main process's tensor in every process, where it is given as None.

    Args:
        like: of its shape, dtype and device.
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
    """Write whole tensors into those of every process; only the main one is given them."""
    for name, target in tensors.items():
        assign(target, spread(given[name] if group.is_main else None, target, group))


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[State, dict[str, Tensor]]:
    """An optimizer's state under the names of the weights, as this process keeps it.

    Returns:
        What is no tensor, the same in every process: `state`, weight -> its values, and `groups`, the names of the
        weights of each group; and the tensors, not copies, as `weight/key`.
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
    """Give the optimizer of every process a state that `optimizer_state` took from one over the same weights.

    Args:
        saved: what that has returned first, and under `tensors` the forms of the second; the same in every process.
        fill: writes the numbers into tensors of these forms, or into what this process keeps of them.

    Raises:
        CheckpointError: it is over other weights, or they are grouped otherwise. Any other exception of `fill` passes.
    """
    weights = dict(model.named_parameters())
    own = _groups({id(weight): name for name, weight in weights.items()}, optimizer)
    numbers = {name: number for number, name in enumerate(name for each in own for name in each)}
    owners = {place: place.rpartition("/")[0] for place in saved["tensors"]}
    if own != saved["groups"] or not {*owners.values(), *saved["state"]} <= set(numbers):
        raise CheckpointError("the checkpoint's optimizer is over other weights", "begin anew in another --output")
    tensors = {place: _empty(weights[owners[place]], form) for place, form in saved["tensors"].items()}
    fill(tensors)
    state = {numbers[name]: dict(entry) for name, entry in saved["state"].items()}
    for place, tensor in tensors.items():
        state.setdefault(numbers[owners[place]], {})[place.rpartition("/")[2]] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def form_of(tensor: Tensor) -> Form:
    """The form of a tensor, whole where it is in shards."""
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}


def _groups(names: Mapping[int, str], optimizer: torch.optim.Optimizer) -> list[list[str]]:
    return [[names[id(weight)] for weight in each["params"]] for each in optimizer.param_groups]


def _empty(weight: Tensor, form: Form) -> Tensor:
    """A tensor of the state of a weight, in shards where the weight is and the tensor has its shape."""
    shape, dtype = torch.Size(form["shape"]), getattr(torch, form["dtype"])
    if shape == weight.shape:
        return torch.zeros_like(weight, dtype=dtype, requires_grad=False)
    return torch.zeros(shape, dtype=dtype, device=weight.device if shape else "cpu")
