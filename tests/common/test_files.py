import os
from types import SimpleNamespace

import pytest

from bradley.common import disk, files, space, trees
from bradley.common.ownership import Mark
from bradley.errors import CheckpointError, DiskError, DiskFullError

OURS = (Mark("a", frozenset()),)
"""A folder with a file `a` is known as one of ours."""
TOKEN = "0123456789abcdef"


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
    folder = tmp_path / "model"
    files.replace_folder(folder, lambda target: (target / "a").write_text("old"))

    def torn(target):
        (target / "a").write_text("new")
        assert (folder / "a").read_text() == "old"
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        files.replace_folder(folder, torn, OURS)
    assert (folder / "a").read_text() == "old"
    files.replace_folder(folder, lambda target: (target / "b").write_text("new"), OURS)
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_copied_folder_shares_its_weights_and_nothing_else(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name in ("model.safetensors", "config.json"):
        (source / name).write_text(name)
    trees.copy_folder(source, target)
    (target / "config.json").write_text("edited")
    assert (source / "config.json").read_text() == "config.json"
    assert (source / "model.safetensors").samefile(target / "model.safetensors")


def test_a_folder_that_is_made_is_synced_with_every_name_above_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync", synced.append)
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"] and (tmp_path / "a" / "b").is_dir()


def test_the_old_folder_goes_only_once_the_new_name_is_on_disk(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    files.replace_folder(folder, lambda target: (target / "a").write_text("old"))
    order = []
    for name in ("rename", "sync", "unlink"):
        call = getattr(disk, name)
        monkeypatch.setattr(disk, name, lambda *given, _name=name, _call=call: (order.append(_name), _call(*given))[1])
    files.replace_folder(folder, lambda target: (target / "a").write_text("new"), OURS)
    assert order == ["sync", "sync", "rename", "rename", "sync", "rename", "sync", "unlink"]


def test_a_replacement_that_fails_gives_the_old_folder_its_name_back(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    files.replace_folder(folder, lambda target: (target / "a").write_text("old"))
    rename = disk.rename

    def failing(source, target):
        if source.name.startswith(".tmp-"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(disk, "rename", failing)
    with pytest.raises(DiskError, match="Input/output error"):
        files.replace_folder(folder, lambda target: (target / "a").write_text("new"), OURS)
    assert (folder / "a").read_text() == "old" and os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("new_is_there", [False, True])
def test_a_replacement_that_a_crash_cut_short_is_ended(tmp_path, new_is_there):
    old = tmp_path / ".old-model"
    old.mkdir()
    (old / "a").write_text("old")
    if new_is_there:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "a").write_text("new")
    files.recover(tmp_path / "model", OURS)
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model" / "a").read_text() == ("new" if new_is_there else "old")


def test_sweeping_takes_what_was_half_done_and_nothing_else(tmp_path):
    for name in (
        f".tmp-a-{TOKEN}",
        f".trash-b-{TOKEN}",
        f"checkpoints/.tmp-step-000001-{TOKEN}/.tmp-card-{TOKEN}",
        ".hidden",
        f"kept/.tmp-{TOKEN}",
        ".old-model",
        ".old-mine",
        ".tmp-mine",
        ".trash-mine",
        f".tmp-{TOKEN[1:]}",
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")
    (tmp_path / ".old-model" / "a").write_text("x")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / f".tmp-rows-{TOKEN}").write_text("x")
    files.sweep(tmp_path, OURS)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    mine = [".hidden/file", ".old-mine/file", f".tmp-{TOKEN[1:]}/file", ".tmp-mine/file", ".trash-mine/file"]
    assert left == [*mine, "model/a", "model/file"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Error while serializing: No space left on device (os error 28)", DiskFullError),
        ("Disk quota exceeded (os error 122)", DiskFullError),
        ("Input/output error (os error 5)", DiskError),
    ],
)
def test_what_libraries_say_of_a_disk_in_their_own_words_is_a_disk_error(tmp_path, text, kind):
    for error in (Exception(text), OSError(text)):  # as tokenizers does, and as safetensors' is handed on
        with pytest.raises(DiskError) as caught, files.disk_errors(tmp_path):
            raise error
        assert type(caught.value) is kind and str(tmp_path) in caught.value.message
    with pytest.raises(RuntimeError, match="no space"), files.disk_errors(tmp_path):
        raise RuntimeError("no space for this tensor")


def test_an_error_of_ours_is_no_disk_error(tmp_path):
    with pytest.raises(CheckpointError), files.disk_errors(tmp_path):
        raise CheckpointError("unreadable (os error 28)")


def test_the_free_space_is_that_of_the_disk_of_the_first_folder_that_exists(tmp_path, monkeypatch):
    asked = []

    def usage(path):
        asked.append(path)
        return SimpleNamespace(free=1000)

    monkeypatch.setattr("shutil.disk_usage", usage)
    space.check_space(tmp_path / "not" / "yet", 1000)
    with pytest.raises(DiskFullError, match=r"1,001 bytes are needed for .*, and 1,000 are free"):
        space.check_space(tmp_path / "not" / "yet", 1001)
    assert asked == [tmp_path, tmp_path]


@pytest.mark.parametrize("new_is_there", [False, True])
def test_a_replacement_after_one_that_was_cut_short_is_as_safe_as_the_first(tmp_path, new_is_there):
    """Else the old folder would be in the way of the next one, or be lost with a failure of it."""
    for name in (".old-model", *(["model"] if new_is_there else [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)

    def torn(target):
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        files.replace_folder(tmp_path / "model", torn, OURS)
    assert (tmp_path / "model" / "a").read_text() == ("model" if new_is_there else ".old-model")
    files.replace_folder(tmp_path / "model", lambda target: (target / "a").write_text("new"), OURS)
    assert (tmp_path / "model" / "a").read_text() == "new" and os.listdir(tmp_path) == ["model"]
