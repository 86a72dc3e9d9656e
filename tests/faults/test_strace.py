"""The command as users type it, untouched, killed by the system in the middle of a rename."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.interrupted import DATA, fingerprint

from . import harness, real
from .results import record

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace ends a program at a system call")
WITHOUT_FIGURES = Path(__file__).parents[1] / "launch" / "without_figures"
TRIALS = 8


@pytest.fixture
def command(tmp_path):
    """A function that runs `bradley train` into a folder, with a command in front of it."""
    for name, rows in DATA.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = tmp_path / "run.toml"
    paths = {name: str(tmp_path / f"{name}.jsonl") for name in DATA}
    settings.write_text("".join(lines({**real.SMALL, "data": paths})))
    known = os.environ
    places = {**known, "BRADLEY_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    places["PYTHONPATH"] = os.pathsep.join([str(WITHOUT_FIGURES), known.get("PYTHONPATH", "")])

    def run(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
        training = ["train", str(settings), "--output", str(folder), "--resume", "--quiet"]
        line = [*before, sys.executable, "-m", "bradley", *training]
        return subprocess.run(line, env=places, capture_output=True, text=True, timeout=240)

    return run


def lines(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Settings as lines of TOML."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from lines(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {json.dumps(value)}\n"


def traced(*options: str, into: Path) -> list[str]:
    return ["strace", "-f", "-e", "trace=rename", *options, "-o", str(into)]


def most_in_a_thread(trace: str) -> int:
    """Renames of the thread with the most of them: strace counts calls by thread."""
    return max(Counter(re.findall(r"^(\d+) +rename\(.* = 0", trace, re.MULTILINE)).values())


@pytest.mark.nightly
def test_the_unmodified_command_goes_on_after_a_kill_in_a_rename(command, tmp_path):
    command(tmp_path / "warm")  # the tokens are in the cache from here on
    whole = command(tmp_path / "whole", *traced(into=tmp_path / "trace"))
    assert whole.returncode == 0, whole.stderr
    renames = most_in_a_thread((tmp_path / "trace").read_text())
    wanted, tally = fingerprint(tmp_path / "whole"), harness.Tally()
    chosen = sorted(random.Random(0).sample(range(1, renames + 1), min(TRIALS, renames)))
    for number in chosen:
        folder = tmp_path / str(number)
        killed = command(folder, *traced("-e", f"inject=rename:signal=KILL:when={number}", into=tmp_path / "trace"))
        assert killed.returncode == -9, (number, killed.stderr)
        again = command(folder)
        assert again.returncode == 0, (number, again.stderr)
        assert fingerprint(folder) == wanted, number
        tally.trials += 1
    goal = "goes on by itself, same bytes"
    record("C1", f"the command as it is, kill -9 in {len(chosen)} of its {renames} renames", goal, tally)
