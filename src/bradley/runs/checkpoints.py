"""Names in the folder `checkpoints/` of a run, without reading a tensor."""

import re
from pathlib import Path

from ..common.files import OLD
from .layout import INDEX

BAD = ".bad-"


def leftovers(folder: Path) -> bool:
    """Whether a folder of checkpoints holds any, whole or not, or the index of some."""
    return any(any(folder.glob(name)) for name in ("step-*", f"{BAD}step-*", f"{OLD}step-*", INDEX))


def steps_in(folder: Path) -> list[int]:
    """The steps of a folder of checkpoints by their names, in order, whole or not."""
    names = (re.fullmatch(r"step-(\d{6,})", path.name) for path in folder.glob("step-*"))
    return sorted(int(name[1]) for name in names if name)
