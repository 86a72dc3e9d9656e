"""`status.json`: what the launcher says of a run whose main process cannot."""

import json

import pytest

from bradley.runs import status


@pytest.mark.parametrize(
    ("state", "code", "last", "replaced"),
    [
        ("running", None, 8, True),
        ("failed", 8, 8, True),
        ("running", None, 1, True),
        ("failed", 5, 8, False),
        ("preempted", 75, 8, False),
        ("done", 0, 8, False),
    ],
)
def test_the_last_word_is_the_first_cause(tmp_path, state, code, last, replaced):
    status.write_status(tmp_path, state, code, "one of the 2 processes is gone", "look")
    status.write_last(tmp_path, last, "rank 1 was killed by SIGKILL", "go on")
    found = json.loads((tmp_path / "status.json").read_text())
    assert (found["what"] == "rank 1 was killed by SIGKILL") is replaced
    assert (found["state"], found["code"]) == (("failed", last) if replaced else (state, code))


def test_a_run_without_a_status_gets_none(tmp_path):
    status.write_last(tmp_path / "absent", 8, "rank 1 was killed", "go on")
    assert not (tmp_path / "absent").exists()
