"""The terminal of a run is closed, as by a connection that is lost: the run is saved."""

import json
import os
import pty
import signal
import time

import pytest

from tests.helpers import changed

from . import real, typed
from .results import record

LONG = changed(real.SMALL, train={"max_steps": 5000}, eval={"every": 5000, "train_probe": 0})
SECONDS = 60.0


def started(command, places):
    """A process whose terminal is ours, as (its id, our end of the terminal), once it trains."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, places)
    heard, deadline = b"", time.monotonic() + SECONDS
    while b"/5000" not in heard:
        assert time.monotonic() < deadline, heard
        try:
            heard += os.read(terminal, 4096)
        except OSError:
            pytest.fail(heard.decode())
    return pid, terminal


def ended(pid):
    """The exit code of a process."""
    deadline = time.monotonic() + SECONDS
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(found[1])


def test_a_closed_terminal_saves_the_run(tmp_path):
    settings, places = typed.prepared(tmp_path, LONG)
    pid, terminal = started(typed.train(settings, tmp_path / "run"), places)
    os.close(terminal)
    assert ended(pid) == 75
    status = json.loads((tmp_path / "run/status.json").read_text())
    step = int(status["what"].partition("stopped by SIGHUP after step ")[2].split()[0])
    assert status["state"] == "preempted" and (tmp_path / f"run/checkpoints/step-{step:06d}").is_dir()
    record("C5", "the terminal is closed (SIGHUP)", "saved, exit 75", "as expected")


@pytest.mark.nightly  # common/test_signals.py leaves an ignored SIGHUP ignored by day
def test_a_run_that_is_to_outlive_its_terminal_goes_on_without_it(tmp_path):
    """As `nohup` has it, with a screen that is gone."""
    settings, places = typed.prepared(tmp_path, LONG)
    pid, terminal = started(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *typed.train(settings, tmp_path / "run")], places
    )
    os.close(terminal)
    time.sleep(1.0)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGTERM)
    assert ended(pid) == 75
    assert "stopped by SIGTERM" in json.loads((tmp_path / "run/status.json").read_text())["what"]
