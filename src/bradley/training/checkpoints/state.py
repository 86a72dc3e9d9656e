"""What a checkpoint holds beside the model, in its folder `training/`: optimizer, progress, evaluations so far.

Tensors are in safetensors under the names of their weights, everything else is JSON, so that nothing depends on the
process that wrote it, and nothing that is read can run code.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...common.files import disk_errors, write_bytes
from ...common.text import one_line
from ...errors import CheckpointError
from ...runs.layout import EVAL, STATE
from ..distributed.full_tensors import Form
from ..distributed.sharded_files import SHARDS, WHOLE, forms_in_shards, forms_in_whole
from ..progress import EVALUATOR_FIELDS, Progress

STATE_FILE, ROWS = "state.json", EVAL
KEPT_ROWS = ("*-best.jsonl", "*-last.jsonl")
"""Scored rows that go with the evaluator's figures."""


def save_state(
    folder: Path, progress: Mapping[str, Any], evaluator: Mapping[str, Any], optimizer: Mapping[str, Any], rows: Path
) -> None:
    """Write the state of a run beside the optimizer's tensors.

    Args:
        folder: holds the optimizer's tensors and nothing else.
        progress, evaluator: values of JSON, see `Progress.to_json` and `Evaluator.state`.
        optimizer: all that `optimizer_state` gives but tensors, and the entries returned by `Strategy.save_optimizer`.
        rows: folder of the evaluator's scored rows.

    Raises:
        DiskError: the disk refuses.
    """
    state = {"progress": progress, "evaluator": evaluator, "optimizer": optimizer}
    with disk_errors(folder):
        (folder / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
        (folder / ROWS).mkdir()
        for pattern in KEPT_ROWS:
            for path in rows.glob(pattern):
                shutil.copyfile(path, folder / ROWS / path.name)


class Saved(NamedTuple):
    """The state of a run as its checkpoint holds it.

    Attributes:
        optimizer: as `load_optimizer` takes it.
        progress, evaluator: values of JSON, see `Progress.to_json` and `Evaluator.state`.
    """

    optimizer: dict[str, Any]
    progress: dict[str, Any]
    evaluator: dict[str, Any]


def read_saved(checkpoint: Path) -> Saved:
    """The state that a checkpoint holds.

    Raises:
        CheckpointError: it has none that can be read.
    """
    folder = checkpoint / STATE
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        known = state["optimizer"]
        values = {name: dict(entry) for name, entry in known["state"].items()}
        optimizer = {"state": values, "groups": known["groups"], "tensors": _forms(folder, known)}
        evaluator = {name: state["evaluator"][name] for name in EVALUATOR_FIELDS}
        progress = Progress.from_json(state["progress"]).to_json()
        os.listdir(folder / ROWS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} is no state of a run: {one_line(error)}", "copy the whole run folder, or begin anew"
        ) from error
    return Saved(optimizer, progress, evaluator)


def _forms(folder: Path, known: Mapping[str, Any]) -> dict[str, Form]:
    """The form of every tensor of an optimizer, as its files have it."""
    if "shards" not in known:
        return forms_in_whole(folder / WHOLE)
    if known["shards"] and known["shards"] != forms_in_shards(folder / SHARDS):
        raise ValueError(f"{SHARDS} holds other tensors than {STATE_FILE} says")
    return dict(known["shards"])


def restore_rows(checkpoint: Path, folder: Path) -> None:
    """Copy the scored rows of a checkpoint back into the folder of the evaluator."""
    for path in (checkpoint / STATE / ROWS).iterdir():
        write_bytes(folder / path.name, path.read_bytes())
