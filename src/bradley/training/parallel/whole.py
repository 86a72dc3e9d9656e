"""Whole tensors from shards and back: what a checkpoint holds does not depend on who wrote it.

Tensors go one by one, so that no process holds more of the others' shards than one of them; only the main process keeps
all, on the CPU.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...errors import CheckpointError
from .group import Group

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes of a number, the integers that its bits are read as."""
State = dict[str, Any]
"""An optimizer's state by weight: `state` of each, and the weights of each of its `groups`."""


def local(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor."""
    kept: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return kept


def whole(tensor: Tensor) -> Tensor:
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


def gather_tensors(tensors: Mapping[str, Tensor], group: Group) -> dict[str, Tensor]:
    """Tensors in full on the CPU of the main process, and nothing elsewhere."""
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor).detach()
        if group.is_main:
            found[name] = full.cpu()
    return found


def spread(value: Tensor | None, like: Tensor, group: Group) -> Tensor:
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


def spread_tensors(tensors: Mapping[str, Tensor], given: Mapping[str, Tensor], group: Group) -> None:
    """Write whole tensors into those of every process; only the main one is given them."""
    for name, target in tensors.items():
        assign(target, spread(given[name] if group.is_main else None, target, group))


def gather_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, group: Group) -> State:
    """An optimizer's state under the names of the weights, in full on the main process; elsewhere without tensors.

    Returns:
        `state`: weight -> its values; `groups`: the names of the weights of each group.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    state: dict[str, dict[str, Any]] = {}
    for weight, values in optimizer.state.items():
        tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
        others = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
        state[names[id(weight)]] = {**gather_tensors(tensors, group), **others}
    return {"state": state, "groups": [[names[id(w)] for w in each["params"]] for each in optimizer.param_groups]}


def spread_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, saved: State, group: Group) -> None:
    """Give the optimizer of every process the state that `gather_optimizer` took from one over the same weights.

    Args:
        saved: on the main process; whatever it is elsewhere does not matter.

    Raises:
        CheckpointError: it is over other weights, or they are grouped otherwise.
    """
    weights = dict(model.named_parameters())
    names = {id(weight): name for name, weight in weights.items()}
    own = [[names[id(weight)] for weight in each["params"]] for each in optimizer.param_groups]
    outline = group.gather(_outline(saved) if group.is_main else None)[0]
    if own != outline["groups"]:
        raise CheckpointError("the checkpoint's optimizer is over other weights", "begin anew in another --output")
    numbers = {name: number for number, name in enumerate(name for each in own for name in each)}
    state = {}
    for name, values in outline["state"].items():
        given = saved["state"][name] if group.is_main else {}
        state[numbers[name]] = {key: _value(weights[name], form, given.get(key), group) for key, form in values.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _outline(saved: State) -> State:
    """A state with the shape of each tensor, `{"shape", "dtype"}`, in its place, and `{"value"}` for what is none."""
    return {
        "groups": saved["groups"],
        "state": {
            name: {
                key: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
                if isinstance(value, Tensor)
                else {"value": value}
                for key, value in values.items()
            }
            for name, values in saved["state"].items()
        },
    }


def _value(weight: Tensor, form: Mapping[str, Any], given: Any, group: Group) -> Any:
    """One value of the state of a weight, in shards where the weight is and the value has its shape."""
    if "value" in form:
        return form["value"]
    like = torch.empty(form["shape"], dtype=getattr(torch, form["dtype"]), device=weight.device)
    full = spread(given, like, group)
    return cut_like(full, weight) if full.shape == weight.shape else full
