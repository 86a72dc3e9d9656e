"""Record of a run, `run.json`: the identity of the run, and the first step of every start."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.files import disk_errors, write_text
from ..common.json_files import check_shape, parse_json, read_json, with_hash
from ..common.other_trainers import shards_of
from ..common.ownership import is_ours, refuse_filled
from ..config import Config
from ..errors import CheckpointError, RunFolderError
from .checkpoints import holds_ours, leftovers
from .checks import DONE, MOVE, Damage, all_damages, damages, older, weight_hashes
from .layout import CHECKPOINTS, CONFIG, METRICS, RECORD, RUN_MARKS, STARTS
from .run import read_results
from .shapes import EventLine, Record, Threads
from .status import read_status

HINT = "copy the whole run folder, or begin anew"
ITSELF = "record_sha256"
"""Entry of `run.json`: hash of the content without this entry."""
MOST_THREADS = 4096
"""Most threads of a recorded run; a larger number is damage, and could end the process."""


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read the record of the run in a folder; None if no run there has got as far as a record.

    Raises:
        RunFolderError: the folder holds other files than a run.
        CheckpointError: the record cannot be read, or is missing beside checkpoints.
    """
    path = folder / RECORD
    if not begun(folder):
        return None
    if path.exists():
        return _checked(path)
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


def _checked(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(path, Record, hint=HINT)
    # A resume compares the run with the identity in here, and keeps the starts as the history of the run.
    if ITSELF in record and record != with_hash(record, ITSELF):
        raise CheckpointError(f"{path} was edited: the content has another hash than the hash inside", HINT)
    threads = check_shape(record["identity"].get("threads"), Threads, path, hint=HINT)["number"]
    if not 1 <= threads <= MOST_THREADS:
        raise CheckpointError(f"{path} is broken: identity.threads.number is {threads!r:.40}", HINT)
    return record


def is_finished(folder: Path, config: Config, say: Callable[[str], None]) -> bool:
    """Return True if a run with exactly this configuration has ended well in the folder, and each file is whole.

    Args:
        folder: the run folder.
        config: settings of the run.
        say: prints a line about a damaged file, which a resume makes again; or about a run of an earlier version.

    Raises:
        CheckpointError: a file is damaged that no resume can make again, or was added.
    """
    try:
        status = read_status(folder)
        if status.get("state") != DONE:
            return False
        found = _damage(folder, status)
    except CheckpointError as error:
        say(f"{error.message}: the end of the run is done again")
        return False
    if found is not None and found.final:
        raise CheckpointError(
            f"{folder / found.name} {found.what}", MOVE if found.added else f"put the file back; {HINT}"
        )
    if found is not None:
        say(f"{folder / found.name} {found.what}: the end of the run is done again")
        return False
    if line := older(folder, status):
        say(line)
    # Through JSON on both sides: JSON turns tuples into lists, and unequal types would mean an unfinished run.
    return bool(read_json(folder / CONFIG, hint=HINT) == json.loads(config.model_dump_json()))


def _damage(folder: Path, status: Mapping[str, Any]) -> Damage | None:
    """Return the first damaged file of a finished run: one that no resume can make again, if any.

    Raises:
        CheckpointError: a file of a run without hashes cannot be read.
    """
    if "files" not in status:
        read_results(folder)
        read_json(folder / CONFIG, hint=HINT)
        return next(damages(folder, weight_hashes(folder)), None)
    found = list(all_damages(folder, status["files"]))
    return next((damage for damage in found if damage.final), found[0] if found else None)


def refuse_trained(folder: Path) -> None:
    """Raise `CheckpointError` for a folder without checkpoints but with metrics of a step above 0.

    The evaluation at step 0 writes a checkpoint, so such a run has lost checkpoints and must not begin again at step 0.
    """
    path = folder / METRICS
    if not path.is_file():
        return
    with disk_errors(path, "read"):
        last = max((_step(path, line) for line in path.read_bytes().splitlines()), default=0)
    if last > 0:
        raise CheckpointError(
            f"{folder} has metrics up to step {last}, and none of its checkpoints is there",
            "copy the whole run folder, or begin anew with another --output",
        )


def _step(path: Path, line: bytes) -> int:
    """Return the step of a line of metrics; 0 for a line cut short by a crash."""
    try:
        return int(check_shape(parse_json(line, path), EventLine, path)["step"])
    except CheckpointError:
        return 0


def write_record(folder: Path, known: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]) -> None:
    """Replace the record of a run; a record of an earlier version has no hash of itself, and is taken as it is."""
    # Through JSON, as the file is read: JSON turns keys into text, and hashes of the two would differ.
    record = json.loads(json.dumps({"format": 1, "identity": known, "starts": starts}))
    write_text(folder / RECORD, json.dumps(with_hash(record, ITSELF), indent=2) + "\n")
