"""Check that all processes belong to the same run: settings, code, data and folder at the start, weights at every
checkpoint."""

import functools
import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...common.files import TEMPORARY, remove_file, write_text
from ...common.text import and_more
from ...errors import DivergedError, UserError
from .full_tensors import bit_sum, local
from .process_group import ProcessGroup

SOURCE = Path(__file__).parents[2]
"""Folder of this package's code."""
SHOWN = 3
"""Names in a message, at most."""


def check_same(group: ProcessGroup, facts: Mapping[str, Any]) -> None:
    """Compare this process's facts with the facts of the other processes.

    Args:
        group: the processes; all must call.
        facts: JSON values by name.

    Raises:
        UserError: in every process, if the facts of a process differ from the facts of process 0.
    """
    everywhere = group.gather(facts)
    for rank, other in enumerate(everywhere):
        names = [name for name, value in everywhere[0].items() if other.get(name) != value]
        if names:
            raise UserError(
                f"process {rank} of {group.size} has another {names[0]} than process 0",
                "start the same command with the same files and the same bradley on every machine",
            )


def check_folder(group: ProcessGroup, folder: Path) -> None:
    """Check that every process sees files written by the main process into a folder.

    Raises:
        UserError: in every process, if a process does not see the folder's files.
    """
    # A random name tells this run's folder from an equal path on another machine's own disk.
    mark: Path = folder / group.from_main(lambda: f"{TEMPORARY}{secrets.token_hex(8)}")
    group.on_main(lambda: write_text(mark, ""))
    blind = [rank for rank, seen in enumerate(group.gather(mark.is_file())) if not seen]
    group.on_main(lambda: remove_file(mark))
    if blind:
        raise UserError(
            f"process {blind[0]} of {group.size} does not see the run folder {folder}, in which all have to write",
            "give an --output on a disk that all machines see, or use --parallel.mode replicate",
        )


def check_weights(group: ProcessGroup, model: nn.Module, part: int = 0) -> None:
    """Compare every weight between the processes holding the same shard.

    Args:
        group: the processes; all must call.
        model: the model, whole or in shards.
        part: number of this process's shard; only processes with the same number are compared.

    Raises:
        DivergedError: in every process, if copies of a weight differ.
    """
    if group.size == 1:
        return
    weights = dict(model.named_parameters())
    # Bit sums are compared, not floats: a flipped low bit counts, and the exchange takes an integer per weight.
    sums = torch.stack([bit_sum(local(weight)) for weight in weights.values()]).tolist()
    rows = group.gather([part, sums])
    found = []
    for shard in sorted({own for own, _ in rows}):
        copies = {rank: each for rank, (own, each) in enumerate(rows) if own == shard}
        found += _apart(list(weights), copies, group.size)
    if found:
        hint = "a fault of memory or of a device: look at its machine, then go on with --resume"
        raise DivergedError("; ".join(found), hint)


@functools.cache
def code_hash() -> str:
    """Return the SHA-256 of this package's code at the first call."""
    # Cached: an upgrade during the run changes the files on disk, but not the code in memory.
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*.py")):
        digest.update(f"{path.relative_to(SOURCE)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _apart(names: list[str], copies: Mapping[int, list[int]], size: int) -> list[str]:
    """Describe the processes whose weights differ from the majority's; without a majority, all processes.

    Args:
        names: of the weights.
        copies: by process, the bit sum of each weight.
        size: number of processes in the run.
    """
    (most, count), *others = Counter(map(tuple, copies.values())).most_common()
    if not others:
        return []
    # With two copies, or without a majority, nothing tells the right copy from the wrong copy.
    known = 2 * count > len(copies)
    ranks = [str(rank) for rank, sums in copies.items() if not known or tuple(sums) != most]
    who = f"process {ranks[0]}" if len(ranks) == 1 else f"processes {', '.join(ranks[:-1])} and {ranks[-1]}"
    what = "are not those of the others" if known else "differ, and no majority tells which of them are right"
    differ = [name for name, *sums in zip(names, *copies.values(), strict=True) if len(set(sums)) > 1]
    return [f"weights of {who} of {size} {what}: {and_more(differ, SHOWN)}"]
