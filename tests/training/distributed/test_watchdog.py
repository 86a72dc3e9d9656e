"""The watchdog in threads of this process, and in processes that are stopped and that hang."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bradley.training.distributed.watchdog import SLOW_FACTOR, Watchdog
from tests.launch.starts import environment, gone, until


class Ended(list):
    """What a watchdog under test did instead of ending the process."""

    def dog(self, seconds, log):
        return Watchdog(seconds, log, on_hang=self.append, leave=self.append)


def warm(dog):
    """So many steps that their median is known."""
    for _ in range(4):
        dog.step()


@pytest.fixture
def ended():
    return Ended()


def test_silence_ends_the_process_with_its_stacks_in_the_log(tmp_path, ended, capfd):
    log = tmp_path / "logs" / "rank-0.log"
    with ended.dog(0.3, log) as dog:
        warm(dog)
        began = time.monotonic()
        until(lambda: len(ended) == 2, 5)
        assert 0.3 <= time.monotonic() - began < 3
    assert ended[0].startswith("no progress for 0 seconds") and ended[1] == 8
    for stacks in (log.read_text(), capfd.readouterr().err):
        assert "test_silence_ends_the_process" in stacks and "no progress" in stacks


def test_beats_keep_it_alive_and_the_end_of_the_block_ends_it(tmp_path, ended):
    with ended.dog(0.5, tmp_path / "log") as dog:
        warm(dog)
        for _ in range(10):
            time.sleep(0.1)
            dog.heartbeat()
    time.sleep(0.7)
    assert not ended and not (tmp_path / "log").exists()


def test_nothing_is_measured_before_the_first_beat(tmp_path, ended):
    with ended.dog(0.2, tmp_path / "log"):
        time.sleep(0.6)
    assert not ended


def test_zero_turns_it_off(tmp_path, ended):
    before = threading.active_count()
    with ended.dog(0, tmp_path / "log") as dog:
        dog.heartbeat()
        assert threading.active_count() == before


def test_the_limit_follows_the_median_step(tmp_path, ended, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dog = ended.dog(60, tmp_path / "log")
    for seconds in (0, 20, 20):
        now[0] += seconds
        dog.step()
        assert dog.limit == SLOW_FACTOR * 60, "not warm yet"
    for seconds in (20, 500):
        now[0] += seconds
        dog.step()
    assert dog.limit == 5 * 20
    for _ in range(50):
        now[0] += 2
        dog.step()
    assert dog.limit == 60
    with dog.slow():
        assert dog.limit == SLOW_FACTOR * 60
        now[0] += 5000
    now[0] += 30
    dog.step()
    assert dog.limit == 60 and max(dog._steps) == 30, "what lies in between is no part of a step"


def test_a_run_that_saves_after_every_step_gets_warm(tmp_path, ended, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dog = ended.dog(60, tmp_path / "log")
    for _ in range(4):
        now[0] += 20
        dog.step()
        with dog.slow():
            now[0] += 300
    assert dog.limit == 100


def test_it_ends_the_process_where_its_log_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    code = HANG.format(seconds=0.5, log=str(tmp_path / "file" / "log"))
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 8 and "no progress" in done.stderr


HANG = """
import time
from pathlib import Path
from bradley.training.distributed.watchdog import Watchdog
with Watchdog({seconds}, Path({log!r})) as dog:
    for _ in range(4):
        dog.step()
    print("up", flush=True)
    time.sleep(100)
"""


def test_a_job_that_is_suspended_and_wakes_again_is_not_ended(tmp_path):
    code = HANG.format(seconds=2.0, log=str(tmp_path / "log")).replace("time.sleep(100)", BEATING)
    process = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(4)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(20) == 0 and not (tmp_path / "log").exists()
    finally:
        process.kill()
        process.wait()


BEATING = """
    for _ in range(15):
        time.sleep(0.2)
        dog.heartbeat()
"""

RANKS = Path(__file__).with_name("ranks.py")


@pytest.mark.nightly
@pytest.mark.parametrize("place", ["forward", "reduce", "save", "evaluate"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_rank_of_gloo_ends_the_others(tmp_path, place, number):
    """Two ranks of a process group, one lost in each part of a step; the launcher tells why."""
    from bradley.launch.local import LaunchJob, launch

    output = tmp_path / "run"
    output.mkdir()
    began = time.monotonic()
    ended = launch(LaunchJob([str(RANKS), str(output), place, str(int(number))], output, 2))
    pids = [int(path.read_text()) for path in output.glob("pid-*")]
    lost_at = float((output / "lost").read_text())
    assert ended.code == 8 and len(pids) == 2 and all(map(gone, pids)), ended
    assert time.time() - lost_at < (15 if number == signal.SIGKILL else 15 + 5), (ended, time.monotonic() - began)
    if number == signal.SIGSTOP:
        assert "no progress" in (output / "logs" / "rank-0.log").read_text()
