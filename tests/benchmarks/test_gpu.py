"""The script for a GPU, dry: every stage runs on a CPU, and a stage that fails costs its own rows alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import gpu
import pytest
from gpu import Outcome, Stage, end, prepare, run_stage, table
from gpu_stages import Bench, Found

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


BY_DAY = {"machine": "", "engines": "llama segments float32"}
"""Stages of seconds, each with a row that has to be right; the others train, verify or race for half a minute."""
EVERY = {
    **dict.fromkeys(gpu.STAGES, ""),
    **BY_DAY,
    "sharded": "shard_all",
    "training": "export and verify",
    "adapters": "LoRA",
}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [BY_DAY, pytest.param(EVERY, marks=pytest.mark.nightly)], ids=["short", "every"])
def test_a_dry_run_goes_through_every_stage(rows: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "table.md"
    command = [sys.executable, SCRIPT, "--dry", "--output", output, "--stages", ",".join(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert output.read_text() == done.stdout and not any("FAILED" in line for line in lines)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert list(dict.fromkeys(stage for stage, *_ in cells)) == list(rows)
    right = [(stage, what) for stage, what, _, word in cells if word == "ok"]
    for stage, row in rows.items():
        assert not row or any(place == stage and what.startswith(row) for place, what in right), stage
    if "speed" in rows:
        ratio = next(found for _, what, found, _ in cells if what.startswith("ratio to TRL"))
        assert all(float(number) > 0 for number in ratio.split(","))


def sleeping(bench):
    """A row, a process of its own, then nothing for long."""
    child = subprocess.Popen(["sleep", "60"])
    yield Found("child", str(child.pid))
    time.sleep(60)


def killed(bench):
    """A row, then an end without a word."""
    yield Found("before", "1", True)
    os._exit(9)


def failing(bench):
    yield Found("before", "1", True)
    raise RuntimeError("the kernel is not there")


def test_a_stage_that_hangs_dies_or_fails_keeps_its_rows_and_spares_the_rest(tmp_path, monkeypatch) -> None:
    stages = {"sleeping": Stage(sleeping, 2), "killed": Stage(killed, 20), "failing": Stage(failing, 20)}
    monkeypatch.setattr(gpu, "STAGES", stages)
    bench = Bench("cpu", True, tmp_path)
    hung, dead, failed = (run_stage(name, bench, stage.seconds) for name, stage in stages.items())
    assert hung.error.startswith("not done after 2 s") and hung.seconds < 15
    child = int(hung.rows[0].value)
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)
    assert (dead.rows, dead.error) == ([Found("before", "1", True)], "ended with exit code 9")
    assert failed.rows == dead.rows and "RuntimeError: the kernel is not there" in failed.error
    shown = table([hung, dead, failed])
    assert shown.count("| before | 1 | ok |") == 2 and shown.count("FAILED") == 3


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_row_that_is_wrong_fails_the_run() -> None:
    assert Outcome("a", [Found("x", "1", True), Found("y", "2")], 1.0, "").failed is False
    assert Outcome("a", [Found("x", "1", False)], 1.0, "").failed and Outcome("a", [], 1.0, "gone").failed
    end(2**22 + 1)  # no process, which has ended before it was killed


def test_the_stages_together_take_twelve_minutes_at_most() -> None:
    assert sum(stage.seconds for stage in gpu.STAGES.values()) <= 12 * 60


def test_a_prepared_folder_has_wheels_pins_and_scripts(tmp_path, monkeypatch) -> None:
    commands = []

    def run(command, check):
        commands.append(command)
        (tmp_path / "away" / "bradley-9.9-py3-none-any.whl").touch()

    monkeypatch.setattr(subprocess, "run", run)
    told = prepare(tmp_path / "away")
    assert (tmp_path / "away" / "benchmarks" / "gpu.py").is_file() and (tmp_path / "away" / "constraints.txt").is_file()
    assert [command[3] for command in commands] == ["wheel", "download"]
    assert (
        commands[1][-2].endswith("bradley-9.9-py3-none-any.whl[lora,8bit,liger,data,gpu]") and commands[1][-1] == "trl"
    )
    assert "--no-index --find-links away" in told and "benchmarks/gpu.py --output" in told
