"""Whole runs by several forked processes, as torchrun starts them."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bradley.training import run as run_module
from bradley.training.distributed import process_group
from tests.training.distributed.processes import Result, fork
from tests.training.interrupted import run


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
