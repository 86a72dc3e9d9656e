"""Whether all processes are of one run: the same settings, code, data and folder, and the same weights at every
checkpoint.
"""

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
from ...errors import DivergedError, UserError
from .full_tensors import bit_sum, local
from .process_group import ProcessGroup

SOURCE = Path(__file__).parents[2]
SHOWN = 3


@functools.cache
def code_hash() -> str:
    """SHA-256 of the code of this package, as it was when it was first asked for."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*.py")):
        digest.update(f"{path.relative_to(SOURCE)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_same(group: ProcessGroup, facts: Mapping[str, Any]) -> None:
    """Raise `UserError` in every process if one of them has other facts, values of JSON, than the main one."""
    everywhere = group.gather(facts)
    for rank, other in enumerate(everywhere):
        names = [name for name, value in everywhere[0].items() if other.get(name) != value]
        if names:
            raise UserError(
                f"process {rank} of {group.size} has another {names[0]} than process 0",
                "start the same command with the same files and the same bradley on every machine",
            )


def check_folder(group: ProcessGroup, folder: Path) -> None:
    """Raise `UserError` in every process if one of them does not see what the main one writes into a folder."""
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
    """Raise `DivergedError` in every process if a weight is not the same wherever it is kept.

    Args:
        part: which shard of the weights this process keeps; only processes with the same one are compared.
    """
    if group.size == 1:
        return
    weights = dict(model.named_parameters())
    sums = torch.stack([bit_sum(local(weight)) for weight in weights.values()]).tolist()
    rows = group.gather([part, sums])
    found = []
    for one in sorted({own for own, _ in rows}):
        found += _apart(list(weights), {rank: each for rank, (own, each) in enumerate(rows) if own == one}, group.size)
    if found:
        hint = "a fault of memory or of a device: look at its machine, then go on with --resume"
        raise DivergedError("; ".join(found), hint)


def _apart(names: list[str], copies: Mapping[int, list[int]], size: int) -> list[str]:
    """Which processes have other weights than most that keep the same ones; where these are no majority, all of them.

    Args:
        copies: by process, the bit sum of each weight.
    """
    (most, count), *others = Counter(map(tuple, copies.values())).most_common()
    if not others:
        return []
    known = 2 * count > len(copies)
    ranks = [str(rank) for rank, sums in copies.items() if not known or tuple(sums) != most]
    who = f"process {ranks[0]}" if len(ranks) == 1 else f"processes {', '.join(ranks[:-1])} and {ranks[-1]}"
    what = "are not those of the others" if known else "differ, and no majority tells which of them are right"
    differ = [name for name, *sums in zip(names, *copies.values(), strict=True) if len(set(sums)) > 1]
    more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
    return [f"weights of {who} of {size} {what}: {', '.join(differ[:SHOWN])}{more}"]
