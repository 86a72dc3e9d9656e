"""FSDP2: weights, gradients and optimizer in shards; no process holds a full model.

shard_optimizer_and_gradients   full weights from the forward to the backward pass      (as ZeRO-2)
shard_all                       a layer in full only while computed                     (as ZeRO-3)
hybrid                          `shard_all` among a few processes, copies over the others
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

CPU, META = torch.device("cpu"), torch.device("meta")
MATRICES = ("Linear", "Conv1D")
"""Classes of modules whose weights autocast rounds to bfloat16 before a matrix product."""


class FSDP(InRounds):
    """Processes with a shard of the model each.

    Args:
        group: the processes.
        model: in training mode, on the plain engine; cut into shards in place.
        settings: section `parallel` of the configuration.
        device: of the shards.

    Attributes:
        mode: `parallel.mode`.
        mesh: layout of the processes, see `make_mesh`.
    """

    runs_alone = False

    def __init__(self, group: ProcessGroup, model: ScoreModel, settings: Parallel, device: torch.device) -> None:
        super().__init__(group, model)
        self.mode = settings.mode
        self.mesh = make_mesh(group, settings, device.type)
        shard(model, self.mesh, reshard=settings.mode != "shard_optimizer_and_gradients")

    def describe(self) -> str:
        """Return the strategy in words, for the screen and the run record."""
        return f"{self.group.size} processes, {self.mode} (FSDP2), equal to one but for rounding"

    @property
    def order(self) -> str:
        """Order of the gradient sum: FSDP2's, in this mode, over this number of processes."""
        return f"{self.mode} over {self.group.size}"

    def check_folder(self, folder: Path) -> None:
        """Check that every process sees the run folder, because every process writes shards into the folder.

        Raises:
            UserError: in every process, if a process does not see the folder.
        """
        check_folder(self.group, folder)

    def save_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Write as `Strategy.save_optimizer` does; each process writes its shards.

        Raises:
            BradleyError: the worst failure of any process, of the same class in all processes.
        """
        # Gathering the shards first would need memory for the whole optimizer on a single process. With 252 million
        # weights on 4 processes, shards took a quarter of the memory and half of the time.
        shards = folder / SHARDS
        if tensors:
            self.group.on_main(lambda: make_folder(shards))
            # `agree`, not `settle`: a full disk is met by all processes alike, and all may then try again.
            self.group.agree(caught(write_shards, shards, tensors, self.group))
            # Paths may lead to different disks on different machines. The main process checks that every shard arrived.
            self.group.on_main(lambda: check_shards(shards, tensors))
        return {"shards": {name: form_of(tensor) for name, tensor in tensors.items()}}

    def load_optimizer(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """Fill as `Strategy.load_optimizer` does; each process reads only its part."""
        self.group.settle(caught(read_into, folder, tensors))

    def saved_weights(self) -> dict[str, Tensor] | None:
        """Return the full tensors on the main process, and an empty dict elsewhere; all processes must call."""
        return gather_tensors(tensors_to_save(self.model.network), self.group)

    def check_weights(self) -> None:
        """Compare the copies of each shard; only the mode `hybrid` has copies.

        Raises:
            DivergedError: in every process, if copies of a shard differ.
        """
        check_weights(self.group, self.model, self.mesh.get_local_rank("shard"))


def build_in_shards(group: ProcessGroup, config: Config, tokenizer: Any, device: torch.device) -> tuple[Built, FSDP]:
    """Build the model of a run in shards on `device`.

    The main process builds the model on the CPU, the others on `meta`, without numbers. Each weight is then broadcast
    and cut into shards.

    Args:
        group: the processes; all must call.
        config: of the run.
        tokenizer: for the size of the vocabulary and the pad token.
        device: of the shards.

    Raises:
        BradleyError: as for `build_model`.
    """
    # The processes of a machine share the host memory, which may not hold a full model for each process.
    made: list[Built] = []
    settings, limit = config.model, config.render.max_tokens
    build = functools.partial(build_model, settings, tokenizer, config.seed, device, limit)
    group.on_main(lambda: made.append(build(place=CPU)))
    built = made[0] if made else build(place=META)
    # On a CPU the main process has tried an engine already; processes without numbers cannot. All start from `plain`,
    # and choose together at the end, with real weights.
    built.model.use("plain")
    whole = tensors_of(built.model) if made else {}
    strategy = FSDP(group, built.model, config.parallel, device)
    if not made:
        built.model.to_empty(device=device)
    spread_tensors(tensors_of(built.model), whole, group)
    return built._replace(engine=choose_engine(built.model, settings.engine, limit)), strategy


def make_mesh(group: ProcessGroup, settings: Parallel, device: str) -> DeviceMesh:
    """Arrange the processes in a row, or for `hybrid` as a grid: copies of the model by shards of a copy.

    Raises:
        UserError: the processes do not divide into whole copies.
    """
    if settings.mode != "hybrid":
        return init_device_mesh(device, (group.size,), mesh_dim_names=("shard",))
    # By default a copy per machine: the exchange of weights then stays inside the machine.
    per_copy = settings.processes_per_copy or group.process.local_size
    if group.size % per_copy:
        raise UserError(
            f"parallel.mode = hybrid: {group.size} processes do not divide into copies over {per_copy} each",
            "set parallel.processes_per_copy to a divisor of the number of processes",
        )
    return init_device_mesh(device, (group.size // per_copy, per_copy), mesh_dim_names=("copy", "shard"))


def shard(model: ScoreModel, mesh: DeviceMesh, *, reshard: bool) -> None:
    """Cut a model into shards in place: each layer separately; embedding, last norm and head together, in float32.

    With bfloat16 compute, the weights of matrix products travel in bfloat16, and all other weights in float32. Autocast
    would round the former to bfloat16 anyway. Scores therefore equal the scores of the full model, apart from the order
    of sums.

    Args:
        model: the model; full weights become shards.
        mesh: from `make_mesh`.
        reshard: True if a layer frees the full weights after the forward pass.
    """
    # Gradients are reduced in float32 even if weights travel in bfloat16: a bfloat16 sum keeps 8 bits.
    rounded = MixedPrecisionPolicy(
        param_dtype=None if model.compute == torch.float32 else model.compute,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # autocast chooses the dtype of each operation
    )
    for layer in layers(model.network):
        # Autocast leaves the weights of norms in float32. FSDP2 would round norms together with their layer, hence each
        # norm is a separate unit.
        if model.compute != torch.float32:
            for module in exact_modules(layer):
                fully_shard(module, mesh=mesh, reshard_after_forward=reshard)
        fully_shard(layer, mesh=mesh, reshard_after_forward=reshard, mp_policy=rounded)
    fully_shard(model, mesh=mesh, reshard_after_forward=reshard)
    for unit in sharded(model):
        # FSDP2 would return the mean over processes. The loss is divided by the totals of the whole step already.
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    model.register_forward_hook(_rest)


def sharded(model: nn.Module) -> Iterator[FSDPModule]:
    """Iterate over the units of FSDP2: modules sharded separately."""
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def layers(network: Any) -> list[nn.Module]:
    """Return the layers of a backbone: the indivisible modules according to transformers, else the longest module list.

    Raises:
        UserError: the network has no layers.
    """
    # `_no_split_modules` is private and missing in some architectures; the longest `ModuleList` is the stack of layers
    # there.
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
    """Yield the modules inside a layer with direct weights outside matrix products, mostly norms."""
    for module in layer.modules():
        own = next(module.parameters(recurse=False), None) is not None
        if own and module is not layer and type(module).__name__ not in MATRICES:
            yield module


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights and buffers by name, including buffers kept out of files."""
    # Buffers such as rotary angles are in no checkpoint, and a model built on `meta` has no values for them.
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in named}


def _rest(model: nn.Module, _inputs: Any, _scores: Any) -> None:
    """Free full weights after a forward pass without gradients."""
    # With `reshard=False` only a backward pass frees full weights, and evaluation has none. Full weights would stay in
    # memory, and in the place of the shards, where optimizer and checkpoints look for shards.
    if not torch.is_grad_enabled():
        for module in sharded(model):
            module.reshard()
