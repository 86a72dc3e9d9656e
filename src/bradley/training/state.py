"""What a checkpoint holds beside the model, in its folder `training/`: optimizer, progress, evaluations so far.

Tensors are in safetensors under the names of their weights, everything else is JSON, so that nothing depends on the
process that wrote it, and nothing that is read can run code.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, one_line
from .evaluation import Evaluator
from .progress import Progress

FOLDER = "training"
"""The folder of the state inside a checkpoint."""
OPTIMIZER, STATE, ROWS = "optimizer.safetensors", "state.json", "eval"
KEPT_ROWS = ("*-best.jsonl", "*-last.jsonl")
"""Scored rows that go with the evaluator's figures."""


def save_state(folder: Path, optimizer: Mapping[str, Any], progress: Progress, evaluator: Evaluator) -> None:
    """Write the state of a run into an empty folder.

    Args:
        optimizer: as `optimizer_state` gives it.
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


def load_state(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, evaluator: Evaluator) -> Progress:
    """Bring optimizer and evaluator to where a checkpoint left them, in place; the progress of the run.

    Raises:
        CheckpointError: a checkpoint without a state, or of other weights or another optimizer.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = checkpoint / FOLDER
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        tensors = load_file(folder / OPTIMIZER)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} cannot be read: {one_line(error)}", "copy the whole run folder, or begin anew"
        ) from error
    known = state["optimizer"]
    restore_optimizer(model, optimizer, {"state": _joined(tensors, known["state"]), "groups": known["groups"]})
    evaluator.restore(state["evaluator"])
    for path in (folder / ROWS).iterdir():
        shutil.copyfile(path, evaluator.folder / path.name)
    return Progress.from_json(state["progress"])


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state under the names of the weights.

    Returns:
        `state`: weight -> its values, tensors and numbers; `groups`: the weights of each group with its hyperparameters
        left out, which the configuration gives.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {
        "state": {names[id(weight)]: dict(values) for weight, values in optimizer.state.items()},
        "groups": [[names[id(weight)] for weight in group["params"]] for group in optimizer.param_groups],
    }


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give an optimizer the state that `optimizer_state` took from one over the same weights.

    Raises:
        CheckpointError: it is over other weights, or they are grouped otherwise.
    """
    own = optimizer_state(model, optimizer)["groups"]
    if own != saved["groups"]:
        raise CheckpointError("the checkpoint's optimizer is over other weights", "begin anew in another --output")
    numbers = {name: number for number, name in enumerate(name for group in own for name in group)}
    groups = optimizer.state_dict()["param_groups"]
    state = {numbers[name]: values for name, values in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})


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
