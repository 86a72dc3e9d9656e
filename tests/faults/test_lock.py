"""One writer per run folder: a second one leaves within two seconds and changes nothing; a dead one's lock is taken."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import threading
import time
from itertools import combinations
from pathlib import Path

import pytest

from bradley.common import lock, signals
from bradley.common.lock import LOCK, folder_lock, read_owner
from bradley.errors import RunFolderError
from bradley.runs.claim import refuse_links

from . import harness
from .results import record


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")
    return tmp_path / "run"


@pytest.fixture
def holder(run):
    """A process that holds the folder until it is killed; its number."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with folder_lock(run):
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def tree(folder):
    """Every file with its content, time and inode."""
    found = {}
    for path in sorted(folder.rglob("*")):
        at = path.stat()
        found[path.name] = (hashlib.sha256(path.read_bytes()).hexdigest(), at.st_mtime_ns, at.st_ino)
    return found


def attempt(run, wait=0.0):
    """What another process gets."""

    def work(tell):
        began = time.monotonic()
        try:
            with folder_lock(run, wait, lambda text: tell("said", text)):
                tell("got", True)
        finally:
            tell("seconds", time.monotonic() - began)

    return harness.forked(work)


def test_a_second_process_leaves_at_once_and_changes_nothing(run, holder):
    before = tree(run)
    second = attempt(run)
    assert second.code == 6 and second.of("seconds")[0] < 2 and not second.of("got")
    owner = read_owner(run / LOCK)
    for word in (str(holder), socket.gethostname(), owner["started"]):
        assert word in second.of("error")[0]
    assert tree(run) == before
    record(
        "C15", "a second process in the run folder", "exit 6 in 2 s, names the first, changes no file", "as expected"
    )


def test_a_second_process_that_waits_gets_the_folder_when_the_first_leaves(run, holder):
    threading.Timer(0.7, os.kill, (holder, signal.SIGKILL)).start()
    second = attempt(run, wait=10)
    assert second.code == 0 and 0.6 < second.of("seconds")[0] < 5


def test_a_process_of_this_machine_that_lives_is_not_waited_for(run, holder):
    before = tree(run)
    second = attempt(run, wait=90)
    assert second.code == 6 and second.of("seconds")[0] < 2 and tree(run) == before


def test_without_locks_of_the_system_a_process_of_this_machine_is_waited_for_too(run, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.5)
    owner = {"host": socket.gethostname(), "pid": 7, "started": "today", "token": "x"}
    (run / LOCK).write_text(json.dumps(owner))
    waited = attempt(run, wait=10)
    assert waited.code == 0 and 1.2 < waited.of("seconds")[0] < 4


def test_the_lock_of_a_killed_process_is_taken_over_and_said(run, holder):
    os.kill(holder, signal.SIGKILL)
    os.waitid(os.P_PID, holder, os.WEXITED | os.WNOWAIT)
    second = attempt(run)
    assert second.code == 0 and f"process {holder} on" in second.of("said")[0]
    assert not (run / LOCK).exists()


def test_a_number_that_lives_again_is_no_owner(run):
    """The file names this very process, which lives and does not hold it."""
    (run / LOCK).write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": "", "token": "x"}))
    assert attempt(run).code == 0
    record("C15", "a stale lock; its process number given out again", "taken over with a note", "as expected")


def test_an_empty_or_torn_lock_is_nobody(run):
    for content in ("", '{"host": "el'):
        (run / LOCK).write_text(content)
        second = attempt(run)
        assert second.code == 0 and second.of("said") == []


def elsewhere(run, age):
    path = run / LOCK
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "started": "today", "token": "x"}))
    os.utime(path, (time.time() - age, time.time() - age))


def test_the_lock_of_another_machine_is_held_as_long_as_it_is_touched(run, monkeypatch):
    elsewhere(run, 30)
    refused = attempt(run)
    assert refused.code == 6 and "process 7 on elsewhere, started today" in refused.of("error")[0]
    elsewhere(run, 61)
    assert attempt(run).code == 0
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.0)
    elsewhere(run, 0)
    waited = attempt(run, wait=5)
    assert waited.code == 0 and 0.8 < waited.of("seconds")[0] < 3
    elsewhere(run, 0)
    assert attempt(run, wait=0.4).code == 6
    record("C15", "the lock of another machine", "waits for it to become stale, takes over or refuses", "as expected")


def test_who_waits_says_so_and_stops_when_asked(run):
    elsewhere(run, 0)
    said = []
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    with signals.listening(), pytest.raises(signals.StopRequested, match="SIGTERM"):
        timer.start()
        began = time.monotonic()
        with folder_lock(run, 30, said.append):
            pytest.fail("the lock was another's")
    assert time.monotonic() - began < 5
    (line,) = said
    assert "process 7 on elsewhere, started today: waiting for up to 30 s" in line


def test_a_lock_is_touched_as_long_as_its_process_lives(run, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    with folder_lock(run):
        os.utime(run / LOCK, (0, 0))
        deadline = time.monotonic() + 5
        while time.time() - (run / LOCK).stat().st_mtime > 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert time.time() - (run / LOCK).stat().st_mtime < 5


def test_who_stood_still_while_the_folder_was_taken_is_told(run):
    with pytest.raises(RunFolderError, match="taken over by process 7 on elsewhere"), folder_lock(run) as held:
        held.check()
        (run / LOCK).unlink()
        elsewhere(run, 0)
        held.check()
    assert read_owner(run / LOCK)["pid"] == 7  # and it is left to that one


@pytest.mark.parametrize(
    "same", [same for count in range(4) for same in combinations(("host", "pid", "started"), count)]
)
def test_an_owner_is_known_by_its_token_alone(run, same):
    """Process ids come again, and two machines may have one name: another token is another owner."""
    other = {"host": "elsewhere", "pid": 7, "started": "today", "token": "x"}
    with folder_lock(run) as held:
        (run / LOCK).write_text(json.dumps(other | {"token": held.owner["token"]}))
        held.check()  # the same token is the same owner
        other |= {name: held.owner[name] for name in same}
        (run / LOCK).write_text(json.dumps(other))
        with pytest.raises(RunFolderError, match="was taken over by process"):
            held.check()
    assert read_owner(run / LOCK) == other


def test_where_the_disk_has_no_locks_the_touches_decide(run, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with folder_lock(run):
        assert attempt(run).code == 6
        os.utime(run / LOCK, (0, 0))
        assert attempt(run).code == 0


def made_anew(path):
    """Put an empty file of the same name in the place of a lock file."""
    path.unlink()
    path.touch()


def replaced(path):
    """Give the name of a lock file to another file, without a moment in which there is none."""
    path.with_name("other").touch()
    path.with_name("other").replace(path)


def before_the_first_flock(monkeypatch, act):
    """Have something happen once, between the opening of a lock file and its `flock`."""
    flock = lock._flock

    def acted_first(handle):
        monkeypatch.setattr(lock, "_flock", flock)
        act()
        return flock(handle)

    monkeypatch.setattr(lock, "_flock", acted_first)


@pytest.mark.parametrize("change", [Path.unlink, made_anew, replaced])
def test_a_file_that_has_lost_its_name_meanwhile_is_no_lock(run, monkeypatch, change):
    """Two processes would hold two files of one name, had the second one opened it before the first let go."""
    before_the_first_flock(monkeypatch, lambda: change(run / LOCK))
    with folder_lock(run, wait_seconds=5):
        assert attempt(run).code == 6


def test_a_folder_that_another_one_gets_meanwhile_is_that_ones(run, monkeypatch):
    """The file is removed and made anew by the owner that comes next, between our opening and our lock."""
    with contextlib.ExitStack() as others:

        def overtaken():
            (run / LOCK).unlink()
            others.enter_context(folder_lock(run))

        before_the_first_flock(monkeypatch, overtaken)
        with pytest.raises(RunFolderError, match=f"is being written by process {os.getpid()} on"):
            others.enter_context(folder_lock(run, wait_seconds=0.3))
        assert read_owner(run / LOCK)["pid"] == os.getpid()


def test_a_lock_goes_with_its_block_however_that_ends(run):
    with pytest.raises(ValueError, match="half-way"), folder_lock(run):
        assert (run / LOCK).exists()
        raise ValueError("half-way")
    assert {path.name for path in run.iterdir()} == {"metrics.jsonl"}


def race(run, count=4):
    """How many of several processes that start together get a folder; the winner holds it until all have tried."""
    go, done = os.pipe(), os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(go[1])
                os.read(go[0], 1)
                with folder_lock(run):
                    code = 0
                    os.write(done[1], b"x")
                    os.close(done[1])
                    time.sleep(0.3)
            except RunFolderError as error:
                code = error.exit_code
            finally:
                os._exit(code)
        children.append(child)
    os.close(go[0])
    os.close(go[1])  # the end of the file is the start of the race
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for end in done:
        os.close(end)
    return codes


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.nightly)])
def test_of_several_processes_one_gets_the_folder(rounds, run):
    results = [sorted(race(run)) for _ in range(rounds)]
    seen = f"{results.count([0, 6, 6, 6])} of {rounds}"
    record("C15", "races of four processes", "one gets it, three exit 6", seen)
    record("G12", "races of several processes for one folder", "one winner, 50 of 50", seen)
    assert results == [[0, 6, 6, 6]] * rounds


def test_a_run_folder_that_is_a_link_is_refused(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(RunFolderError, match="is a link to"), folder_lock(tmp_path / "link"):
        pass
    (run / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(RunFolderError, match="checkpoints is a link"):
        refuse_links(run)
    record("X9", "run folder or its checkpoints a link", "refused, exit 6", "as expected")
