"""A stop signal at any moment of a training that has neither finished nor failed ends as `Preempted`."""

import json
import os
import signal

import pytest

import bradley
from bradley.common import signals
from bradley.errors import Preempted
from bradley.runs import claim
from bradley.training import run as run_module
from tests.helpers import counting_rows, tiny_run

SETTINGS = tiny_run(train={"max_steps": 2}, eval={"train_probe": 0}, log={"samples": 0})
ROWS = counting_rows(40)
BEFORE_THE_END = [
    (run_module, "open_group"),
    (run_module, "run_folder"),
    (run_module, "check_same"),
    (run_module, "claim"),
    (claim, "read_record"),
    (run_module, "check_hub"),
    (claim.Claim, "resume_locked"),
    (run_module, "prepare"),
    (run_module, "check_data"),
    (run_module, "announce"),
    (run_module, "compare"),
    (claim.Claim, "begin"),
    (claim, "make_run_folder"),
    (claim, "count_start"),
    (run_module, "log_apart"),
    (run_module, "make_job"),
    (run_module, "sweep"),
    (run_module, "begin"),
    (run_module, "check_disk"),
    (run_module, "describe_run"),
    (run_module, "watched"),
    (run_module, "fit"),
]
"""Functions called before the last step."""
AFTER_THE_LAST_STEP = [
    (run_module, "publish_best"),
    (run_module, "show_samples"),
    (run_module, "final_figures"),
    (run_module, "write_results"),
    (run_module, "write_pages"),
    (run_module, "upload"),
    (claim.Claim, "done"),
    (claim, "forget_starts"),
]


@pytest.fixture(autouse=True)
def no_pages(monkeypatch, tmp_path):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run_module, "write_pages", lambda folder, console: None)


@pytest.fixture(autouse=True)
def deaf():
    """What a signal meets outside of a run: a test fails by it, and is not ended."""
    met = []
    before = {number: signal.signal(number, lambda got, _: met.append(got)) for number in signals.signals()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert met == []


def train(folder):
    return bradley.train(SETTINGS, train=ROWS[:30], valid=ROWS[30:], output=folder, resume=True)


def ended(folder, monkeypatch, owner, name, number):
    """True if a run ends as `Preempted` by a signal at the first call of a function."""
    act, sent = getattr(owner, name), []

    def asked(*args, **options):
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return act(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, asked)
        try:
            train(folder)
        except Preempted as error:
            assert signal.Signals(number).name in error.message
            return True
        finally:
            assert sent, "the function is not called"
    return False


def state(folder):
    return json.loads((folder / "status.json").read_text())["state"]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(*each, id=each[1], marks=() if place % 3 == 0 else pytest.mark.nightly)
        for place, each in enumerate(BEFORE_THE_END)
    ],
)
def test_a_signal_before_the_last_step_ends_as_preempted(tmp_path, monkeypatch, owner, name):
    assert ended(tmp_path / "run", monkeypatch, owner, name, signal.SIGTERM)
    assert not (tmp_path / "run/status.json").exists() or state(tmp_path / "run") == "preempted"


@pytest.mark.parametrize(("owner", "name"), AFTER_THE_LAST_STEP, ids=[name for _, name in AFTER_THE_LAST_STEP])
def test_a_signal_after_the_last_step_ends_as_preempted_or_is_too_late(tmp_path, monkeypatch, owner, name):
    stopped = ended(tmp_path / "run", monkeypatch, owner, name, signal.SIGINT)
    assert state(tmp_path / "run") == ("preempted" if stopped else "done")
    if stopped:
        train(tmp_path / "run")
        assert state(tmp_path / "run") == "done"


def test_a_run_stopped_again_and_again_goes_on_to_the_end(tmp_path, monkeypatch):
    for turn, (owner, name) in enumerate(BEFORE_THE_END[-8:]):
        if name not in ("begin", "describe_run"):  # of a new run alone
            assert ended(tmp_path / "run", monkeypatch, owner, name, (signal.SIGUSR1, signal.SIGHUP)[turn % 2])
    assert train(tmp_path / "run").results["steps"] == 2
    assert state(tmp_path / "run") == "done"
