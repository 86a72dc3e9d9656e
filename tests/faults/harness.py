"""Trials: a run that is ended at a chosen call, and a second one that has to go on from what is left.

Two things are asked of every trial. (a) The run that went on ends with the bytes of one that nothing interrupted.
(b) It goes on no earlier than the last step whose save had returned, so there is a whole checkpoint at every instant.
The first alone is met by a program that deletes everything and starts again.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from . import seam, toy
from .power import Power

Mutant = Callable[[], object]
"""Breaks the program on purpose, in the process that calls it."""


def nothing() -> None:
    """The program as it is."""


STOPPED = 75
"""The exit code of a run that was asked to stop, and is saved."""
MODES = ("kill", "kept", "lost", "mixed")
"""How a trial ends its first run: `kill -9`, or a power cut that keeps, loses or mixes the names of files."""


@dataclass
class Ended:
    """A process that has ended: what it told on the way, and its exit code, or minus the signal."""

    code: int
    told: list[Any] = field(default_factory=list)

    def of(self, kind: str) -> list[Any]:
        """What it told of one kind."""
        return [value for name, value in self.told if name == kind]


def forked(work: Callable[[Callable[[str, Any], None]], object]) -> Ended:
    """Run `work(tell)` in a copy of this process; `tell(kind, value)` reaches us even if it is killed next."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            work(lambda kind, value: os.write(writer, (json.dumps([kind, value]) + "\n").encode()))
            code = 0
        except BaseException as error:
            code = getattr(error, "exit_code", 1)
            os.write(writer, (json.dumps(["error", getattr(error, "message", traceback.format_exc())]) + "\n").encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as lines:
        told = [json.loads(line) for line in lines]
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told)


def run_toy(run: Path, prepare: Callable[[], object] = nothing, size: int = toy.SIZE) -> Ended:
    """One run of the toy in a process of its own, after `prepare` has put faults into that process."""

    def work(tell: Callable[[str, Any], None]) -> None:
        prepare()
        toy.train_toy(
            run,
            saved=lambda step: tell("saved", step),
            began=lambda step: tell("began", step),
            say=lambda text: tell("said", text),
            size=size,
        )

    return forked(work)


def run_toy_until(run: Path, step: int, keep: int = 2) -> Ended:
    """A run that is killed as soon as the save of a step has returned."""

    def work(tell: Callable[[str, Any], None]) -> None:
        toy.train_toy(run, saved=lambda saved: seam.die() if saved == step else None, keep=keep)

    return forked(work)


def end_at(root: Path, point: int, mode: str) -> None:
    """Let this process end at a call: see `MODES`."""
    if mode == "kill":
        seam.die_at(point)
        return
    power = Power(root)
    seam.die_at(point, lambda: power.cut(mode, seed=point))


def die_in(seconds: float) -> None:
    """Let this process end as `kill -9` ends it, in so many seconds."""
    signal.signal(signal.SIGALRM, lambda *_: seam.die())
    signal.setitimer(signal.ITIMER_REAL, seconds)


def bytes_of(run: Path) -> dict[str, bytes]:
    """Every file of a run folder that a person or a resume reads, by its name."""
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(run).parts)
    }


@contextlib.contextmanager
def new_run() -> Iterator[Path]:
    """An empty run folder, in memory where the system has such a place: a trial syncs hundreds of times."""
    place = "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None
    root = Path(tempfile.mkdtemp(prefix="bradley-faults-", dir=place))
    try:
        (root / "run").mkdir()
        yield root / "run"
    finally:
        shutil.rmtree(root)


@contextlib.contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[None]:
    """A real disk of `size` bytes; skips the test where this user may mount none."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def grow(folder: Path) -> None:
    """Give such a disk room for everything."""
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)


@dataclass
class Tally:
    """What became of many trials."""

    trials: int = 0
    stuck: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """Trials that did not meet what is asked."""
        return len({*self.stuck, *self.different, *self.lost})

    def __str__(self) -> str:
        stuck, different, lost = map(len, (self.stuck, self.different, self.lost))
        return f"{self.trials} trials: {stuck} stuck, {different} different, {lost} lost steps"

    def judge(self, name: str, first: Ended, second: Ended, found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
        """Count a trial. What was saved must not be lost; by a run that says that it is saved, no step that it took.

        Args:
            first, second: the run that was ended, and the one that went on.
            found, wanted: the files that are left, and those of a run that nothing interrupted.
        """
        self.trials += 1
        if second.code != 0:
            self.stuck.append(f"{name}: exit {second.code}, {second.of('error')}")
        elif found != wanted:
            names = [key for key in {*found, *wanted} if found.get(key) != wanted.get(key)]
            self.different.append(f"{name}: {sorted(names)}")
        kept = first.of("saved") + (first.of("trained") if first.code == STOPPED else [])
        if second.of("began") and second.of("began")[0] < max(kept, default=-1):
            self.lost.append(f"{name}: began at {second.of('began')[0]}, and not at {max(kept)}")


def reference(size: int = toy.SIZE) -> dict[str, bytes]:
    """The files of a run that nothing interrupted."""
    with new_run() as run:
        assert run_toy(run, size=size).code == 0
        return bytes_of(run)


def calls_of_a_run(mutant: Mutant = nothing) -> list[str]:
    """The calls of an uninterrupted run, in order: each is a point at which another may end."""
    with new_run() as run:

        def work(tell: Callable[[str, Any], None]) -> None:
            seen = seam.count_calls()
            mutant()
            toy.train_toy(run)
            tell("calls", seen)

        return list(forked(work).of("calls")[0])


def sweep(
    points: Iterable[int], mode: str, wanted: dict[str, bytes], mutant: Mutant = nothing, enough: int = 10**9
) -> Tally:
    """End a run at each of `points`, let another go on, and judge both.

    Args:
        mutant: is at work in both of them.
        enough: so many bad trials are enough, and the rest are left out.
    """
    tally = Tally()
    for point in points:
        if tally.bad >= enough:
            break
        with new_run() as run:

            def fatal(run: Path = run, point: int = point) -> None:
                end_at(run, point, mode)
                mutant()

            first = run_toy(run, fatal)
            assert first.code in (-signal.SIGKILL, 0), first
            second = run_toy(run, mutant)
            asked = (lambda found: found) if mutant is nothing else essential
            tally.judge(f"{mode} at call {point}", first, second, asked(bytes_of(run)), asked(wanted))
    return tally


def essential(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files by which a wrong program is judged: it may keep other checkpoints than ours does."""
    last = f"checkpoints/step-{toy.STEPS:06d}/"
    return {name: data for name, data in files.items() if "/step-" not in name or name.startswith(last)}
