"""A process of a real run that is killed in each part of it: the others end, and a resume gives the bytes of a run that
nothing disturbed.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from bradley.training import saver
from bradley.training.progress import Position
from tests.training.distributed.runs import SHORT, TEST, alike, must_train, train_together

pytestmark = pytest.mark.usefixtures("quick")

AFTER = {"forward": 5, "reduction": 5, "evaluation": 4, "save": 4}
"""The step after which it happens; evaluations and saves follow the fourth."""


NIGHTLY = [pytest.param(part, marks=pytest.mark.nightly) for part in ("forward", "reduction", "evaluation")]


@pytest.mark.parametrize("part", ["save", *NIGHTLY])
def test_a_process_that_is_killed_ends_the_other_with_8_and_costs_no_bit(tmp_path, short, part: str) -> None:
    folder, places = tmp_path / "run", tmp_path
    results = train_together(2, folder, SHORT, lambda rank: lose(rank, part, places), **TEST)
    took = time.time() - float((places / "killed").read_text())
    assert [result.code for result in results] == [8, -signal.SIGKILL], results
    assert took < 15
    assert "one of the 2 processes of the run is gone" in results[0].error
    saved = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    assert saved == ["step-000000", *(["step-000004"] if part != "evaluation" else [])]
    must_train(2, folder, SHORT, **TEST)
    assert alike(folder) == alike(short)
    start = json.loads((folder / "run.json").read_text())["starts"][-1]
    assert start["step"] == int(saved[-1][-6:])


def lose(rank: int, part: str, places: Path) -> None:
    """Have process 1 killed in a part of the run, by itself or, where the other one is at work alone, by that."""
    (places / f"pid-{rank}").write_text(str(os.getpid()))
    step = [0]
    move = Position.move

    def moved(place: Position, *args: Any) -> None:
        move(place, *args)
        step[0] = place.step

    def kill() -> None:
        (places / "killed").write_text(str(time.time()))
        os.kill(int((places / "pid-1").read_text()), signal.SIGKILL)

    Position.move = moved
    module, name, holds = {
        "forward": (torch.nn.LayerNorm, "forward", lambda: rank == 1 and torch.is_grad_enabled()),
        "evaluation": (torch.nn.LayerNorm, "forward", lambda: rank == 1 and not torch.is_grad_enabled()),
        "reduction": (dist, "all_to_all_single", lambda: rank == 1),
        "save": (saver, "save_state", lambda: rank == 0),
    }[part]
    original = getattr(module, name)

    def called(*args: Any, **options: Any) -> Any:
        if step[0] == AFTER[part] and holds():
            kill()
        return original(*args, **options)

    setattr(module, name, called)
