"""What a folder holds decides whether a run begins in it, goes on, or is refused."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

import bradley
from bradley.common import signals
from bradley.common.lock import folder_lock
from bradley.errors import CheckpointError, Preempted, RunFolderError, UserError
from tests.faults import harness, typed
from tests.training.interrupted import DATA, SETTINGS, Cut, cut_run, run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(tmp_path_factory, monkeypatch):
    """One cache of tokens for all runs, and no figures."""
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr("bradley.training.run.write_pages", lambda folder, console: None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run that was asked to stop half-way."""
    assert cut_run(tmp_path / "run", Cut(monkeypatch), 40)
    return tmp_path / "run"


@pytest.mark.parametrize("missing", [pytest.param("run.json", marks=pytest.mark.nightly), "checkpoints"])
def test_a_run_of_which_a_part_was_lost_does_not_begin_from_zero(folder, tmp_path, missing):
    """As after a copy that was cut short."""
    lost = folder / missing
    lost.rename(tmp_path / "lost")
    metrics = (folder / "metrics.jsonl").read_bytes()
    for _ in range(2):
        with pytest.raises(CheckpointError, match=f"{missing}.* is missing|none of its checkpoints is there") as caught:
            run(folder)
        assert caught.value.exit_code == 4
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    (tmp_path / "lost").rename(lost)
    assert run(folder).results["steps"] == 15


def test_a_run_that_dies_before_it_trains_is_not_started_for_ever(folder, monkeypatch):
    """As one for which memory runs out while its data are loaded, so that the system kills it."""
    monkeypatch.setattr("bradley.training.run.prepare", lambda *_: os._exit(9))
    codes = [harness.forked(lambda tell: run(folder)).code for _ in range(7)]
    assert codes == [9] * 5 + [4] * 2


def test_a_run_that_is_refused_is_not_counted_as_one_that_crashed(folder):
    other = {**SETTINGS, "optim": {"lr": 0.5}}
    for _ in range(7):
        with pytest.raises(UserError, match=r"optim\.lr"):
            run(folder, other)
    assert run(folder).results["steps"] == 15


def test_a_run_that_another_process_ended_meanwhile_is_left_as_it_is(folder, monkeypatch):
    ended = {}

    @contextlib.contextmanager
    def after_another(*given):
        """The lock, which the other process has given free at its end."""
        monkeypatch.setattr("bradley.runs.claim.folder_lock", folder_lock)
        run(folder)
        ended.update({p: p.read_bytes() for p in folder.rglob("*") if p.is_file()})
        with folder_lock(*given) as lock:
            yield lock

    monkeypatch.setattr("bradley.runs.claim.folder_lock", after_another)
    assert run(folder).results["steps"] == 15
    assert ended == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert json.loads((folder / "status.json").read_text())["state"] == "done"


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGHUP,  # the one that Python by itself has no handler for
        *(
            pytest.param(number, marks=pytest.mark.nightly)
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        ),
    ],
)
def test_a_signal_before_there_is_anything_to_save_has_the_same_exit_code(tmp_path, number):
    settings, places = typed.prepared(tmp_path, SETTINGS)
    command = typed.train(settings, tmp_path / "run")
    process = subprocess.Popen(command, env=places, stderr=subprocess.PIPE, text=True)
    while not caught(process.pid, number):
        assert process.poll() is None
        time.sleep(1e-3)
    process.send_signal(number)
    assert process.wait(30) == 75 and f"stopped by {number.name} before" in process.stderr.read()
    assert not (tmp_path / "run").exists()


def caught(pid, number):
    """Whether a process has handlers for a signal and for SIGHUP, which Python by itself has none for."""
    mask = int(Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0], 16)
    return all(mask >> (each - 1) & 1 for each in (number, signal.SIGHUP))


def test_another_batch_size_says_where_in_the_new_plan_it_goes_on(folder, capsys):
    step = json.loads((folder / "status.json").read_text())["what"].partition("after step ")[2].split()[0]
    other = {**SETTINGS, "train": {**SETTINGS["train"], "batch_size": 4}}
    assert run(folder, other, allow_change=["train.batch_size"], progress="bar").results["steps"] == 30
    said = f"the plan: step {int(step) + 1} of 30 is next, {int(step) / 10:.2f} epochs into the new order"
    assert said in " ".join(capsys.readouterr().err.split())


def test_another_optimizer_begins_without_the_state_of_the_old_one(folder, capsys):
    newest = max((folder / "checkpoints").glob("step-*"))
    assert "exp_avg" in str(list(load_file(newest / "training/optimizer.safetensors")))
    other = {**SETTINGS, "optim": {"lr": 1e-3, "name": "SGD"}}
    assert run(folder, other, allow_change=["optim.name"], progress="bar").results["steps"] == 15
    assert "the optimizer: SGD begins without what the old one had gathered" in " ".join(
        capsys.readouterr().err.split()
    )
    newest = max((folder / "checkpoints").glob("step-*"))
    assert "exp_avg" not in str(list(load_file(newest / "training/optimizer.safetensors")))


def test_a_folder_that_is_in_use_names_its_user_with_and_without_resume(folder):
    with folder_lock(folder):
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for resume in (True, False):
            began = time.monotonic()
            with pytest.raises(RunFolderError, match=f"is being written by process {os.getpid()} on") as caught:
                bradley.train(SETTINGS, **DATA, output=folder, resume=resume)
            assert caught.value.exit_code == 6 and time.monotonic() - began < 5
        assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def tree(folder):
    """Every entry below a folder; links by where they lead."""
    return {
        path.relative_to(folder): os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(
    "names", [["checkpoints"], ["checkpoints", "eval", "model", ".tmp-x", "tensorboard"], ["eval"]]
)
def test_a_folder_with_common_names_is_no_run(names, tmp_path):
    """A project of somebody: exit 6, and nothing is removed or replaced."""
    for name in names:
        (tmp_path / "p" / name).mkdir(parents=True)
        if name != "checkpoints":
            (tmp_path / "p" / name / "mine").write_text("mine")
    for name in ("metrics.csv", "metrics.jsonl", "config.json"):
        (tmp_path / "p" / name).write_text("mine")
    before = tree(tmp_path)
    for resume in (True, False):
        with pytest.raises(RunFolderError, match="holds files") as caught:
            bradley.train(SETTINGS, **DATA, output=tmp_path / "p", resume=resume)
        assert caught.value.exit_code == 6 and tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["", "tensorboard", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("checkpoints", "eval"))]
)
def test_a_run_with_a_link_in_the_place_of_a_folder_is_refused(name, folder, tmp_path):
    (folder / name).rename(tmp_path / "far")
    place = folder / name if name else tmp_path / "run"
    place.symlink_to(tmp_path / "far")
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match="is a link to") as caught:
        run(place if not name else folder)
    assert caught.value.exit_code == 6 and tree(tmp_path) == before


def test_a_model_that_was_moved_and_linked_stays_where_it_was_moved_to(folder, tmp_path):
    run(folder)
    (folder / "model").rename(tmp_path / "far")
    (folder / "model").symlink_to(tmp_path / "far")
    (folder / "status.json").unlink()
    far = tree(tmp_path / "far")
    assert run(folder).results["steps"] == 15
    assert tree(tmp_path / "far") == far and not (folder / "model").is_symlink()
    assert [path.name for path in folder.glob(".*")] == []


def test_a_run_that_was_stopped_before_its_record_goes_on(tmp_path, monkeypatch):
    """The folder was made, and the only sign of the run is the count of starts."""
    with monkeypatch.context() as broken:
        broken.setattr("bradley.training.run.make_job", lambda *_: os._exit(9))
        assert harness.forked(lambda tell: run(tmp_path / "run")).code == 9
    (tmp_path / "run" / "status.json").unlink(missing_ok=True)
    assert run(tmp_path / "run").results["steps"] == 15
    assert not (tmp_path / "run" / "attempts.json").exists()


def test_a_run_asked_to_stop_before_its_record_goes_on(tmp_path, monkeypatch):
    def stop(*_):
        raise signals.StopRequested(signal.SIGTERM)

    with monkeypatch.context() as broken, pytest.raises(Preempted):
        broken.setattr("bradley.training.run.make_job", stop)
        run(tmp_path / "run")
    (tmp_path / "run" / "status.json").unlink()
    assert run(tmp_path / "run").results["steps"] == 15


def test_data_inside_the_output_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "rows.jsonl").write_text("\n".join(map(json.dumps, DATA["train"])))
    settings = {**SETTINGS, "data": {"train": str(tmp_path / "run" / "rows.jsonl")}}
    with pytest.raises(RunFolderError, match="lies in the output"):
        bradley.train(settings, output=tmp_path / "run", resume=True)
