"""Run cases by number, and gather what is wrong with them."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import child, command_lines, configurations, data_files, model_folders, run_folders
from tests.fuzz.case import Case, remove_world, snapshot
from tests.fuzz.good import Good
from tests.fuzz.oracle import complaints

Damage = Callable[[random.Random, int, Path, Good], Case]
CLASSES: dict[str, Damage] = {
    "data_files": data_files.damage,
    "configurations": configurations.damage,
    "command_lines": command_lines.damage,
    "model_folders": model_folders.damage,
    "run_folders": run_folders.damage,
}
"""Generators by class: each makes a case from a number, always the same case from the same number."""


class Found(NamedTuple):
    """A case that was run.

    Attributes:
        name, number: class and number, which repeat the case.
        what: the damage in words.
        args: command line.
        code: exit code.
        complaints: what is wrong; empty for a passed case.
        said: end of stderr.
    """

    name: str
    number: int
    what: str
    args: list[str]
    code: int
    complaints: list[str]
    said: str

    def __str__(self) -> str:
        """Describe the case over some lines, the way to repeat it first."""
        args = " ".join(map(ascii, self.args))
        head = f"python -m tests.fuzz {self.name} {self.number}\n  {self.what}\n  bradley {args[:300]}"
        return "\n  - ".join([f"{head}\n  exit code {self.code}: {self.said[-300:]!r}", *self.complaints])


def run_case(name: str, number: int, good: Good, place: Path, program: child.Program = child.bradley) -> Found:
    """Make the case of a number below `place`, run it, judge it, and remove it."""
    world = good.world(place / f"{name}-{number}")
    try:
        case = CLASSES[name](random.Random(f"{name} {number}"), number, world, good)
        before = snapshot(world)
        ended = child.run(case, world, program)
        wrong = complaints(case, ended, before, snapshot(world), world)
        said = ended.err.decode("utf-8", errors="backslashreplace").strip()
        return Found(name, number, case.what, case.args, ended.code, wrong, said)
    finally:
        remove_world(world)


def run_cases(name: str, numbers: Iterable[int], good: Good, place: Path) -> tuple[list[Found], Counter[int]]:
    """Run cases, and return the failed ones and the counts of exit codes."""
    found = [run_case(name, number, good, place) for number in numbers]
    return [each for each in found if each.complaints], Counter(each.code for each in found)
