"""Whether all processes are of one run: the same settings, code, data and folder, and the same weights at every
checkpoint.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import DivergedError, UserError
from ...files import TEMPORARY, remove_file, write_text
from .group import Group
from .whole import bit_sum, local

SOURCE = Path(__file__).parents[2]
SHOWN = 3


def code_hash() -> str:
    """SHA-256 of the code of this package."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*.py")):
        digest.update(f"{path.relative_to(SOURCE)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_same(group: Group, facts: Mapping[str, Any]) -> None:
    """Raise `UserError` in every process if one of them has other facts, values of JSON, than the main one."""
    everywhere = group.gather(facts)
    for rank, other in enumerate(everywhere):
        names = [name for name, value in everywhere[0].items() if other.get(name) != value]
        if names:
            raise UserError(
                f"process {rank} of {group.size} has another {names[0]} than process 0",
                "start the same command with the same files and the same bradley on every machine",
            )


def check_folder(group: Group, folder: Path) -> None:
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


def check_weights(group: Group, model: nn.Module, part: int = 0) -> None:
    """Raise `DivergedError` in every process if a weight is not the same wherever it is kept.

    Args:
        part: which shard of the weights this process keeps; only processes with the same one are compared.
    """
    if group.size == 1:
        return
    weights = dict(model.named_parameters())
    sums = torch.stack([bit_sum(local(weight)) for weight in weights.values()]).tolist()
    rows = group.gather([part, sums])
    for rank, (own, found) in enumerate(rows):
        alike = Counter(tuple(other) for place, other in rows if place == own)
        most = max(alike, key=lambda kept: alike[kept])  # of equally many, what the first of them has
        if tuple(found) != most:
            names = [name for name, one, other in zip(weights, found, most, strict=True) if one != other]
            raise DivergedError(
                f"weights of process {rank} of {group.size} are not those of the others: {', '.join(names[:SHOWN])}"
                + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""),
                "a fault of memory or of a device: look at its machine, then go on with --resume",
            )
