"""Malicious checkpoints: a run that is to go on from one ends with exit code 4, or goes on from the one before."""

import json
import shutil
import sys

import pytest
import torch

from bradley.config import Config
from bradley.errors import CheckpointError
from bradley.runs.layout import MANIFEST
from bradley.runs.manifest import write_manifest
from bradley.training.run import train
from tests.helpers import changed, counting_rows, tiny_run
from tests.security.artefacts import DEEP, beside, deep, edited, pickled, torch_zip
from tests.security.children import tried

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
MOST_MEGABYTES = 600
SETTINGS = changed(tiny_run(), train={"threads": 1}, log={"samples": 0})
STATE, OPTIMIZER = "training/state.json", "training/optimizer.safetensors"


def going_on(folder, steps=4):
    settings = changed(SETTINGS, train={"stop_after": steps})
    train(Config(**settings), train=counting_rows(20), valid=counting_rows(24)[20:], output=folder, resume=True)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that stopped half-way, with checkpoints of steps 0 and 2."""
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    patch.setenv("BRADLEY_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
    folder = tmp_path_factory.mktemp("runs") / "run"
    going_on(folder, 2)
    yield folder
    patch.undo()


@pytest.fixture
def run(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    return tmp_path / "run"


def newest(run):
    return max((run / "checkpoints").glob("step-*"))


def forge(folder):
    """Vouch for whatever is in a checkpoint."""
    old = json.loads((folder / MANIFEST).read_text())
    write_manifest(folder, old["step"], old["best"], old["facts"])


PICKLES = {
    name: beside(name, content)
    for name, content in {
        "optimizer.pt": pickled,
        "scheduler.pt": pickled,
        "training/rng_state.pth": pickled,
        "training/optimizer.bin": torch_zip,
        "training/custom_checkpoint_0.pkl": pickled,
        "training/arrays.npz": pickled,
        "training/optimizer/.metadata": pickled,
        "training/optimizer/__0_0.distcp": torch_zip,
    }.items()
}
SLOTS = {
    "a pickle for the state": beside(STATE),
    "a pickle for the optimizer": beside(OPTIMIZER),
    "a torch archive for the optimizer": beside(OPTIMIZER, torch_zip),
    "a pickle for the weights": beside("model.safetensors"),
    "a pickle for the card": beside("bradley.json"),
    "a state as deep as a well": deep(STATE),
    "a state that says nothing": beside(STATE, lambda canary: b"{}"),
    "a state that is a list": beside(STATE, lambda canary: b"[]"),
    "a state of other kinds of values": edited(STATE, progress={"place": 3}, evaluator=[]),
    "an optimizer of other weights": edited(STATE, optimizer={"state": {}, "groups": [["evil"]]}),
    "a state of 17 MB": beside(STATE, lambda canary: b"[" + b" " * 17 * 2**20 + b"]"),
    "a state that speaks of shards": edited(STATE, optimizer={"state": {}, "groups": [], "shards": {"evil": {}}}),
    "no scored rows": lambda folder, canary: shutil.rmtree(folder / "training" / "eval"),
}
FORGED = {**PICKLES, **SLOTS}
BY_DAY = (
    *("optimizer.pt", "training/optimizer.bin", "a pickle for the state", "a pickle for the optimizer"),
    *("a state as deep as a well", "a state that says nothing"),
)


def mostly_by_night(names):
    """Parameters of a test, most of them for the night."""
    return [pytest.param(name, marks=() if name in BY_DAY else pytest.mark.nightly) for name in names]


def test_a_good_run_goes_on_within_the_same_bounds(run):
    found = tried(lambda: going_on(run))
    assert found.code == 0 and found.megabytes < MOST_MEGABYTES, found


@pytest.mark.parametrize("name", mostly_by_night(FORGED))
def test_a_checkpoint_with_a_manifest_of_its_own_is_refused(run, tmp_path, name):
    canary = tmp_path / "canary"
    FORGED[name](newest(run), canary)
    forge(newest(run))
    found = tried(lambda: going_on(run))
    assert not canary.exists()
    assert found.code == CheckpointError.exit_code and found.megabytes < MOST_MEGABYTES, found
    if name in PICKLES:
        assert name in found.said


@pytest.mark.parametrize("name", ["optimizer.pt", "a pickle for the optimizer"])
def test_a_checkpoint_that_differs_from_its_manifest_is_set_aside(run, tmp_path, name):
    canary = tmp_path / "canary"
    FORGED[name](newest(run), canary)
    found = tried(lambda: going_on(run))
    assert not canary.exists() and found.code == 0 and found.megabytes < MOST_MEGABYTES, found
    assert len(list((run / "checkpoints").glob(".bad-*"))) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("content", [pickled, lambda canary: DEEP.encode(), lambda canary: b"{}", lambda canary: b"[]"])
@pytest.mark.parametrize("file", ["run.json", "checkpoints/index.json", "checkpoints/step-000002/manifest.json"])
def test_what_else_a_run_goes_on_by_is_no_way_in(run, tmp_path, file, content):
    canary = tmp_path / "canary"
    (run / file).write_bytes(content(canary))
    found = tried(lambda: going_on(run))
    wanted = CheckpointError.exit_code if file == "run.json" else 0  # the index is made anew, the older one is taken
    assert not canary.exists() and found.code == wanted and found.megabytes < MOST_MEGABYTES, found
