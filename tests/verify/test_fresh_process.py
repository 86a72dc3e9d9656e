"""The fresh process of `verify`: its answer alone counts, every other end is an error, and it ends with its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bradley.common.processes import child_environment
from bradley.common.signals import StopRequested, listening
from bradley.errors import BradleyError, CheckpointError
from bradley.verify import Check, _in_fresh_process

ROW = '{"name": "a", "largest": 0.0, "allowed": 1.0}'
HEAD = "import os, sys, time\npipe = int(next(a for a in sys.argv if a.startswith('--answer')).partition('=')[2])\n"
START = """
import sys
from pathlib import Path
import bradley.verify
bradley.verify.MODULE = "stand_in"
bradley.verify._in_fresh_process(Path("m"), False, "", False)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Gives the fresh process another program."""
    monkeypatch.setattr("bradley.verify.MODULE", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # of a program as long as the last, in the same second

    def becomes(program):
        (tmp_path / "stand_in.py").write_text(HEAD + program)

    return becomes


def checks():
    return _in_fresh_process(Path("m"), False, "", False)


def test_the_answer_of_the_pipe_counts(child):
    child(f"print('noise'); os.write(pipe, b'{{\"checks\": [{ROW}]}}')")
    assert checks() == [Check("a", 0.0, 1.0)]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (f"print('{{\"checks\": [{ROW}]}}')", "is broken"),
        (f"print('{{\"checks\": [{ROW}]}}'); raise SystemExit", "is broken"),
        ("os.write(pipe, b'{\"checks\": []}')", "names no check"),
        ("os.write(pipe, b'{}')", "names no check"),
        ("os.write(pipe, b'[1]')", "is broken"),
        ('os.write(pipe, b\'{"checks": [{"name": 1}]}\')', "is broken: checks.0.name"),
        ("os.write(pipe, b'{\"checks\": null}')", "is broken: checks"),
        ("os.write(pipe, b'[' * 60000)", "nested too deeply"),
        ("os.write(pipe, b'\\xff')", "is broken"),
        ("raise SystemExit(3)", "ended with exit code 3: no message"),
        ("raise ValueError('torn\\x1b[2J')", r"exit code 1: ValueError: torn\\x1b\[2J"),
        ("os.kill(os.getpid(), 9)", "ended by signal SIGKILL, as by a system without free memory"),
        ("[print('x' * 10**6, file=sys.stderr) for _ in range(20)]; raise SystemExit(1)", "exit code 1: xxx"),
    ],
)
def test_no_answer_is_an_error_of_one_line(child, program, message):
    child(program)
    with pytest.raises(CheckpointError, match=message) as caught:
        checks()
    assert caught.value.message.isprintable() and len(caught.value.message) < 600 and caught.value.hint


def test_an_error_of_the_fresh_process_keeps_its_class(child):
    for kind, code in (("DiskError", 7), ("UserError", 2), ("str", 4), ("", 4)):
        child(f'os.write(pipe, b\'{{"error": "e", "hint": "h", "kind": "{kind}"}}\')')
        with pytest.raises(BradleyError) as caught:
            checks()
        assert (caught.value.exit_code, caught.value.message, caught.value.hint) == (code, "e", "h")


SLEEP = "open('started', 'w').write(str(os.getpid())); os.rename('started', 'pid'); time.sleep(60)"


def pid_of(folder):
    while not (folder / "pid").exists():
        time.sleep(0.02)
    return int((folder / "pid").read_text())


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_stop_request_ends_the_wait_and_the_process(child, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    child(SLEEP)

    def ask():
        pid_of(tmp_path)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    with listening(), pytest.raises(StopRequested):
        checks()
    thread.join()
    assert gone(pid_of(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_the_process_ends_with_its_parent(child, tmp_path, number):
    child(SLEEP)
    places = {**child_environment(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{child_environment().get('PYTHONPATH', '')}"}
    parent = subprocess.Popen([sys.executable, "-c", START], cwd=tmp_path, env=places)
    pid = pid_of(tmp_path)
    parent.send_signal(number)
    assert parent.wait() == -number
    deadline = time.monotonic() + 10
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
