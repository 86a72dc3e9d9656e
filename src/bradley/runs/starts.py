"""Count of a run's starts since the last new checkpoint: a run crashing at every start is not started for ever."""

import json
import shlex
from pathlib import Path

from ..common.files import disk_errors, remove_file, write_new, write_text
from ..errors import CheckpointError
from .layout import RECORD, STARTS

MOST = 5
"""Most starts in a row without a new checkpoint; then a person has to look."""


def count_start(folder: Path, step: int | None) -> int:
    """Add a start to the count on disk, before anything can go wrong in this start.

    Args:
        folder: the run folder.
        step: step of the newest checkpoint; None before the first checkpoint.

    Returns:
        Number of starts in a row from the same checkpoint, with this start.

    Raises:
        CheckpointError: the number would be above `MOST`.
        DiskError: the count cannot be written.
    """
    path = folder / STARTS
    starts = _starts_at(path, step)
    if starts >= MOST:
        where = "before the first checkpoint" if step is None else f"after the checkpoint of step {step}"
        raise CheckpointError(
            f"crash loop: {folder} was started {starts} times in a row and ended {where} every time",
            f"see what ended it; to try again on purpose, type `rm {shlex.quote(str(path))}` first",
        )
    write_text(path, _count(step, starts + 1))
    return starts + 1


def forget_starts(folder: Path) -> None:
    """Set the count back to 0, after an end without a crash."""
    # Without a record, the count is the only sign that a run was begun here, and has to stay.
    if (folder / RECORD).is_file():
        remove_file(folder / STARTS)
    else:
        write_text(folder / STARTS, _count(None, 0))


def mark_begun(folder: Path) -> bool:
    """Write the first file of a run: a count of 0 starts. Return False if another run was first.

    Raises:
        DiskError: the count cannot be written.
    """
    return write_new(folder / STARTS, _count(None, 0).encode())


def _count(step: int | None, starts: int) -> str:
    return json.dumps({"step": step, "starts": starts}) + "\n"


def _starts_at(path: Path, step: int | None) -> int:
    """Return the starts counted so far from `step`; 0 without a count, or with a count from another step."""
    if not path.is_file():
        return 0
    with disk_errors(path, "read"):
        text = path.read_bytes()
    # A broken count must not read as 0: a crash in the middle of every start would then never be noticed.
    try:
        known = json.loads(text)
        return int(known["starts"]) if known["step"] == step else 0
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is broken: {error!r}", f"type `rm {shlex.quote(str(path))}`") from error
