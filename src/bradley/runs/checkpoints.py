"""Names in the folder `checkpoints/` of a run, read without opening a tensor."""

import re
from pathlib import Path

from ..common.files import OLD
from ..common.ownership import is_ours
from .layout import CHECKPOINT_MARK, INDEX

BAD = ".bad-"
"""Prefix in the name of a damaged checkpoint, or of an unusable `model/`."""


def leftovers(folder: Path) -> bool:
    """Return True if a folder of checkpoints holds a checkpoint, whole or not, or an index."""
    # Damaged checkpoints count, too: a run that has reached a checkpoint must never begin again at step 0.
    return any(any(folder.glob(name)) for name in ("step-*", f"{BAD}step-*", f"{OLD}step-*", INDEX))


def holds_ours(folder: Path) -> bool:
    """Return True if a folder holds a checkpoint of ours, known by the manifest; other trainers use the same names."""
    names = ("step-*", f"{BAD}step-*", f"{OLD}step-*")
    return any(is_ours(path, (CHECKPOINT_MARK,)) for name in names for path in folder.glob(name))


def steps_in(folder: Path) -> list[int]:
    """Return the steps of a folder of checkpoints in ascending order, by name only; the content is not checked."""
    # From step 1,000,000 on, names have seven digits, and the order of names is no longer the order of steps.
    names = (re.fullmatch(r"step-(\d{6,})", path.name) for path in folder.glob("step-*"))
    return sorted(int(name[1]) for name in names if name)
