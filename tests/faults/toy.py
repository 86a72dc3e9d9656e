"""A training run in milliseconds: a few numbers instead of a model, and everything durable as in a real one.

Weights, momentum and the stream of metrics are written through the real `Checkpoints`, `JsonLines`, lock and count of
starts. Each step depends on the step number and the state alone, so a resumed run can equal an uninterrupted one.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bradley.common import disk
from bradley.common.files import write_bytes, write_text
from bradley.common.lock import folder_lock
from bradley.runs.layout import RECORD
from bradley.runs.starts import count_start, forget_starts
from bradley.training.checkpoints import store
from bradley.training.checkpoints.store import Checkpoints
from bradley.training.distributed.process_group import ProcessGroup
from bradley.training.saver import Snapshot, save_checkpoint
from bradley.training.tracking.jsonl_csv import JsonLines

STEPS, EVERY = 12, 3
BEST = (0, 3)
"""The steps that improve: later ones are worse, so the best one is older than the newest that are kept."""
SIZE = 64


class Toy:
    """The state of a run: weights [SIZE] and momentum [SIZE]."""

    def __init__(self, size: int = SIZE) -> None:
        self.weights = np.zeros(size)
        self.momentum = np.zeros(size)

    def step(self, number: int) -> float:
        """One step; its loss."""
        gradient = np.sin(np.arange(len(self.weights)) * number) - 0.1 * self.weights
        self.momentum = 0.9 * self.momentum + gradient
        self.weights = self.weights + 0.01 * self.momentum
        return float(np.abs(gradient).sum())


def write_toy(folder: Path, model: Any, renderer: Any, facts: dict[str, Any], *rest: Any) -> dict[str, str]:
    """What `write_model` does for a model: a large file that nobody synced, and a card."""
    with io.BufferedWriter(disk.Raw(disk.create(folder / "model.safetensors"), "w")) as file:
        file.write(model.weights.tobytes())
    write_text(folder / "bradley.json", json.dumps(facts))
    return {}


def load_toy(folder: Path, toy: Toy) -> dict[str, Any]:
    """Fill a state from a checkpoint; what else it says of the run."""
    toy.weights = np.frombuffer((folder / "model.safetensors").read_bytes())
    toy.momentum = np.frombuffer((folder / "training" / "optimizer.safetensors").read_bytes())
    return dict(json.loads((folder / "training" / "state.json").read_text())["progress"])


def train_toy(
    run: Path,
    saved: Callable[[int], object] = lambda step: None,
    began: Callable[[int], object] = lambda step: None,
    say: Callable[[str], None] = lambda text: None,
    size: int = SIZE,
    keep: int = 2,
) -> None:
    """Train from the newest checkpoint, or from the start, to the end.

    Args:
        saved: is told of each step whose save has returned.
        began: is told of the step from which this run goes on; -1: from nothing.
    """
    store.write_model = write_toy
    toy = Toy(size)
    with folder_lock(run, say=say):
        checkpoints = Checkpoints(run / "checkpoints", keep=keep, say=say)
        checkpoints.sweep()
        found = checkpoints.newest()
        if not (run / RECORD).exists():
            write_text(run / RECORD, json.dumps({"identity": {}, "starts": []}))
        count_start(run, found.step if found else None)
        state = load_toy(found.folder, toy) if found else {"step": -1, "bytes": 0}
        began(state["step"])
        path = run / "metrics.jsonl"
        metrics = JsonLines(path, keep=state["bytes"] if path.exists() or found else None)
        for step in range(state["step"] + 1, STEPS + 1):
            if step:
                metrics.event({"step": step, "loss": toy.step(step)})
            if step % EVERY == 0:
                save(checkpoints, toy, step, metrics)
                saved(step)
        metrics.close()
        if not (run / "model").exists():
            checkpoints.publish(run / "model")
        forget_starts(run)


class ToyStrategy:
    """One process; its optimizer is the momentum of a toy."""

    def __init__(self) -> None:
        self.group = ProcessGroup()

    def save_optimizer(self, folder: Path, tensors: dict[str, Any]) -> dict[str, Any]:
        write_bytes(folder / "optimizer.safetensors", tensors["momentum"].tobytes())
        return {}


def save(checkpoints: Checkpoints, toy: Toy, step: int, metrics: JsonLines) -> None:
    """One checkpoint, by the code that saves real runs; the metrics that it counts on are on the disk before it is."""
    progress = {"step": step, "bytes": metrics.sync()}
    save_toy(checkpoints, toy, step, {"loss": step}, best=step in BEST, progress=progress)


def save_toy(
    checkpoints: Checkpoints, toy: Toy, step: int, facts: dict[str, Any], *, best: bool, progress: Any = None
) -> None:
    """One checkpoint of a toy."""
    evaluator = SimpleNamespace(folder=checkpoints.folder.parent / "eval")
    job: Any = SimpleNamespace(
        model=toy, renderer=None, checkpoints=checkpoints, strategy=ToyStrategy(), evaluator=evaluator
    )
    save_checkpoint(job, Snapshot(step, facts, best, None, progress or {}, {}, {}, {"momentum": toy.momentum}))
