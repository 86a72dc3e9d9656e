"""Runs that are cut off and go on, beside the same run without an interruption."""

import hashlib
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

import bradley
from bradley.common import signals
from bradley.errors import Preempted
from tests.helpers import GPT2

SETTINGS: dict[str, Any] = {
    "model": {"config": GPT2, "tokenizer": "train", "vocab_size": 320, "dropout": True},
    "render": {"max_tokens": 128},
    "train": {"batch_size": 8, "epochs": 3.0, "micro_batch_tokens": 150, "threads": 1},
    "optim": {"lr": 1e-3},
    "eval": {"every": 4, "train_probe": 8},
    "log": {"every": 3, "window": 4, "trackers": "tensorboard"},
}
"""Three passes of five steps, dropout on."""
TIMES = {"timing.jsonl", "results.json", "run.json", "status.json", "report.html", "manifest.json"}
"""Files that hold seconds, or how often a run was begun."""


def quick_runs(patch: pytest.MonkeyPatch, basetemp: Path) -> None:
    """One cache of tokens for all runs; no figures and no report, which take longer than the run."""
    patch.setenv("BRADLEY_CACHE", str(basetemp / "cache"))
    patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)


def rows(count: int, prefix: str = "") -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"{prefix} What follows {i}?",
            "chosen": f"The number {i + 1} follows, as everybody knows who counts from {i}.",
            "rejected": f"Nobody knows what number follows {i}.",
            "id": f"{prefix}{i}",
        }
        for i in range(count)
    ]


DATA = {"train": rows(40), "valid": rows(12, "v")}


def run(folder: Path, settings: dict[str, Any] = SETTINGS, data: dict[str, Any] = DATA, **options: Any) -> bradley.Run:
    """A whole run, from its beginning or from where it was left."""
    return bradley.train(settings, **data, output=folder, resume=True, **options)


class Cut:
    """Asks the process to stop at the n-th look at the flag, by a real signal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
        self.calls, self.at, self.number, self.check = 0, 0, number, signals.check
        monkeypatch.setattr(signals, "check", self)

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), self.number)
        self.check()

    def after(self, looks: int) -> None:
        """Stop at the look of this number from now on."""
        self.calls, self.at = 0, looks


def cut_run(folder: Path, cut: Cut, looks: int, **options: Any) -> bool:
    """A run that is asked to stop after so many looks; whether it was, or had ended before."""
    cut.after(looks)
    try:
        run(folder, **options)
    except Preempted:
        return True
    finally:
        cut.after(0)
    return False


def without_times(path: Path) -> bytes:
    """The content of a file; of the state of a run without the seconds that it took."""
    if path.name != "state.json":
        return path.read_bytes()
    state = json.loads(path.read_text())
    del state["progress"]["seconds"], state["progress"]["writers"]["timing"]
    return json.dumps(state).encode()


def is_named(path: Path, steps: set[int]) -> bool:
    """Whether a file is of one of these checkpoints, or of none."""
    numbers = [int(part.removeprefix("step-")) for part in path.parts if re.fullmatch(r"step-\d+", part)]
    return not numbers or numbers[-1] in steps


def fingerprint(folder: Path, leave_out: set[str] = TIMES) -> dict[str, str]:
    """SHA-256 of every file of a run folder that is the same however often the run was interrupted.

    Which older checkpoints are kept is not: a request to stop commits one where the run stands.
    """
    index = folder / "checkpoints" / "index.json"
    named = {entry["step"] for entry in json.loads(index.read_text()).values()} if index.is_file() else set()
    return {
        str(path.relative_to(folder)): hashlib.sha256(without_times(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and is_named(path, named)
        and path.name not in leave_out
        and not set(path.parts) & {"plots", "tensorboard", ".lock"}
    }
