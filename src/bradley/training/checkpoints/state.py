"""Training state of a checkpoint, in the folder `training/`: optimizer, progress, evaluations so far.

Tensors are stored in safetensors under the names of their weights, everything else in JSON. The files depend on no
process, and reading the files can run no code.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired

from typing_extensions import TypedDict

from ...common.files import disk_errors, sha256, write_bytes
from ...common.json_files import read_json
from ...common.ownership import refuse_link
from ...common.text import one_line
from ...errors import CheckpointError
from ...runs.layout import EVAL, EVAL_DISTRIBUTIONS, EVAL_SAMPLES, STATE, rows_file
from ...runs.shapes import FileEntry, Number
from ..distributed.full_tensors import Form
from ..distributed.sharded_files import SHARDS, WHOLE, forms_in_shards, forms_in_whole
from ..progress import EVALUATOR_FIELDS, Progress
from ..tracking.jsonl_csv import PUT_BACK

STATE_FILE, ROWS = "state.json", EVAL
HINT = "copy the whole run folder, or begin anew"
KEPT_ROWS = ("*-best.jsonl", "*-last.jsonl")
"""Patterns of scored rows belonging to the evaluator's state."""

Empty = dict[Literal["nothing"], None]
"""{}: a state before the first save. No shape forbids every key, so a single key stays possible."""


class Place(TypedDict):
    """Position of a run in the plan."""

    step: int
    episode: int
    epoch: Number
    seen: int


class WindowSums(TypedDict):
    """Sums of a step, in the window of the progress."""

    sums: dict[str, Number]
    units: dict[str, str]
    totals: dict[str, Number]


class FlowState(TypedDict):
    """State of the check of gradients."""

    start: dict[str, int]
    explained: list[str]


class DivergenceState(TypedDict):
    """Memory of the rule for divergence."""

    start: NotRequired[Number | None]
    loss: NotRequired[Number]
    out: NotRequired[int]
    same: NotRequired[int]
    low: NotRequired[int]
    blown_at: NotRequired[int]
    blown: NotRequired[Number]
    accuracy: NotRequired[Number]
    best_at: NotRequired[int]
    best: NotRequired[Number]


class GuardState(TypedDict):
    """State of the check for failed steps."""

    skipped_steps: list[dict[str, Any]]
    diverged: str
    divergence: DivergenceState


class ProgressState(TypedDict):
    """Entry `progress` of `training/state.json`."""

    place: Place
    window: list[WindowSums]
    evaluated: bool
    stop: str
    movement: FlowState | Empty
    guard: GuardState | Empty
    writers: dict[str, int | str | FileEntry | None]
    seconds: Number


class InterpolationState(TypedDict):
    """Entry `interpolation` of an evaluator's state."""

    count: NotRequired[int]
    step: NotRequired[int]
    epoch: NotRequired[Number]
    value: NotRequired[Number]
    held: NotRequired[Number]
    now: NotRequired[Number]


class EvaluatorState(TypedDict):
    """Entry `evaluator` of `training/state.json`."""

    best_step: int
    best: list[Number] | None
    stop_best: Number | None
    waited: int
    summaries: dict[str, dict[str, dict[str, Any]]]
    shown: dict[str, dict[str, list[dict[str, Any]]]]
    first_rows: NotRequired[dict[str, str]]
    interpolation: NotRequired[InterpolationState]


class OptimizerState(TypedDict):
    """Entry `optimizer` of `training/state.json`."""

    state: dict[str, dict[str, Any]]
    groups: list[list[str]]
    shards: NotRequired[dict[str, Any]]


class State(TypedDict):
    """`training/state.json` of a checkpoint."""

    progress: ProgressState
    evaluator: EvaluatorState
    optimizer: OptimizerState


def save_state(
    folder: Path, progress: Mapping[str, Any], evaluator: Mapping[str, Any], optimizer: Mapping[str, Any], rows: Path
) -> None:
    """Write the state of a run beside the optimizer's tensors.

    Args:
        folder: folder `training/` of a draft, with the optimizer's tensors and nothing else.
        progress, evaluator: JSON values, see `Progress.to_json` and `Evaluator.state`.
        optimizer: result of `optimizer_state` without tensors, and the entries returned by `Strategy.save_optimizer`.
        rows: folder of the evaluator's scored rows.

    Raises:
        DiskError: a file cannot be written.
    """
    # Plain writes suffice: the folder is a draft, synced as a whole before the rename makes it a checkpoint.
    state = {"progress": progress, "evaluator": evaluator, "optimizer": optimizer}
    with disk_errors(folder):
        (folder / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
        # A later evaluation replaces these rows in `eval/`, and a resume from this checkpoint has to undo the change.
        (folder / ROWS).mkdir()
        for pattern in KEPT_ROWS:
            for path in rows.glob(pattern):
                shutil.copyfile(path, folder / ROWS / path.name)


class Saved(NamedTuple):
    """Training state read from a checkpoint.

    Attributes:
        optimizer: in the form taken by `load_optimizer`.
        progress, evaluator: JSON values, see `Progress.to_json` and `Evaluator.state`.
        hashed: False for a checkpoint of an earlier version, without hashes of written lines and rows.
    """

    optimizer: dict[str, Any]
    progress: dict[str, Any]
    evaluator: dict[str, Any]
    hashed: bool = True


def read_saved(checkpoint: Path) -> Saved:
    """Read the training state of a checkpoint; of the optimizer's tensors, only shape and dtype.

    Raises:
        CheckpointError: the checkpoint has no readable state.
    """
    # Every part is parsed here: a broken state must be found before the job, the rows and `run.json` are changed.
    folder = checkpoint / STATE
    state = read_json(folder / STATE_FILE, State, hint=HINT)
    known = state["optimizer"]
    try:
        optimizer = {"state": known["state"], "groups": known["groups"], "tensors": _forms(folder, known)}
        evaluator = {name: state["evaluator"][name] for name in EVALUATOR_FIELDS if name in state["evaluator"]}
        progress = Progress.from_json(state["progress"]).to_json()
        os.listdir(folder / ROWS)
    # The loaders of tensors report damage by exceptions of many kinds, and each means the same here.
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} is no state of a run: {one_line(error)}", HINT) from error
    return Saved(optimizer, progress, evaluator, "first_rows" in evaluator)


def _forms(folder: Path, known: Mapping[str, Any]) -> dict[str, Form]:
    """Read the form of every tensor of an optimizer from the saved files."""
    if "shards" not in known:
        return forms_in_whole(folder / WHOLE)
    if known["shards"] and known["shards"] != forms_in_shards(folder / SHARDS):
        raise ValueError(f"{SHARDS} holds other tensors than {STATE_FILE} says")
    return dict(known["shards"])


def check_rows(checkpoint: Path, folder: Path, known: Mapping[str, str], sets: Iterable[str]) -> None:
    """Compare the files in the evaluator's folder with a checkpoint, before `restore_rows`.

    Args:
        checkpoint: the checkpoint, with the rows that a resume puts back.
        folder: the evaluator's folder.
        known: SHA-256 of the rows of step 0, by name of the file.
        sets: names of the evaluation sets; their later rows are written anew.

    Raises:
        CheckpointError: rows of step 0 are missing or changed, or the run wrote no file of a name.
        RunFolderError: a file is a link.
    """
    with disk_errors(folder, "read"):
        for name, expected in known.items():
            path = folder / name
            refuse_link(path)
            if not path.is_file():
                raise CheckpointError(f"{path} {'is no file' if path.exists() else 'is missing'}", PUT_BACK)
            if sha256(path) != expected:
                raise CheckpointError(f"{path} is not the file that the run wrote", PUT_BACK)
        written = {EVAL_SAMPLES, EVAL_DISTRIBUTIONS, *known, *os.listdir(checkpoint / STATE / ROWS)}
        written.update(rows_file(name, label) for name in sets for label in ("best", "last"))
        # A file of another origin would become a result of this run, with a hash.
        for path in sorted(folder.glob("*.jsonl")):
            if path.name not in written:
                raise CheckpointError(f"{path} was not written by this run", "move the file out of the run folder")


def hash_first_rows(folder: Path) -> dict[str, str]:
    """Compute SHA-256 of the rows of step 0 in the evaluator's folder, by name of the file."""
    with disk_errors(folder, "read"):
        return {path.name: sha256(path) for path in sorted(folder.glob(rows_file("*", "step-0")))}


def restore_rows(checkpoint: Path, folder: Path) -> None:
    """Copy the scored rows of a checkpoint back into the evaluator's folder."""
    for path in (checkpoint / STATE / ROWS).iterdir():
        write_bytes(folder / path.name, path.read_bytes())
