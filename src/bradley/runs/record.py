"""`run.json`, the record of a run: its identity, and every start with the step that it began at."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.files import write_text
from ..common.other_trainers import shards_of
from ..config import Config
from ..errors import CheckpointError, RunFolderError
from .checkpoints import leftovers
from .layout import CHECKPOINTS, CONFIG, METRICS, RECORD
from .status import read_state


def read_record(folder: Path) -> dict[str, Any] | None:
    """What was begun in a folder; None where nothing was, or nothing that got as far as a record.

    Raises:
        RunFolderError: a folder that holds something else.
        CheckpointError: a record that cannot be read.
    """
    path = folder / RECORD
    if path.is_file():
        try:
            record = dict(json.loads(path.read_text(encoding="utf-8")))
            return {**record, "identity": dict(record["identity"]), "starts": list(record["starts"])}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{path} is broken: {error!r}", "copy the whole run folder, or begin anew") from error
    if leftovers(folder / CHECKPOINTS):
        raise CheckpointError(
            f"{folder} holds checkpoints, and {RECORD}, which says of what run, is missing",
            f"copy the whole run folder; or give another --output, with --model.path {folder}/checkpoints/step-NNNNNN "
            "to begin with these weights",
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CHECKPOINTS).is_dir():
        shards = shards_of(folder)
        advice = f"for its model {shards.advice}" if shards else "give another --output, or remove it"
        holds = f"a checkpoint of {shards.trainer}" if shards else "files"
        raise RunFolderError(f"{folder} holds {holds}, and no run to go on with", advice)
    return None


def is_finished(folder: Path, config: Config) -> bool:
    """Whether exactly this run has ended well in a folder, so that nothing is left to do."""
    if read_state(folder) != "done":
        return False
    known = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return bool(known == json.loads(config.model_dump_json()))


def refuse_trained(folder: Path) -> None:
    """Raise `CheckpointError` for a folder whose run has got beyond step 0, and thus had checkpoints, and has none."""
    path = folder / METRICS
    steps = [_step(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
    if max(steps, default=0) > 0:
        raise CheckpointError(
            f"{folder} has metrics up to step {max(steps)}, and none of its checkpoints is there",
            "copy the whole run folder, or begin anew with another --output",
        )


def _step(line: bytes) -> int:
    """The step of a line of metrics, 0 of one that a crash cut short."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return 0


def write_record(folder: Path, known: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]) -> None:
    """Replace the record of a run."""
    write_text(folder / RECORD, json.dumps({"format": 1, "identity": known, "starts": starts}, indent=2) + "\n")
