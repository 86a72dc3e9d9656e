"""Who may write what a run writes, and what a link that somebody put in its way can do."""

import os
import stat

import pytest

import bradley
from bradley.common import disk, files
from bradley.errors import DiskError
from bradley.export import folder as folder_module
from bradley.export.folder import export_model
from bradley.training import run as run_module
from tests.helpers import tiny_run
from tests.training.interrupted import rows

from . import harness
from .results import record

SETTINGS = tiny_run(train={"max_steps": 2, "threads": 1}, log={"every": 1, "trackers": "tensorboard"})
DATA = {"train": rows(24), "valid": rows(6, "v"), "test": rows(5, "t")}
WRITTEN = (
    "run/model/model.safetensors",
    "run/checkpoints/step-000002/training/optimizer.safetensors",
    "run/tensorboard",
)
MADE_OF_IT = ("run/plots", "run/report.html", "exported/model.safetensors", "exported/figures")


def empty_picture(figure, file, **options):
    """Write nothing drawn: the rights of a picture do not depend on what it shows."""
    file.write("<svg/>" if options.get("format") == "svg" else b"")


def modes(run):
    """Rights of every file and folder below a run folder."""
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in run.rglob("*")}


@pytest.mark.parametrize(
    ("mask", "of_files", "of_folders"),
    [
        *((0o000, 0o664, 0o775), (0o077, 0o600, 0o700)),
        pytest.param(0o002, 0o664, 0o775, marks=pytest.mark.nightly),
        pytest.param(0o022, 0o644, 0o755, marks=pytest.mark.nightly),
    ],
)
def test_rights_of_a_run_follow_the_umask_and_nobody_else_may_ever_write(mask, of_files, of_folders):
    def work(tell):
        os.umask(mask)
        os.environ["BRADLEY_CACHE"] = str(root / "cache")
        from matplotlib.figure import Figure

        Figure.savefig = empty_picture
        if mask:  # pages and exports take most of the time: seen once
            run_module.write_pages = lambda folder, console: None
        bradley.train(SETTINGS, **DATA, output=root / "run")
        if not mask:
            folder_module._proven = lambda *given: []  # in a fresh process, which writes nothing
            export_model(root / "run", root / "exported")

    with harness.new_run() as run:
        root = run.parent
        run.rmdir()
        done = harness.forked(work)
        assert done.code == 0, done.told
        found = modes(root)
        wrong = {path: mode for path, mode in found.items() if mode != (of_folders if path.is_dir() else of_files)}
        assert not wrong
    names = {path.relative_to(root).as_posix() for path in found}
    assert names >= {"cache", *WRITTEN, *(() if mask else MADE_OF_IT)}
    record("C13, X9", f"umask {mask:03o}", f"files {of_files:o}, folders {of_folders:o}", "as expected")


def test_a_run_folder_that_everybody_may_write_in_takes_no_guessable_name(monkeypatch):
    with harness.new_run() as run:
        run.chmod(0o777)
        names = []
        create = disk.create
        monkeypatch.setattr(disk, "create", lambda path: (names.append(path.name), create(path))[1])
        for _ in range(20):
            files.write_text(run / "results.json", "{}")
        assert len(set(names)) == 20 and all(len(name) >= len(".tmp-results.json-") + 16 for name in names)


@pytest.mark.parametrize("target", ["victim", "absent"])
def test_a_link_under_the_temporary_name_is_never_followed(target, tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    trap = tmp_path / "run" / ".tmp-results.json-guessed"
    trap.symlink_to(tmp_path / target)
    with pytest.raises(DiskError, match="File exists"):
        files.write_text(tmp_path / "run" / "results.json", "{}")
    assert (tmp_path / "victim").read_text() == "mine" and not (tmp_path / "absent").exists()
    assert trap.is_symlink() and not (tmp_path / "run" / "results.json").exists()
    record(
        "X9", f"a link to a file ({target}) under the temporary name", "refused, exit 7; not followed", "as expected"
    )


def test_a_link_under_the_final_name_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "results.json").symlink_to(tmp_path / "victim")
    files.write_text(tmp_path / "results.json", "{}")
    assert (tmp_path / "victim").read_text() == "mine" and not (tmp_path / "results.json").is_symlink()


def test_links_in_the_way_of_metrics_and_lock_are_refused(tmp_path):
    for name, code in (("metrics.jsonl", 6), (".lock", 7)):
        with harness.new_run() as run:
            (tmp_path / name).write_text("mine")
            (run / name).symlink_to(tmp_path / name)
            assert harness.run_toy(run).code == code
            assert (tmp_path / name).read_text() == "mine"


def test_sweeping_removes_links_and_not_what_they_lead_to(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with harness.new_run() as run:
        (run / ".tmp-link-0123456789abcdef").symlink_to(tmp_path / "mine")
        draft = run / ".tmp-folder-0123456789abcdef"
        draft.mkdir()
        (draft / "link").symlink_to(tmp_path / "mine")
        files.sweep(run, ())
        assert not list(run.iterdir())
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_a_run_folder_that_is_a_link_is_refused(tmp_path):
    with harness.new_run() as run:
        (tmp_path / "link").symlink_to(run)
        assert harness.run_toy(tmp_path / "link").code == 6 and not list(run.iterdir())
