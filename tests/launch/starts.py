"""What tests of the launcher share: starting the toy, knowing its processes, and when they are gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bradley.launch.exit import Ending
from bradley.launch.local import LaunchJob, launch

TOY = Path(__file__).with_name("toy.py")
SOURCE = Path(__file__).parents[2] / "src"
DRIVER = """
import sys
from pathlib import Path
from bradley.launch.local import LaunchJob, launch
toy, output, scenario = sys.argv[1:]
ended = launch(LaunchJob([toy, output, scenario], Path(output), 2), max_restarts=2)
print(ended, flush=True)
sys.exit(ended.code)
"""


class Start(NamedTuple):
    """One rank that began."""

    pid: int
    agent: int
    rank: int
    resumed: int


def job(output: Path, scenario: str) -> LaunchJob:
    output.mkdir(exist_ok=True)
    return LaunchJob([str(TOY), str(output), scenario], output, 2)


def run(output: Path, scenario: str, max_restarts: int = 0) -> tuple[Ending, list[str]]:
    """Launch the toy in this process; how it ended, and what was said."""
    said: list[str] = []
    return launch(job(output, scenario), max_restarts, said.append), said


def start(output: Path, scenario: str) -> "subprocess.Popen[str]":
    """Launch the toy from a process of its own, which can be killed."""
    job(output, scenario)
    return subprocess.Popen(command(output, scenario), env=environment(), stdout=subprocess.PIPE, text=True)


def command(output: Path, scenario: str) -> list[str]:
    return [sys.executable, "-c", DRIVER, str(TOY), str(output), scenario]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


def starts(output: Path) -> list[Start]:
    path = output / "starts"
    return [Start(*map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []


def until(true: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait for something to become true; the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began


def gone(pid: int) -> bool:
    """Whether a process runs no more; one that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(output: Path) -> bool:
    return all(gone(pid) for one in starts(output) for pid in (one.pid, one.agent))


def end(process: "subprocess.Popen[str]", output: Path) -> None:
    """Whatever a test has left."""
    for pid in {pid for one in starts(output) for pid in (one.pid, one.agent)}:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()


def free_place() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"
