"""Starts are counted as long as they bring nothing, and no longer."""

import subprocess

import pytest

from bradley.common.ownership import is_ours
from bradley.errors import CheckpointError
from bradley.runs.layout import RECORD, RUN_MARKS
from bradley.runs.layout import STARTS as ATTEMPTS
from bradley.runs.starts import MOST, count_start, forget_starts, mark_begun


def test_five_starts_at_one_step_are_the_most(tmp_path):
    assert [count_start(tmp_path, None) for _ in range(5)] == [1, 2, 3, 4, 5]
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"crash loop: .* 5 times in a row .* before the first") as caught:
            count_start(tmp_path, None)
    assert caught.value.exit_code == 4 and MOST == 5


def test_a_new_step_begins_the_count_anew(tmp_path):
    steps = [None, None, None, None, 0, 0, 0, 0, 0]
    assert [count_start(tmp_path, step) for step in steps] == [1, 2, 3, 4, 1, 2, 3, 4, 5]
    with pytest.raises(CheckpointError, match="after the checkpoint of step 0"):
        count_start(tmp_path, 0)
    assert count_start(tmp_path, 3) == 1


def test_an_end_that_is_no_crash_is_not_counted(tmp_path):
    for _ in range(8):
        count_start(tmp_path, 4)
        forget_starts(tmp_path)
    (tmp_path / RECORD).write_text("{}")
    forget_starts(tmp_path)
    forget_starts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]


def test_a_count_stays_as_the_sign_of_a_begun_run_until_there_is_a_record(tmp_path):
    assert mark_begun(tmp_path) and not mark_begun(tmp_path)
    assert count_start(tmp_path, None) == 1
    forget_starts(tmp_path)
    assert is_ours(tmp_path, RUN_MARKS) and count_start(tmp_path, None) == 1


def test_the_hint_is_what_to_type(tmp_path):
    folder = tmp_path / "a run; with $(blanks)"
    folder.mkdir()
    for _ in range(5):
        count_start(folder, 2)
    with pytest.raises(CheckpointError) as caught:
        count_start(folder, 2)
    subprocess.run(caught.value.hint.split("`")[1], shell=True, check=True)
    assert count_start(folder, 2) == 1


@pytest.mark.parametrize("content", ["{torn", "[]", '{"step": 2}', '{"step": 2, "starts": null}'])
def test_a_broken_count_is_no_reason_to_go_on_for_ever(content, tmp_path):
    (tmp_path / ATTEMPTS).write_text(content)
    with pytest.raises(CheckpointError, match="is broken"):
        count_start(tmp_path, 2)
