"""Optimizer tensors on disk: full tensors in a single file, or shards in separate files of each process.

Any number of processes in any mode can read both layouts. Shards are safetensors in the layout of
`torch.distributed.checkpoint` (DCP) for Hugging Face: the header of a file gives the place of each shard in the full
tensor. DCP's planners, writer and reader are called directly. DCP's `save` and `load` would send pickles between the
processes.
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
"""File of full tensors, and folder of shards, inside the folder of a run's state."""
FILE_BYTES = 2**28
"""Approximate bytes of shards in a file.

While writing, a process holds up to three copies of a file in host memory: two made by the writer, and another for
shards on a GPU.
"""


def write_whole(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write full tensors into a single file.

    Raises:
        DiskError: the file cannot be written.
    """
    from safetensors.torch import save_file

    with disk_errors(folder / WHOLE):
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / WHOLE)


def write_shards(folder: Path, tensors: Mapping[str, Tensor], group: ProcessGroup) -> None:
    """Write this process's shards into separate files of an existing folder.

    A shard with copies is written by the first process holding the shard. Unsharded tensors, equal everywhere, are
    written by the main process.

    DCP's writer bypasses `disk.py` and syncs the files directly: only the writing process can sync a file on another
    machine's disk. The main process syncs the files again through `disk.py`, with all files of the draft, before the
    draft gets the final name.

    Args:
        folder: the folder `SHARDS`.
        tensors: all tensors of the optimizer, by name.
        group: the processes; all must call.

    Raises:
        DiskError: the files cannot be written.
    """
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    own = {name: tensor for name, tensor in tensors.items() if is_first(tensor, group)}
    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner(own, is_coordinator=group.is_main)
    writer = HuggingFaceStorageWriter(str(folder), file_numbers(own), save_distributed=True)
    # DCP numbers the files by the position of a plan in this list. Plans of other processes are not needed, so the list
    # repeats this process's plan, and no exchange of plans takes place.
    plan = writer.prepare_global_plan([planner.create_local_plan()] * group.size)[group.rank]
    with disk_errors(folder):
        writer.write_data(planner.finish_plan(plan), planner).wait()


def check_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that the files of a folder hold every number of the tensors.

    Raises:
        DiskError: tensors, or parts of tensors, are missing.
    """
    wanted = {name: form_of(tensor) for name, tensor in tensors.items()}
    try:
        if forms_in_shards(folder) != wanted:
            raise CheckpointError(f"{folder} lacks tensors")
    except CheckpointError as error:
        raise DiskError(
            f"what the processes have written is not all there: {error.message}",
            "give an --output on a disk that all machines see",
        ) from error


def read_into(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill tensors, full or in shards, from the folder of a run's state.

    Args:
        folder: holds `WHOLE` or `SHARDS`.
        tensors: targets by name, with the forms of the tensors in the files.

    Raises:
        CheckpointError: the files cannot be read.
    """
    from safetensors.torch import load_file

    # DCP also reads slices of a file of full tensors, so shards are filled from both layouts.
    shards = folder / SHARDS
    if shards.is_dir() or any(hasattr(tensor, "to_local") for tensor in tensors.values()):
        read_shards(shards if shards.is_dir() else folder, tensors)
        return
    with readable(folder):
        for name, tensor in load_file(folder / WHOLE).items():
            tensors[name].copy_(tensor)


def read_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill this process's parts of tensors from the safetensors files of a folder, reading no other parts.

    Raises:
        CheckpointError: the files cannot be read.
    """
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    reader = HuggingFaceStorageReader(str(folder))
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    with readable(folder):
        metadata = reader.read_metadata()
        # Every process plans locally, as a coordinator of nobody: DCP's `load` would exchange pickled plans.
        planner.set_up_planner(dict(tensors), metadata)
        reader.set_up_storage_reader(metadata, is_coordinator=False)
        reader.read_data(planner.finish_plan(planner.create_local_plan()), planner).wait()


def forms_in_whole(path: Path) -> dict[str, Form]:
    """Return the form of every tensor in a file of full tensors.

    Raises:
        CheckpointError: the file cannot be read.
    """
    from safetensors.torch import load_file

    with readable(path):
        return {name: form_of(tensor) for name, tensor in sorted(load_file(path).items())}


def forms_in_shards(folder: Path) -> dict[str, Form]:
    """Return the form of every tensor with shards in a folder.

    Raises:
        CheckpointError: the shards cannot be read, or leave gaps.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    with readable(folder):
        known: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
        forms = {}
        for name, found in sorted(known.items()):
            # DCP does not notice a missing shard: the numbers in the gap would stay as they were.
            if sum(math.prod(chunk.sizes) for chunk in found.chunks) != math.prod(found.size):
                raise CheckpointError(f"{folder} lacks a part of {name}", "copy the whole run folder, or begin anew")
            forms[name] = {
                "shape": list(found.size),
                "dtype": str(found.properties.dtype).removeprefix("torch."),
            }
        return forms


def is_first(tensor: Tensor, group: ProcessGroup) -> bool:
    """Return True in the first of the processes holding the same numbers of a tensor."""
    if not hasattr(tensor, "to_local"):
        return group.is_main
    sharded: Any = tensor
    places = zip(sharded.device_mesh.get_coordinate(), sharded.placements, strict=True)
    return all(place == 0 for place, placement in places if placement.is_replicate())


def file_numbers(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Assign each tensor's shard to a file of this process, numbered from 1."""
    # Small files bound the memory of the writer, which copies a whole file before writing.
    numbers, number, size = {}, 1, 0
    for name, tensor in tensors.items():
        if size >= FILE_BYTES:
            number, size = number + 1, 0
        numbers[name] = number
        size += local(tensor).nbytes
    return numbers


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn a reader's errors about damaged or unknown files into a `CheckpointError`."""
    from safetensors import SafetensorError

    # Headers are parsed without checks by the readers: damaged headers raise errors of many classes, even
    # `RecursionError` for deeply nested JSON.
    wrong = (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)
    try:
        yield
    except (*wrong, RecursionError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {one_line(error)}", "copy the whole run folder, or begin anew"
        ) from error
