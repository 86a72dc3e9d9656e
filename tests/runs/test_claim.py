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
from bradley.common.lock import folder_lock
from bradley.errors import CheckpointError, RunFolderError, UserError
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


@pytest.mark.parametrize("missing", ["run.json", "checkpoints"])
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
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
