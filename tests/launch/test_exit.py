"""The first cause of a failed run, from what it says and from how its ranks ended."""

import json
import signal

import pytest

from bradley.errors import EXIT_CODES
from bradley.launch.exit import Failure, first_cause, fresh_status, stamp

KILLED, TERMINATED = -signal.SIGKILL, -signal.SIGTERM


def failures(*codes):
    return [Failure(rank, 100 + rank, code) for rank, code in enumerate(codes)]


def said(code, state="failed"):
    return {"state": state, "code": code, "what": f"what {code}", "fix": "fix"}


@pytest.mark.parametrize(
    ("status", "codes", "expected", "words"),
    [
        ({}, [KILLED, TERMINATED], 8, "rank 0 (process 100) was killed by SIGKILL"),
        ({}, [1, KILLED], 8, "rank 1 (process 101) was killed by SIGKILL"),  # both found dead in one look
        (said(8), [8, -signal.SIGSEGV], 8, "rank 1 (process 101) was killed by SIGSEGV"),
        (said(75, "preempted"), [75, KILLED], 8, "rank 1"),  # torchrun asked the other ranks to stop
        (said(75, "preempted"), [75, 75], 75, "what 75"),
        (said(3), [8, 3], 3, "what 3"),
        (said(5, "diverged"), [5, KILLED], 5, "what 5"),
        (said(8), [8, TERMINATED], 8, "what 8"),
        ({}, [8, 3, TERMINATED], 3, "rank 1 (process 101) ended with exit code 3: data"),
        ({}, [8, 8], 8, "rank 0 (process 100) ended with exit code 8: rank lost"),
        ({}, [1, TERMINATED], 1, "exit code 1: a bug"),
        ({}, [42], 1, "exit code 42: a bug"),
        ({}, [TERMINATED, TERMINATED], 8, "was killed by SIGTERM"),
        ({}, [], 8, "torchrun ended before"),
    ],
)
def test_the_first_cause(status, codes, expected, words):
    ended = first_cause(status, failures(*codes), ours=())
    assert ended.code == expected and words in ended.what and ended.fix


def test_what_the_launcher_killed_itself_is_no_cause():
    assert first_cause({}, failures(1, KILLED), ours={101}).code == 1
    assert first_cause({}, failures(1, KILLED), ours=()).code == 8


def test_every_exit_code_of_a_run_is_passed_on():
    for code in set(EXIT_CODES) - {0}:
        assert first_cause(said(code), failures(code), ours=()).code == code
        assert first_cause({}, failures(code), ours=()).code == code


def test_only_what_was_said_since_the_start_counts(tmp_path):
    assert fresh_status(tmp_path, stamp(tmp_path)) == {}
    old = tmp_path / "status.json"
    old.write_text(json.dumps(said(3)))
    before = stamp(tmp_path)
    assert fresh_status(tmp_path, before) == {}
    new = tmp_path / "new"
    new.write_text(json.dumps(said(3)))  # the same words again
    new.replace(old)
    assert fresh_status(tmp_path, before) == said(3)
    for text in ("{", "[]", json.dumps({"state": "running", "code": 0}), json.dumps({"state": "done", "code": 0})):
        new.write_text(text)
        new.replace(old)
        assert fresh_status(tmp_path, before) == {}, text
