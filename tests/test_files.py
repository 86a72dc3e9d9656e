import os

import pytest

from bradley import files
from bradley.errors import DiskError


def test_writes_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a/b/page.html"
    files.write_text(path, "первый ✓")
    assert path.read_bytes() == "первый ✓".encode()
    files.write_bytes(path, b"\x00second")
    assert path.read_bytes() == b"\x00second"
    assert os.listdir(path.parent) == ["page.html"]


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    files.write_text(path, "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="No space left on device") as caught:
        files.write_text(path, "new")
    assert caught.value.exit_code == 7
    assert "space" in caught.value.hint
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_folder_that_cannot_be_is_a_disk_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DiskError, match="could not be written"):
        files.write_text(tmp_path / "file" / "page.html", "text")


def test_the_content_is_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), real_fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), real_replace(a, b))[1])
    files.write_text(tmp_path / "x", "text")
    assert order == ["fsync", "replace", "fsync"]


def test_a_folder_is_replaced_whole_and_the_old_one_stays_until_then(tmp_path):
    from bradley.files import replace_folder

    folder = tmp_path / "model"
    replace_folder(folder, lambda target: (target / "a").write_text("old"))

    def torn(target):
        (target / "a").write_text("new")
        assert (folder / "a").read_text() == "old"
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        replace_folder(folder, torn)
    assert (folder / "a").read_text() == "old"
    replace_folder(folder, lambda target: (target / "b").write_text("new"))
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_copied_folder_shares_its_weights_and_nothing_else(tmp_path):
    from bradley.files import copy_folder

    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name in ("model.safetensors", "config.json"):
        (source / name).write_text(name)
    copy_folder(source, target)
    (target / "config.json").write_text("edited")
    assert (source / "config.json").read_text() == "config.json"
    assert (source / "model.safetensors").samefile(target / "model.safetensors")
