"""Ranks that stand still are found by the launcher's clock: while they start, under way, and at the end."""

import os
import subprocess
import sys
import time

import pytest

from bradley.launch import heartbeat
from bradley.launch.heartbeat import Heartbeat, Silence, limit_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the parent of a process")


@pytest.fixture
def clock(monkeypatch):
    """The launcher's clock, which a test moves in looks of a second each."""
    now = [1000.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def ranks(tmp_path):
    """Two ranks that have begun, children of this process, and the folder in which they register."""
    living = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    for number, process in enumerate(living):
        (tmp_path / f"rank-{number}").write_text(str(process.pid))
        (tmp_path / f"beat-{number}").write_text("20")
    yield living
    for process in living:
        process.kill()
        process.wait()


def pass_seconds(silence, clock, seconds, *beating):
    """Look once a second; the first thing that is found."""
    for _ in range(seconds):
        clock[0] += 1
        for path in beating:
            os.utime(path, (clock[0], clock[0]))
        if any(found := silence.look()):
            return found
    return "", []


def test_a_rank_without_a_beat_is_found_and_one_that_beats_is_not(tmp_path, ranks, clock):
    silence = Silence(tmp_path, 2, os.getpid())
    assert pass_seconds(silence, clock, 500, tmp_path / "beat-0", tmp_path / "beat-1") == ("", [])
    what, pids = pass_seconds(silence, clock, 25, tmp_path / "beat-0")
    assert what == f"rank 1 of this machine (process {ranks[1].pid}) stands still for 21 seconds"
    assert pids == [ranks[1].pid]


def test_a_launcher_that_was_suspended_with_its_ranks_ends_nobody(tmp_path, ranks, clock):
    silence = Silence(tmp_path, 2, os.getpid())
    for _ in range(5):
        assert pass_seconds(silence, clock, 15) == ("", [])
        clock[0] += 3600
        assert pass_seconds(silence, clock, 1, tmp_path / "beat-0", tmp_path / "beat-1") == ("", [])


def test_ranks_that_never_begin_are_found(tmp_path, clock):
    silence = Silence(tmp_path, 2, os.getpid(), 300)
    assert pass_seconds(silence, clock, 300) == ("", [])
    assert pass_seconds(silence, clock, 2) == (
        "0 of 2 processes of this machine have begun within 301 seconds",
        [],
    )


def test_a_rank_that_stays_after_the_others_is_found(tmp_path, ranks, clock):
    silence = Silence(tmp_path, 2, os.getpid())
    assert pass_seconds(silence, clock, 15, tmp_path / "beat-0", tmp_path / "beat-1") == ("", [])
    (tmp_path / "rank-0").rename(tmp_path / "ended-0")
    ranks[0].kill()
    ranks[0].wait()
    what, pids = pass_seconds(silence, clock, 30, tmp_path / "beat-1")
    assert what == f"rank 1 of this machine (process {ranks[1].pid}) has not ended 21 seconds after another"
    assert pids == [ranks[1].pid]


def test_a_torchrun_that_stays_after_its_ranks_is_found(tmp_path, ranks, clock):
    for number, process in enumerate(ranks):
        (tmp_path / f"rank-{number}").rename(tmp_path / f"ended-{number}")
        process.kill()
        process.wait()
    what, pids = pass_seconds(Silence(tmp_path, 2, os.getpid(), 50), clock, 60)
    assert what.startswith("torchrun has not ended 51 seconds") and pids == []


def test_a_process_with_the_number_of_a_rank_that_is_gone_is_let_be(tmp_path, ranks, clock):
    assert pass_seconds(Silence(tmp_path, 2, os.getpid() + 1), clock, 60) == ("", [])


def test_the_limit_is_that_of_the_configuration(tmp_path):
    assert [limit_of(seconds) for seconds in (0, 1, 60)] == [float("inf"), 30, 120]
    heartbeat.set_limit(5)  # no launcher
    try:
        beat = Heartbeat(tmp_path / "beat-0")
        assert (tmp_path / "beat-0").read_text() == "120.0"
        heartbeat.set_limit(0)
        assert (tmp_path / "beat-0").read_text() == "inf"
        before, deadline = beat.path.stat().st_mtime_ns, time.monotonic() + 20
        while beat.path.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        Heartbeat.current = None
