"""The launcher around real processes: first causes, restarts, signals, and that nobody is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from bradley.errors import UserError
from bradley.launch.local import LOOPBACK, LaunchJob, Nodes, attempt, environment, meeting, training_job
from bradley.runs import status
from tests.launch.starts import all_gone, command, end, gone, run, start, starts, until
from tests.launch.starts import environment as own_environment
from tests.launch.starts import job as toy_job

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of a process that is killed")


def test_a_killed_rank_is_the_first_cause_and_the_run_goes_on_from_there(tmp_path):
    began = time.monotonic()
    ended, said = run(tmp_path / "run", "die once", max_restarts=2)
    assert ended.code == 0 and time.monotonic() - began < 40
    first, second = starts(tmp_path / "run")[:2], starts(tmp_path / "run")[2:]
    assert [one.resumed for one in first] == [0, 0] and [one.resumed for one in second] == [1, 1]
    lost = next(one.pid for one in first if one.rank == 1)
    assert said == [f"restart 1 of 2: rank 1 (process {lost}) was killed by SIGKILL"]
    assert all_gone(tmp_path / "run")


def test_the_status_of_a_run_that_was_lost_says_so(tmp_path):
    (tmp_path / "run").mkdir()
    status.write_status(tmp_path / "run", "running")
    ended, _ = run(tmp_path / "run", "die once")
    found = json.loads((tmp_path / "run/status.json").read_text())
    assert ended.code == found["code"] == 8 and found["state"] == "failed" and not ended.told
    assert found["what"] == ended.what and "was killed by SIGKILL" in found["what"]


def test_a_run_that_says_what_is_wrong_is_not_started_again(tmp_path):
    ended, said = run(tmp_path / "run", "wrong data", max_restarts=2)
    assert ended == (3, "wrong in a way that has the code 3", "type this", True)
    assert len(starts(tmp_path / "run")) == 2 and not said


@pytest.mark.nightly
def test_the_first_rank_says_what_is_wrong_in_all_before_it_is_ended(tmp_path, capfd):
    ended, said = run(tmp_path / "run", "late", max_restarts=2)
    assert ended.code == 2 and not said
    assert "this is wrong" in capfd.readouterr().out


@pytest.mark.nightly
def test_ranks_that_hear_nothing_are_ended_too(tmp_path):
    began = time.monotonic()
    ended, _ = run(tmp_path / "run", "die among the deaf")
    assert ended.code == 8 and "rank 1" in ended.what and "SIGKILL" in ended.what
    assert all_gone(tmp_path / "run")
    assert time.monotonic() - began < 15 + 15, "15 seconds for the start of torchrun on a busy machine"


@linux
@pytest.mark.parametrize(
    ("scenario", "ranks", "what"),
    [
        ("stands still", [1], "stands still for"),
        pytest.param("the first stands still", [0], "stands still for", marks=pytest.mark.nightly),
        pytest.param("both stand still", [0, 1], "stands still for", marks=pytest.mark.nightly),
        ("hangs at its exit", [1], "has not ended"),
        pytest.param("the first hangs at its exit", [0], "has not ended", marks=pytest.mark.nightly),
        pytest.param("is suspended at its exit", [1], "", marks=pytest.mark.nightly),
    ],
)
def test_a_rank_that_stands_still_is_ended(tmp_path, scenario, ranks, what):
    ended, _ = run(tmp_path / "run", scenario)
    pids = {one.rank: one.pid for one in starts(tmp_path / "run")}
    told = [f"rank {rank} of this machine (process {pids[rank]}) {what}" for rank in ranks]
    assert ended.code == 8 and any(text in ended.what for text in told), ended.what
    assert all_gone(tmp_path / "run")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("scenario", "code", "what", "tries"),
    [
        ("well", 0, "", 1),
        ("crash", 8, "was killed by SIGSEGV", 3),
        ("diverged", 5, "wrong in a way that has the code 5", 1),
        ("silent", 8, "no progress for 10 seconds", 3),
        ("bug", 1, "ended with exit code 1: a bug", 1),
    ],
)
def test_every_way_to_end(tmp_path, scenario, code, what, tries):
    ended, said = run(tmp_path / "run", scenario, max_restarts=2)
    assert ended.code == code and what in ended.what
    assert len(starts(tmp_path / "run")) == 2 * tries and len(said) == tries - 1
    assert all_gone(tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_a_signal_reaches_every_rank_and_the_run_is_not_started_again(tmp_path, number):
    """The launcher is what a shell script of a scheduler has put in its own place."""
    output = tmp_path / "run"
    toy_job(output, "stop")
    script = tmp_path / "job.sh"
    script.write_text('#!/bin/sh\nexport SOMETHING=1\nexec "$@"\n')
    process = subprocess.Popen(["sh", str(script), *command(output, "stop")], env=own_environment())
    try:
        until(lambda: (output / "ready-0").exists() and (output / "ready-1").exists())
        os.kill(process.pid, number)
        assert process.wait(20) == 75
        assert [(output / f"asked-{rank}").read_text().split()[0] for rank in (0, 1)] == [
            signal.Signals(number).name
        ] * 2
        assert len(starts(output)) == 2 and all_gone(output)
    finally:
        end(process, output)


@pytest.mark.parametrize(("begun", "code"), [pytest.param(False, 75, marks=pytest.mark.nightly), (True, 8)])
def test_a_rank_lost_after_a_stop_signal_is_a_loss_once_the_run_has_begun(tmp_path, begun, code):
    output, signals = tmp_path / "run", []
    job = toy_job(output, "killed when asked")

    def ask():
        until(lambda: (output / "ready-0").exists() and (output / "ready-1").exists())
        if begun:
            status.write_status(output, "running")
        signals.append(signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    ended, started = attempt(job, job.command, signals)
    thread.join()
    assert (ended.code, started) == (code, True), ended


def test_a_signal_before_the_first_rank_ends_at_once(tmp_path):
    ended, started = attempt(toy_job(tmp_path / "run", "unheard"), ["none.py"], [signal.SIGTERM])
    assert (ended.code, started) == (75, False)


@pytest.mark.nightly
def test_a_rank_that_is_asked_to_stop_before_it_can_listen_stops(tmp_path):
    output = tmp_path / "run"
    process = start(output, "unheard")
    try:
        until(lambda: len(starts(output)) == 2)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 75 and all_gone(output)
    finally:
        end(process, output)


@linux
def test_nobody_outlives_a_launcher_that_is_killed(tmp_path):
    output = tmp_path / "run"
    process = start(output, "unheard")
    try:
        until(lambda: len(starts(output)) == 2)
        ranks = [one.pid for one in starts(output)]
        assert not any(map(gone, ranks))
        process.kill()
        assert until(lambda: all_gone(output), 10) < 3
    finally:
        end(process, output)


@linux
@pytest.mark.nightly
def test_nobody_outlives_a_torchrun_that_is_killed(tmp_path):
    output = tmp_path / "run"
    process = start(output, "unheard")
    try:
        until(lambda: len(starts(output)) == 2)
        for _ in range(3):  # the launcher starts it again twice
            last = starts(output)[-1]
            os.kill(last.agent, signal.SIGKILL)
            until(lambda known=last: gone(known.pid), 3)
            until(lambda known=last: process.poll() is not None or starts(output)[-1].agent != known.agent)
            until(lambda: process.poll() is not None or len(starts(output)) % 2 == 0)
        assert process.wait(20) == 8
    finally:
        end(process, output)


@linux
@pytest.mark.nightly
def test_the_launcher_as_the_first_process_of_a_container(tmp_path):
    output = tmp_path / "run"
    toy_job(output, "stop")
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("this machine grants no process namespaces")
    process = subprocess.Popen([*inside, *command(output, "stop")], env=own_environment())
    try:
        until(lambda: (output / "ready-0").exists() and (output / "ready-1").exists())
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            first = int(file.read().split()[0])
        os.kill(first, signal.SIGTERM)
        assert process.wait(20) == 75
    finally:
        process.kill()
        process.wait()


def test_a_command_line_that_cannot_work_is_refused_before_anything_starts():
    train = ["train", "run.toml", "--output", "runs/a"]
    assert training_job(train, 2, Nodes()) == LaunchJob(
        ["-m", "bradley", *train], training_job(train, 2, Nodes()).output, 2
    )
    assert str(training_job([*train[:2], "--output=b"], 1, Nodes()).output) == "b"
    for arguments, nodes, message in (
        (["score", "m", "x"], Nodes(), "runs `train`, got `score`"),
        (train[:2], Nodes(), "no --output is given"),
        ([*train[:2], "--output"], Nodes(), "no --output is given"),
        (train, Nodes(2), "needs a place to meet"),
        (train, Nodes(2, 0, "host"), "needs a place to meet"),
        (train, Nodes(2, 2, "host:1"), "--node-rank 2 of 2 machines"),
        (train, Nodes(1, 0, "host:1"), "no effect on one machine"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            training_job(arguments, 2, nodes)
        assert caught.value.hint


def test_what_torchrun_is_told_of_one_machine_and_of_several(tmp_path, monkeypatch):
    alone, several = (
        LaunchJob(["x"], tmp_path / "run", 2, nodes) for nodes in (Nodes(), Nodes(3, 1, "10.0.0.1:29500"))
    )
    assert "store_type=file" in meeting(alone, tmp_path) and "127.0.0.1" in meeting(alone, tmp_path)
    told = meeting(several, tmp_path)
    assert told[:4] == ["--nnodes", "3", "--nproc-per-node", "2"] and "10.0.0.1:29500" in told
    assert any(text.startswith("is_host=0,") for text in told)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
        assert environment(alone, tmp_path)[name] == LOOPBACK and name not in environment(several, tmp_path)
        monkeypatch.setenv(name, "eth1")
        assert environment(alone, tmp_path)[name] == "eth1" == environment(several, tmp_path)[name]
