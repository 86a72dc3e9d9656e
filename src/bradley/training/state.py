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

from torch import Tensor

from ..errors import CheckpointError, one_line
from .evaluation import REMEMBERED, Evaluator
from .progress import Progress

FOLDER = "training"
"""The folder of the state inside a checkpoint."""
OPTIMIZER, STATE, ROWS = "optimizer.safetensors", "state.json", "eval"
KEPT_ROWS = ("*-best.jsonl", "*-last.jsonl")
"""Scored rows that go with the evaluator's figures."""


def save_state(folder: Path, optimizer: Mapping[str, Any], progress: Progress, evaluator: Evaluator) -> None:
    """Write the state of a run into an empty folder.

    Args:
        optimizer: as `gather_optimizer` gives it.
    """
    from safetensors.torch import save_file

    tensors, values = _parted(optimizer["state"])
    save_file(tensors, folder / OPTIMIZER)
    state = {
        "progress": progress.to_json(),
        "evaluator": evaluator.state(),
        "optimizer": {"state": values, "groups": optimizer["groups"]},
    }
    (folder / STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
    (folder / ROWS).mkdir()
    for pattern in KEPT_ROWS:
        for path in evaluator.folder.glob(pattern):
            shutil.copyfile(path, folder / ROWS / path.name)


class Saved(NamedTuple):
    """The state of a run as its checkpoint holds it.

    Attributes:
        optimizer: as `gather_optimizer` gives it.
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
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = checkpoint / FOLDER
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        known, tensors = state["optimizer"], load_file(folder / OPTIMIZER)
        optimizer = {"state": _joined(tensors, known["state"]), "groups": known["groups"]}
        evaluator = {name: state["evaluator"][name] for name in REMEMBERED}
        progress = Progress.from_json(state["progress"]).to_json()
        os.listdir(folder / ROWS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} is no state of a run: {one_line(error)}", "copy the whole run folder, or begin anew"
        ) from error
    return Saved(optimizer, progress, evaluator)


def restore_rows(checkpoint: Path, folder: Path) -> None:
    """Copy the scored rows of a checkpoint back into the folder of the evaluator."""
    for path in (checkpoint / FOLDER / ROWS).iterdir():
        shutil.copyfile(path, folder / path.name)


def _parted(state: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Tensors as `weight/key`, and what is no tensor under both."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for name, entry in state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value.detach().cpu().contiguous()
            else:
                values.setdefault(name, {})[key] = value
    return tensors, values


def _joined(tensors: Mapping[str, Tensor], values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    state = {name: dict(entry) for name, entry in values.items()}
    for place, tensor in tensors.items():
        name, _, key = place.rpartition("/")
        state.setdefault(name, {})[key] = tensor
    return state
