"""One rank without torchrun: any number of stop signals while it starts ends it with 75."""

import os
import signal
import subprocess
import sys
import time

import pytest

from bradley.common.processes import child_environment
from bradley.launch.rank import end_orderly, register


@pytest.mark.parametrize("sends", [1, 5, 40])
def test_signals_while_a_rank_starts_end_it_as_preempted(tmp_path, sends):
    """From the moment at which the launcher knows of it."""
    (tmp_path / "agent").write_text(str(os.getpid()))
    (tmp_path / "x.py").write_text("import time; time.sleep(30)")
    places = {**child_environment(), "RANK": "0", "LOCAL_RANK": "0"}
    command = [sys.executable, "-P", "-m", "bradley.launch.rank", str(tmp_path), str(tmp_path / "x.py")]
    process = subprocess.Popen(command, env=places, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "rank-0").exists():
        assert time.monotonic() < deadline
    for number in range(sends):
        process.send_signal((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)[number % 3])
    _, said = process.communicate()
    assert process.returncode == 75 and "Traceback" not in said
    assert said.count("error:") == 1 and (tmp_path / "ended-0").exists() and not (tmp_path / "rank-0").exists()


def run_rank(folder, program, number, script):
    """Run a rank by a program that gets the name of a signal; the script is the command of the rank."""
    (folder / "agent").write_text(str(os.getpid()))
    (folder / "x.py").write_text(script)
    places = {**os.environ, "RANK": "0", "LOCAL_RANK": "0"}
    command = [sys.executable, "-P", "-c", program, number, str(folder), str(folder / "x.py")]
    return subprocess.run(command, env=places, stderr=subprocess.PIPE, text=True)


NESTED = """
import os, signal, sys
from pathlib import Path
rename, number = Path.rename, getattr(signal, sys.argv.pop(1))
def again(path, target):
    found = rename(path, target)
    os.kill(os.getpid(), number)
    return found
Path.rename = again
from bradley.launch.rank import main
main()
"""
"""A rank that gets the next signal in the middle of the handler of the first."""


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_during_the_handler_of_another_changes_nothing(tmp_path, second):
    done = run_rank(tmp_path, NESTED, second, "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert done.returncode == 75 and "Traceback" not in done.stderr, done.stderr


REGISTERED = """
import os, signal, sys
from bradley.launch import rank
register, number = rank.register, getattr(signal, sys.argv.pop(1))
def known(mark):
    register(mark)
    os.kill(os.getpid(), number)
rank.register = known
rank.main()
"""
"""A rank that gets a signal as soon as the launcher knows of the rank."""


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_at_the_registration_of_a_rank_finds_the_handlers(tmp_path, first):
    done = run_rank(tmp_path, REGISTERED, first, "")
    assert done.returncode == 75 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "ended-0").exists() and not (tmp_path / "rank-0").exists()


def test_an_orderly_end_may_come_twice_and_before_the_start(tmp_path):
    mark, ended = tmp_path / "rank-0", tmp_path / "ended-0"
    end_orderly(mark, ended)
    assert ended.read_text() == str(os.getpid())
    ended.unlink()
    register(mark)
    end_orderly(mark, ended)
    end_orderly(mark, ended)
    assert ended.exists() and not mark.exists()
