"""A device that is far away: tensors of a CPU that count what a GPU would be asked for.

`FarDevice` is a dispatch mode. A tensor made or moved there is a `FarTensor`, computed on the CPU. The mode counts the
kernels that are started, and the reads and copies for which a host waits until the device has done all its work.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

DEVICE = torch.device("meta")
"""Device that PyTorch can name on any machine, and of which no number can be read without the mode."""
aten = torch.ops.aten
READS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.equal, aten.is_nonzero}
"""Operations whose result, or its size, the host has to know."""
FREE = {
    aten.view, aten._unsafe_view, aten.reshape, aten.t, aten.transpose, aten.permute, aten.expand, aten.slice,
    aten.select, aten.unsqueeze, aten.squeeze, aten.detach, aten.alias, aten.split, aten.split_with_sizes, aten.narrow,
    aten.unbind, aten.as_strided, aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.lift_fresh,
}  # fmt: skip
"""Operations that start no kernel."""


class FarTensor(torch.Tensor):
    """Tensor on `DEVICE`, held on the CPU as `near`."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> "FarTensor":
        return torch.Tensor._make_wrapper_subclass(
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            layout=near.layout, device=DEVICE, requires_grad=near.requires_grad,
        )  # fmt: skip

    def __init__(self, near: torch.Tensor) -> None:
        self.near = near

    def tolist(self) -> Any:
        """Values on the CPU, one read; PyTorch refuses subclasses here."""
        return self.to("cpu").tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on a far tensor outside of the mode")


class FarDevice(TorchDispatchMode):
    """Mode in which `DEVICE` can be used.

    Attributes:
        kernels: calls by operation.
        reads: names of operations on which the host waits: reads, and copies that are not told to go on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.reads: list[str] = []
        self._quiet = False

    @contextlib.contextmanager
    def one_kernel(self, name: str) -> Iterator[None]:
        """Count all that happens inside as one kernel."""
        self.kernels[name] += 1
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        far = kwargs.get("device") == DEVICE
        # A copy to the CPU names another device, and comes back near.
        back = "device" in kwargs and kwargs["device"] is not None and not far
        if far:
            kwargs["device"] = torch.device("cpu")
        seen: list[FarTensor] = []
        near_args, near_kwargs = tree_map(lambda x: _near(x, seen), (args, kwargs))
        # A copy to the device waits for the work before, unless told not to.
        waits = back if seen else far and func is aten._to_copy.default and not kwargs.get("non_blocking")
        if (seen or far) and not self._quiet:
            self._count(func, near_args, waits)
        found = func(*near_args, **near_kwargs)
        if back or not (seen or far):
            return found
        # An operation in place returns its own argument.
        owners = {id(tensor.near): tensor for tensor in seen}

        def moved(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return owners[id(value)] if id(value) in owners else FarTensor(value)

        return tree_map(moved, found)

    def _count(self, func: Any, args: Any, waits: bool) -> None:
        name = func.overloadpacket
        picks = name is aten.index and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if waits or name in READS or picks:
            self.reads.append(str(func))
        elif name not in FREE:
            self.kernels[str(name)] += 1


def _near(value: Any, seen: list[FarTensor]) -> Any:
    if isinstance(value, FarTensor):
        seen.append(value)
        return value.near
    return value


def move(module: torch.nn.Module) -> None:
    """Replace every weight and buffer by a far one; inside of the mode."""
    for part in module.modules():
        for name, weight in list(part._parameters.items()):
            if weight is not None:
                part._parameters[name] = torch.nn.Parameter(FarTensor(weight.detach()), weight.requires_grad)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = FarTensor(buffer)
