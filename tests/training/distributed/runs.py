"""Whole runs by several forked processes, as torchrun starts them."""

import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bradley.training import run as run_module
from bradley.training.distributed import process_group
from tests.helpers import LLAMA
from tests.training.distributed.processes import Result, fork
from tests.training.interrupted import SETTINGS, TIMES, fingerprint, rows, run

LEFT_OUT = {*TIMES, "environment.json", "config.json"}
TEST = {"test": rows(9, "t")}
TRAIN = {"batch_size": 8, "micro_batch_tokens": 150, "threads": 1}
SHORT = {**SETTINGS, "train": {**TRAIN, "max_steps": 8}, "log": {**SETTINGS["log"], "trackers": ""}}
FIXED = {
    **SETTINGS,
    "model": {"config": LLAMA, "tokenizer": "train", "vocab_size": 320},
    "train": {**TRAIN, "max_steps": 30},
    "eval": {"every": 10, "train_probe": 8},
    "log": {"every": 1},
}


def train_together(
    size: int, folder: Path, settings: dict[str, Any], before: Callable[[int], None] = lambda rank: None, **options: Any
) -> list[Result]:
    """Run or resume a run in so many processes; what became of each.

    Args:
        before: called in each process with its rank, before it trains.
    """

    def work(rank: int, init: str) -> dict[str, Any]:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        os.environ.update(zip(names, map(str, (rank, size, rank, size)), strict=True))
        run_module.open_group = functools.partial(process_group.open_group, init=init)
        before(rank)
        return run(folder, settings, **options).results

    return fork(size, work)


def must_train(size: int, folder: Path, settings: dict[str, Any], **options: Any) -> None:
    """The same where nothing may go wrong."""
    results = train_together(size, folder, settings, **options)
    assert [result.code for result in results] == [0] * size, "\n".join(result.error for result in results)


def alike(folder: Path) -> dict[str, str]:
    return {name: sha for name, sha in fingerprint(folder, LEFT_OUT).items() if not name.startswith("logs/")}


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def stop_after(step: int, rank: int = 0):
    """Ask one process to stop by a signal after so many optimizer steps of the run."""

    def before(own: int) -> None:
        from bradley.training.progress import Position

        move = Position.move

        def counted(place: Position, *args: Any) -> None:
            move(place, *args)
            if place.step == step and own == rank:
                os.kill(os.getpid(), signal.SIGTERM)

        Position.move = counted

    return before
