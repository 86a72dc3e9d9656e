"""A stopped run whose written lines were changed: the file is named, nothing is cut, and nothing is believed."""

import json
import shutil

import pytest

from bradley.common import files
from bradley.errors import CheckpointError, RunFolderError
from bradley.runs.manifest import _signed
from tests.training.interrupted import Cut, cut_run, fingerprint, quick_runs, run

WRITTEN = ("metrics.jsonl", "metrics.csv", "timing.jsonl", "eval/samples.jsonl", "eval/distributions.jsonl")
FIRST = "eval/valid-step-0.jsonl"


@pytest.fixture(autouse=True)
def quick(tmp_path_factory, monkeypatch):
    """One cache of tokens for all runs, and no figures."""
    quick_runs(monkeypatch, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped between two steps, after evaluations; never changed."""
    with pytest.MonkeyPatch.context() as patch:
        quick_runs(patch, tmp_path_factory.getbasetemp())
        folder = tmp_path_factory.mktemp("stopped") / "run"
        assert cut_run(folder, Cut(patch), 40)
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


def other_digit(data):
    places = [i for i, byte in enumerate(data) if byte in b"2345678"]
    place = next((i for i in places if i > len(data) // 3), places[-1])  # seconds may be round
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


HARM = {
    "same length": other_digit,
    "longer": lambda data: data.replace(b"0.", b"00.", 1),
    "a line more": lambda data: data[: data.index(b"\n") + 1] + data,
    "a line less": lambda data: data[data.index(b"\n") + 1 :],
    "empty": lambda data: b"",
}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "attempts.json"}


CHANGES = [(name, harm) for name in (*WRITTEN, FIRST) for harm in HARM]


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        change
        if change[0] == WRITTEN[0] or change[1] == "same length"
        else pytest.param(*change, marks=pytest.mark.nightly)
        for change in CHANGES
    ],
)
def test_changed_lines_are_named_and_never_believed(folder, name, harm):
    """By day every change of one file, and in every file the change that no size shows."""
    path = folder / name
    path.write_bytes(HARM[harm](path.read_bytes()))
    lines = {each: (folder / each).read_bytes() for each in WRITTEN}
    with pytest.raises(CheckpointError, match=path.name) as caught:
        run(folder)
    assert caught.value.exit_code == 4 and str(path) in caught.value.message and "--output" in caught.value.hint
    # Nothing is cut: what is left of the lines is all that a person has.
    assert lines == {each: (folder / each).read_bytes() for each in WRITTEN}
    assert json.loads((folder / "status.json").read_text())["state"] != "done"


@pytest.mark.parametrize("name", ["metrics.jsonl", "eval/samples.jsonl", FIRST])
def test_lost_lines_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing"):
        run(folder)


LINKED = ("metrics.jsonl", "metrics.csv", "eval/distributions.jsonl")
TARGETS = ("moved", "absent", "itself")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (name, target) if at == to else pytest.param(name, target, marks=pytest.mark.nightly)
        for at, name in enumerate(LINKED)
        for to, target in enumerate(TARGETS)
    ],
)
def test_a_link_in_the_place_of_lines_is_refused(folder, tmp_path, name, target):
    path, moved = folder / name, tmp_path / "moved"
    shutil.move(path, moved)
    before = moved.read_bytes()
    path.symlink_to({"moved": moved, "absent": tmp_path / "absent", "itself": path}[target])
    with pytest.raises(RunFolderError, match="is a link") as caught:
        run(folder)
    assert caught.value.exit_code == 6 and moved.read_bytes() == before


def test_rows_that_the_run_did_not_write_are_named(folder):
    shutil.copy(folder / "eval/valid-best.jsonl", folder / "eval/other-best.jsonl")
    with pytest.raises(CheckpointError, match=r"other-best\.jsonl") as caught:
        run(folder)
    assert "move" in caught.value.hint and (folder / "eval/other-best.jsonl").exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record["starts"].pop(),
        lambda record: record["starts"][0]["changed"].update({"seed": [0, 1]}),
        lambda record: record["identity"].update(more={}),
        lambda record: record.update(record_sha256="0" * 64),
    ],
)
def test_an_edited_record_is_refused(folder, edit):
    record = json.loads((folder / "run.json").read_text())
    edit(record)
    (folder / "run.json").write_text(json.dumps(record))
    before = contents(folder)
    with pytest.raises(CheckpointError, match=r"run\.json was edited") as caught:
        run(folder)
    assert caught.value.exit_code == 4 and caught.value.hint and contents(folder) == before


def test_a_record_of_an_earlier_version_is_taken_as_it_is(folder):
    record = json.loads((folder / "run.json").read_text())
    del record["record_sha256"]
    (folder / "run.json").write_text(json.dumps(record))
    run(folder)
    assert "record_sha256" in json.loads((folder / "run.json").read_text())


def test_lines_after_the_checkpoint_are_cut_as_before(folder, stopped):
    for name in WRITTEN:
        with (folder / name).open("a") as file:
            file.write('{"half of a li')
    run(folder)
    run(shutil.copytree(stopped, folder.parent / "other"))
    assert fingerprint(folder) == fingerprint(folder.parent / "other")


def forget_hashes(folder):
    """Turn the checkpoints into those of an earlier version."""
    for path in folder.glob("checkpoints/step-*/training/state.json"):
        state = json.loads(path.read_text())
        writers = state["progress"]["writers"]
        state["progress"]["writers"] = {
            name: at["bytes"] if isinstance(at, dict) else at for name, at in writers.items()
        }
        del state["evaluator"]["first_rows"]
        path.write_text(json.dumps(state))
        manifest = path.parents[1] / "manifest.json"
        content = json.loads(manifest.read_text())
        content["files"]["training/state.json"] = {"sha256": files.sha256(path), "bytes": path.stat().st_size}
        del content["sha256"]
        manifest.unlink()
        manifest.write_text(_signed(content))


def test_a_checkpoint_of_an_earlier_version_is_taken_as_it_is_and_that_is_said_once(folder, stopped, capsys):
    forget_hashes(folder)
    older = {str(path.relative_to(folder)) for path in folder.glob("checkpoints/step-*/training/state.json")}
    run(folder)
    assert capsys.readouterr().err.count("without hashes") == 1
    run(shutil.copytree(stopped, folder.parent / "other"))
    found, wanted = fingerprint(folder), fingerprint(folder.parent / "other")
    assert {name for name in wanted if found[name] != wanted[name]} <= older and found.keys() == wanted.keys()


def test_a_cut_in_the_middle_of_a_line_is_refused_without_hashes_too(folder):
    forget_hashes(folder)
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0.", b"00.", 1))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        run(folder)
