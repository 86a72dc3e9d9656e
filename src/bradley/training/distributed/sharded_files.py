"""The tensors of an optimizer on disk: whole in one file, or in shards, in files that each process writes for itself.

Both are read by any number of processes in any mode. Shards are safetensors as `torch.distributed.checkpoint` lays them
out for Hugging Face: the header of a file says where in the whole tensor each of its shards belongs. Its planners,
writer and reader are used by themselves, because its `save` and `load` would send pickles between the processes.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...common.files import disk_errors
from ...common.text import one_line
from ...errors import CheckpointError, DiskError
from .full_tensors import Form, form_of, local
from .process_group import ProcessGroup

WHOLE, SHARDS = "optimizer.safetensors", "optimizer"
"""The file of whole tensors, and the folder of shards, in the folder of the state of a run."""
FILE_BYTES = 2**28
"""About so many bytes of shards go into one file. As it writes it, a process has up to three copies of that in host
memory: the writer makes two, and shards on a GPU are one more.
"""


def write_whole(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write whole tensors into one file. Raises `DiskError` where the disk refuses."""
    from safetensors.torch import save_file

    with disk_errors(folder / WHOLE):
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / WHOLE)


def write_shards(folder: Path, tensors: Mapping[str, Tensor], group: ProcessGroup) -> None:
    """Write what this process keeps of tensors into files of its own, in a folder that exists.

    Of a shard with copies the first process that has it writes it, and the main process what is whole everywhere. The
    writer goes past `disk.py` and syncs its files by itself, which only it can do on a disk of another machine; the
    main process syncs them once more through `disk.py`, with everything in a folder that is about to get its name.

    Raises:
        DiskError: they cannot be written.
    """
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    own = {name: tensor for name, tensor in tensors.items() if is_first(tensor, group)}
    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner(own, is_coordinator=group.is_main)
    writer = HuggingFaceStorageWriter(str(folder), file_numbers(own), save_distributed=True)
    plan = writer.prepare_global_plan([planner.create_local_plan()] * group.size)[group.rank]  # numbers them by rank
    with disk_errors(folder):
        writer.write_data(planner.finish_plan(plan), planner).wait()


def is_first(tensor: Tensor, group: ProcessGroup) -> bool:
    """Whether this is the first process of those that keep the same numbers of a tensor."""
    if not hasattr(tensor, "to_local"):
        return group.is_main
    sharded: Any = tensor
    places = zip(sharded.device_mesh.get_coordinate(), sharded.placements, strict=True)
    return all(place == 0 for place, placement in places if placement.is_replicate())


def file_numbers(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """For each tensor the number, from 1, of the file that this process writes its shard into."""
    numbers, number, size = {}, 1, 0
    for name, tensor in tensors.items():
        if size >= FILE_BYTES:
            number, size = number + 1, 0
        numbers[name] = number
        size += local(tensor).nbytes
    return numbers


def check_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise `DiskError` where the files of a folder do not hold every number of the tensors."""
    wanted = {name: form_of(tensor) for name, tensor in tensors.items()}
    try:
        if forms_in_shards(folder) != wanted:
            raise CheckpointError(f"{folder} lacks tensors")
    except CheckpointError as error:
        raise DiskError(
            f"what the processes have written is not all there: {error.message}",
            "give an --output on a disk that all machines see",
        ) from error


def forms_in_whole(path: Path) -> dict[str, Form]:
    """The form of every tensor in a file. Raises `CheckpointError` where it cannot be read."""
    from safetensors.torch import load_file

    with readable(path):
        return {name: form_of(tensor) for name, tensor in sorted(load_file(path).items())}


def forms_in_shards(folder: Path) -> dict[str, Form]:
    """The form of every tensor of which a folder holds shards.

    Raises:
        CheckpointError: they cannot be read, or leave gaps.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    with readable(folder):
        known: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
        forms = {}
        for name, found in sorted(known.items()):
            if sum(math.prod(chunk.sizes) for chunk in found.chunks) != math.prod(found.size):
                raise CheckpointError(f"{folder} lacks a part of {name}", "copy the whole run folder, or begin anew")
            forms[name] = {
                "shape": list(found.size),
                "dtype": str(found.properties.dtype).removeprefix("torch."),
            }
        return forms


def read_into(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill tensors, or what this process keeps of them, from the folder of the state of a run.

    Args:
        tensors: of the forms that the files have.

    Raises:
        CheckpointError: the files cannot be read.
    """
    from safetensors.torch import load_file

    shards = folder / SHARDS
    if shards.is_dir() or any(hasattr(tensor, "to_local") for tensor in tensors.values()):
        read_shards(shards if shards.is_dir() else folder, tensors)
        return
    with readable(folder):
        for name, tensor in load_file(folder / WHOLE).items():
            tensors[name].copy_(tensor)


def read_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill what this process keeps of tensors from the safetensors files of a folder, of which it reads that alone.

    Raises:
        CheckpointError: the files cannot be read.
    """
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    reader = HuggingFaceStorageReader(str(folder))
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    with readable(folder):
        metadata = reader.read_metadata()
        planner.set_up_planner(dict(tensors), metadata)
        reader.set_up_storage_reader(metadata, is_coordinator=False)
        reader.read_data(planner.finish_plan(planner.create_local_plan()), planner).wait()


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what readers say of files that are none of ours into a `CheckpointError`."""
    from safetensors import SafetensorError

    wrong = (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)
    try:
        yield
    except (*wrong, RecursionError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {one_line(error)}", "copy the whole run folder, or begin anew"
        ) from error
