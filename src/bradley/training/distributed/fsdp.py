"""Weights, gradients and optimizer in shards, by FSDP2: no process holds the whole of them.

shard_optimizer_and_gradients   the weights are whole from the forward to the backward pass   (ZeRO-2)
shard_all                       a layer is whole only while it is computed                    (ZeRO-3)
hybrid                          `shard_all` among a few processes, copies of that over the others
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from ...common.files import make_folder
from ...config import Config, Parallel
from ...errors import UserError
from ...model.build import Built, build_model
from ...model.choose_engine import choose_engine
from ...model.folder.weights import tensors_to_save
from ...model.reward import ScoreModel
from .consistency import check_folder, check_weights
from .ddp import InRounds
from .full_tensors import form_of, gather_tensors, spread_tensors
from .process_group import ProcessGroup, caught
from .sharded_files import SHARDS, check_shards, read_into, write_shards

MATRICES = ("Linear", "Conv1D")
"""Classes of modules whose weights autocast rounds to bfloat16 before it multiplies with them."""


class FSDP(InRounds):
    """Processes with a shard of the model each."""

    runs_alone = False

    def __init__(self, group: ProcessGroup, model: ScoreModel, settings: Parallel, device: torch.device) -> None:
        super().__init__(group, model)
        self.mode = settings.mode
        self.mesh = make_mesh(group, settings, device.type)
        shard(model, self.mesh, reshard=settings.mode != "shard_optimizer_and_gradients")

    def describe(self) -> str:
        """In words, for the screen and the record."""
        return f"{self.group.size} processes, {self.mode} (FSDP2), equal to one but for rounding"

    @property
    def order(self) -> str:
        """That of FSDP2 over so many processes."""
        return f"{self.mode} over {self.group.size}"

    def check_folder(self, folder: Path) -> None:
        """Raise `UserError` in every process where one of them does not see the folder, in which all write."""
        check_folder(self.group, folder)

    def save_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """As `Strategy.save_optimizer`; each process writes its own shards.

        Raises:
            BradleyError: the first failure of any process, the same in all of them.
        """
        shards = folder / SHARDS
        if tensors:
            self.group.on_main(lambda: make_folder(shards))
            self.group.agree(caught(write_shards, shards, tensors, self.group))
            self.group.on_main(lambda: check_shards(shards, tensors))
        return {"shards": {name: form_of(tensor) for name, tensor in tensors.items()}}

    def load_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """As `Strategy.load_optimizer`; each process reads its own part."""
        self.group.settle(caught(read_into, folder, tensors))

    def saved_weights(self) -> dict[str, Tensor] | None:
        """The whole tensors on the main process, none elsewhere."""
        return gather_tensors(tensors_to_save(self.model.network), self.group)

    def check_weights(self) -> None:
        """Raise `DivergedError` where the copies of a shard are not the same."""
        check_weights(self.group, self.model, self.mesh.get_local_rank("shard"))


def make_mesh(group: ProcessGroup, settings: Parallel, device: str) -> DeviceMesh:
    """The processes in a row, or for `hybrid` as copies of a model by shards of it.

    Raises:
        UserError: processes that do not divide into whole copies.
    """
    if settings.mode != "hybrid":
        return init_device_mesh(device, (group.size,), mesh_dim_names=("shard",))
    one = settings.processes_per_copy or group.process.local_size
    if group.size % one:
        raise UserError(
            f"parallel.mode = hybrid: {group.size} processes do not divide into copies over {one} each",
            "set parallel.processes_per_copy to a divisor of the number of processes",
        )
    return init_device_mesh(device, (group.size // one, one), mesh_dim_names=("copy", "shard"))


def shard(model: ScoreModel, mesh: DeviceMesh, *, reshard: bool) -> None:
    """Cut a model into shards in place: each layer by itself; embedding, last norm and head together, in float32.

    With bfloat16 arithmetic the weights of matrix products travel in bfloat16, to which autocast would round them
    anyway, and everything else in float32. So scores are, but for the order of sums, those of the whole model.

    Args:
        reshard: whether a layer gives up its whole weights after the forward pass.
    """
    rounded = MixedPrecisionPolicy(
        param_dtype=None if model.compute == torch.float32 else model.compute,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # autocast knows what to round
    )
    for layer in layers(model.network):
        if model.compute != torch.float32:
            for module in exact_modules(layer):
                fully_shard(module, mesh=mesh, reshard_after_forward=reshard)
        fully_shard(layer, mesh=mesh, reshard_after_forward=reshard, mp_policy=rounded)
    fully_shard(model, mesh=mesh, reshard_after_forward=reshard)
    for unit in sharded(model):
        unit.set_gradient_divide_factor(1.0)  # the loss is divided by the totals of the whole step
        unit.set_force_sum_reduction_for_comms(True)
    model.register_forward_hook(_rest)


def sharded(model: nn.Module) -> Iterator[FSDPModule]:
    """The modules that FSDP2 cuts by themselves."""
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def layers(network: Any) -> list[nn.Module]:
    """The layers of a backbone: what transformers says may not be torn apart, else the longest list of modules.

    Raises:
        UserError: a network without layers.
    """
    names = set(getattr(network, "_no_split_modules", None) or ())
    found = [module for module in network.base_model.modules() if type(module).__name__ in names]
    lists = [list(module) for module in network.base_model.modules() if isinstance(module, nn.ModuleList)]
    found = found or max(lists, key=len, default=[])
    if not found:
        raise UserError(
            f"a {network.config.model_type} has no layers that could be cut into shards",
            "use --parallel.mode replicate",
        )
    return found


def exact_modules(layer: nn.Module) -> Iterator[nn.Module]:
    """The modules inside a layer with weights of their own that no matrix product takes, norms above all."""
    for module in layer.modules():
        own = next(module.parameters(recurse=False), None) is not None
        if own and module is not layer and type(module).__name__ not in MATRICES:
            yield module


def _rest(model: nn.Module, _inputs: Any, _scores: Any) -> None:
    """Give up whole weights where no backward pass will do so."""
    if not torch.is_grad_enabled():
        for module in sharded(model):
            module.reshard()


CPU, META = torch.device("cpu"), torch.device("meta")


def build_in_shards(group: ProcessGroup, config: Config, tokenizer: Any, device: torch.device) -> tuple[Built, FSDP]:
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
    strategy = FSDP(group, built.model, config.parallel, device)
    if not made:
        built.model.to_empty(device=device)
    spread_tensors(tensors_of(built.model), whole, group)
    return built._replace(engine=choose_engine(built.model, settings.engine, limit)), strategy


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer, those that no file holds too."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in named}
