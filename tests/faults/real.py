"""The second subject of the bench: the real `bradley.train` on a tiny model with dropout, its pages left out.

What libraries write goes around `bradley.common.disk`: nothing ends a run in its middle, and a power cut takes it.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bradley
from bradley.common.console import Console
from bradley.training import run as run_module
from bradley.training import saver
from bradley.training.checkpoints.store import Checkpoints, Found
from bradley.training.progress import Position
from tests.helpers import GPT2, changed
from tests.training.interrupted import DATA, SETTINGS, fingerprint

from . import harness, seam

SMALL = changed(
    SETTINGS,
    model={"config": {**GPT2, "n_layer": 1}},
    train={"epochs": 1.0, "max_steps": 6},
    eval={"every": 1, "train_probe": 0},
    log={"every": 1, "trackers": []},
)
"""Six steps, evaluated and saved at the beginning and after each of them."""
RARE = changed(SMALL, eval={"every": 4})
"""The same steps, evaluated and saved at 0, 4 and 6: most of them are kept only where a request to stop saves them."""


def work(
    run: Path, prepare: Callable[[], object], settings: dict[str, Any] = SMALL
) -> Callable[[Callable[[str, Any], None]], None]:
    """A whole run, from its beginning or from where it was left, that tells of its steps, its saves and its start."""

    def train(tell: Callable[[str, Any], None]) -> None:
        os.environ["BRADLEY_CACHE"] = str(run.parent.with_name("bradley-faults-cache"))
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        run_module.write_pages = lambda folder, console: None
        told = follow(tell)
        Console.warn = lambda self, text: tell("said", text)  # type: ignore[method-assign]
        status = run / "status.json"
        done = status.exists() and json.loads(status.read_text())["state"] == "done"
        prepare()
        try:
            bradley.train(settings, **DATA, output=run, resume=True)
        finally:
            if not told:
                tell("began", settings["train"]["max_steps"] if done else -1)

    return train


def follow(tell: Callable[[str, Any], None]) -> list[int]:
    """Tell of every step that is taken, every save that begins and that has returned, and of the step that a run goes
    on from; the latter are listed too.
    """
    move, save, newest = Position.move, saver.save_checkpoint, Checkpoints.newest
    began: list[int] = []

    def moved(self: Position, *given: Any) -> None:
        move(self, *given)
        tell("trained", self.step)

    def saved(job: Any, taken: saver.Snapshot) -> None:
        tell("saving", taken.step)
        save(job, taken)
        tell("saved", taken.step)

    def found(self: Checkpoints) -> Found | None:
        result = newest(self)
        began.append(result.step if result else -1)
        tell("began", began[-1])
        return result

    Position.move = moved  # type: ignore[method-assign]
    saver.save_checkpoint, Checkpoints.newest = saved, found  # type: ignore[method-assign]
    return began


def asked_at(step: int, then: Callable[[], object] = harness.nothing) -> None:
    """Let this process be asked to stop as soon as it has taken a step; `then` is called at that moment."""
    move = Position.move

    def moved(self: Position, *given: Any) -> None:
        move(self, *given)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
            then()

    Position.move = moved  # type: ignore[method-assign]


def train(
    run: Path, prepare: Callable[[], object] = harness.nothing, settings: dict[str, Any] = SMALL
) -> harness.Ended:
    """One run in a process of its own."""
    return harness.forked(work(run, prepare, settings))


def warm_up(run: Path, settings: dict[str, Any] = SMALL) -> dict[str, str]:
    """One run in this very process, so that those in copies of it import nothing; its fingerprint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRADLEY_CACHE", str(run.parent.with_name("bradley-faults-cache")))
        patch.setattr(run_module, "write_pages", lambda folder, console: None)
        bradley.train(settings, **DATA, output=run, resume=True)
    return fingerprint(run)


def reference() -> dict[str, str]:
    """The fingerprint of a run that nothing interrupted; as `warm_up`."""
    with harness.new_run() as run:
        run.rmdir()
        return warm_up(run)


def calls_of_a_run() -> list[str]:
    """The calls of an uninterrupted run, in order."""

    def counted(tell: Callable[[str, Any], None]) -> None:
        seen: list[str] = []
        work(run, lambda: seen.append(seam.count_calls()))(tell)  # type: ignore[arg-type, func-returns-value]
        tell("calls", seen[0])

    with harness.new_run() as run:
        return list(harness.forked(counted).of("calls")[0])


def sweep(points: list[int], mode: str, wanted: dict[str, str]) -> harness.Tally:
    """As `harness.sweep`, of this subject."""
    tally = harness.Tally()
    for point in points:
        with harness.new_run() as run:

            def fatal(run: Path = run, point: int = point) -> None:
                harness.end_at(run.parent, point, mode)

            run.rmdir()
            first = train(run, fatal)
            second = train(run)
            tally.judge(f"{mode} at call {point}", first, second, fingerprint(run), wanted)
    return tally
