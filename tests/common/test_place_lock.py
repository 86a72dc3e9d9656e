"""One writer of a place that need not exist: the second is refused, and what a killed one left goes with the next."""

import json
import os
import signal
from pathlib import Path

import pytest

from bradley.common import disk, files
from bradley.common.lock import LOCK, folder_lock, holder, place_lock
from bradley.errors import DiskError, RunFolderError
from tests.faults import harness, seam

TOKEN = "0123456789abcdef"


def write(place: Path) -> None:
    """What an export does."""
    with place_lock(place, lambda text: None) as lock:
        files.replace_folder(place, lambda draft: (draft / "file").write_text("x"), (), lock.owner["token"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_left_beside_a_place_that_was_written(tmp_path):
    write(tmp_path / "a" / "out")
    assert names(tmp_path / "a") == ["out"]


def test_whatever_call_a_writer_is_killed_in_the_next_one_leaves_nothing_else(tmp_path):
    calls = harness.forked(lambda tell: (seen := seam.count_calls(), write(tmp_path / "out"), tell("calls", len(seen))))
    assert calls.of("calls")[0] > 8
    for point in range(calls.of("calls")[0]):
        root = tmp_path / str(point)
        root.mkdir()
        (root / f".tmp-out-{TOKEN}").mkdir()
        (root / f".tmp-out-{TOKEN}" / "thesis.txt").write_text("mine")
        first = harness.forked(lambda tell, at=point, place=root / "out": (seam.die_at(at), write(place)))
        assert first.code == -signal.SIGKILL
        if not (root / "out").exists():
            write(root / "out")
            assert names(root) == [f".tmp-out-{TOKEN}", "out"]  # a folder of that name is no draft of ours
        assert (root / f".tmp-out-{TOKEN}" / "thesis.txt").exists() and (root / "out" / "file").read_text() == "x"


def test_a_second_writer_of_a_place_is_refused_at_once(tmp_path):
    with place_lock(tmp_path / "out"):
        before = names(tmp_path)
        second = harness.forked(lambda tell: write(tmp_path / "out"))
        assert second.code == 6 and f"is being written by process {os.getpid()} on" in second.of("error")[0]
        assert names(tmp_path) == before
        write(tmp_path / "other")  # beside it, another place is free


def test_folders_above_go_again_with_a_failure(tmp_path):
    with pytest.raises(ValueError, match="half-way"), place_lock(tmp_path / "a" / "b" / "out"):
        raise ValueError("half-way")
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", ["mine", '{"pid": 1, "host": "x"}', "[1]", '{"host":"x"}'])
def test_a_file_of_somebody_else_is_no_lock_and_stays(content, tmp_path):
    for path, lock in (
        (tmp_path / f"{LOCK}-out", place_lock(tmp_path / "out")),
        (tmp_path / LOCK, folder_lock(tmp_path)),
    ):
        path.write_text(content)
        with pytest.raises(RunFolderError, match="is no lock of bradley") as caught, lock:
            pass
        assert caught.value.exit_code == 6 and path.read_text() == content


def test_a_pipe_is_no_lock(tmp_path):
    os.mkfifo(tmp_path / LOCK)
    with pytest.raises(RunFolderError, match="is no lock of bradley"), folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("token", ["../../mine", "", None, TOKEN.upper(), 7, ["x"]])
def test_an_edited_lock_leads_nowhere_else(token, tmp_path):
    (tmp_path / "mine").mkdir()
    owner = {"host": os.uname().nodename, "pid": 1, "started": "today", "token": token}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"{LOCK}-out").write_text(json.dumps(owner))
    write(tmp_path / "a" / "out")
    assert names(tmp_path) == ["a", "mine"] and names(tmp_path / "a") == ["out"]


def test_a_lock_that_cannot_be_removed_is_given_free_all_the_same(tmp_path, monkeypatch):
    def refused(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "unlink", refused)
    with pytest.raises(DiskError, match="Input/output error"), folder_lock(tmp_path):
        pass
    monkeypatch.undo()
    assert (tmp_path / LOCK).exists()
    with folder_lock(tmp_path, say=lambda text: None):
        pass


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", '{"host": "x", "pid": "7"}', '{"host": "x"}', "\udc80"])
def test_an_odd_lock_has_no_holder(content, tmp_path):
    (tmp_path / LOCK).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert holder(tmp_path) == {}


def test_a_name_that_is_too_long_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError, match="File name too long") as caught:
        holder(tmp_path / ("x" * 300))
    assert caught.value.hint
