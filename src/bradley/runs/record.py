"""Record of a run, `run.json`: the identity of the run, and the first step of every start."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.files import disk_errors, write_text
from ..common.other_trainers import shards_of
from ..common.ownership import is_ours, refuse_filled
from ..config import Config
from ..errors import CheckpointError, RunFolderError
from .checkpoints import holds_ours, leftovers
from .layout import CHECKPOINTS, CONFIG, METRICS, RECORD, RUN_MARKS, STARTS
from .status import read_state


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read the record of the run in a folder; None if no run there has got as far as a record.

    Raises:
        RunFolderError: the folder holds other files than a run.
        CheckpointError: the record cannot be read, or is missing beside checkpoints.
    """
    path = folder / RECORD
    if not begun(folder):
        return None
    if path.is_file():
        try:
            record = dict(json.loads(path.read_text(encoding="utf-8")))
            return {**record, "identity": dict(record["identity"]), "starts": list(record["starts"])}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{path} is broken: {error!r}", "copy the whole run folder, or begin anew") from error
    # A copy cut short may lose the record. Beginning at step 0 would then overwrite the metrics of a trained model.
    if leftovers(folder / CHECKPOINTS):
        raise CheckpointError(
            f"{folder} holds checkpoints, and {RECORD}, which says of what run, is missing",
            f"copy the whole run folder; or give another --output, with --model.path {folder}/checkpoints/step-NNNNNN "
            "to begin with these weights",
        )
    # A run that ended before writing the record has left another mark, and begins again.
    return None


def begun(folder: Path) -> bool:
    """Return True if a run of ours was begun in a folder, and False for a place where none was and one can begin.

    Only files of ours are a sign of a run. The folder `checkpoints/` of another program is none.

    Raises:
        RunFolderError: the folder holds other files than a run, or the place is no folder.
    """
    with disk_errors(folder, "read"):
        if is_ours(folder, RUN_MARKS) or holds_ours(folder / CHECKPOINTS):
            return True
        if shards := shards_of(folder):
            raise RunFolderError(
                f"{folder} holds a checkpoint of {shards.trainer}, and no run to go on with",
                f"for its model {shards.advice}",
            )
        refuse_filled(folder, (STARTS,), "holds files, and no run to go on with")
    return False


def is_finished(folder: Path, config: Config) -> bool:
    """Return True if a run with exactly this configuration has ended well in the folder."""
    if read_state(folder) != "done":
        return False
    # Through JSON on both sides: JSON turns tuples into lists, and unequal types would mean an unfinished run.
    known = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return bool(known == json.loads(config.model_dump_json()))


def refuse_trained(folder: Path) -> None:
    """Raise `CheckpointError` for a folder without checkpoints but with metrics of a step above 0.

    The evaluation at step 0 writes a checkpoint, so such a run has lost checkpoints and must not begin again at step 0.
    """
    path = folder / METRICS
    steps = [_step(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
    if max(steps, default=0) > 0:
        raise CheckpointError(
            f"{folder} has metrics up to step {max(steps)}, and none of its checkpoints is there",
            "copy the whole run folder, or begin anew with another --output",
        )


def _step(line: bytes) -> int:
    """Return the step of a line of metrics; 0 for a line cut short by a crash."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return 0


def write_record(folder: Path, known: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]) -> None:
    """Replace the record of a run."""
    write_text(folder / RECORD, json.dumps({"format": 1, "identity": known, "starts": starts}, indent=2) + "\n")
