"""How often a run was started at the same place: one that ends there every time is not started for ever."""

import json
import shlex
from pathlib import Path

from ..common.files import disk_errors, remove_file, write_text
from ..errors import CheckpointError
from .layout import STARTS

MOST = 5
"""Starts in a row without a new checkpoint, after which a person has to look."""


def count_start(folder: Path, step: int | None) -> int:
    """Count one more start of a run, on disk before anything can go wrong in it.

    Args:
        step: of the checkpoint from which it goes on; None where there is none yet.

    Returns:
        How many starts in a row began there, this one included.

    Raises:
        CheckpointError: this would be more than `MOST`.
        DiskError: it cannot be written down.
    """
    path = folder / STARTS
    starts = _starts_at(path, step)
    if starts >= MOST:
        where = "before the first checkpoint" if step is None else f"after the checkpoint of step {step}"
        raise CheckpointError(
            f"crash loop: {folder} was started {starts} times in a row and ended {where} every time",
            f"see what ended it; to try again on purpose, type `rm {shlex.quote(str(path))}` first",
        )
    write_text(path, json.dumps({"step": step, "starts": starts + 1}) + "\n")
    return starts + 1


def forget_starts(folder: Path) -> None:
    """Start counting anew, after an end that was no crash."""
    remove_file(folder / STARTS)


def _starts_at(path: Path, step: int | None) -> int:
    """Starts counted so far at `step`; 0 where the count is of another step, or of none."""
    if not path.is_file():
        return 0
    with disk_errors(path, "read"):
        text = path.read_bytes()
    try:
        known = json.loads(text)
        return int(known["starts"]) if known["step"] == step else 0
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is broken: {error!r}", f"type `rm {shlex.quote(str(path))}`") from error
