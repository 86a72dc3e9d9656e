"""The command as users type it, untouched, killed by the system in the middle of a rename."""

import random
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.training.interrupted import fingerprint

from . import harness, real, typed
from .results import record

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace ends a program at a system call")
TRIALS = 8


@pytest.fixture
def command(tmp_path):
    """A function that runs `bradley train` into a folder, with a command in front of it."""
    settings, places = typed.prepared(tmp_path, real.SMALL)

    def run(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
        line = [*before, *typed.train(settings, folder), "--quiet"]
        return subprocess.run(line, env=places, capture_output=True, text=True, timeout=240)

    return run


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
    record("C1", "the command as it is, kill -9 in a rename", goal, f"{tally}; {len(chosen)} of {renames} renames")
