"""Malicious model folders are refused with exit code 4: no code runs, no memory is filled, nobody waits for ever."""

import os
import pickle
import shutil
import sys
import threading
import time

import numpy as np
import pytest
import torch

from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError
from bradley.model.build import build_model
from bradley.model.folder.save_load import load_model, save_model
from bradley.scoring.reward_model import RewardModel
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for
from tests.security.artefacts import FOLDERS, PICKLES_BESIDE, array, pickled, torch_zip
from tests.security.children import tried

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
MOST_MEGABYTES = 500
ONLY_EDITED = {"weights of other numbers"}
"""Folders that load where edits are accepted."""
ROWS = comparisons(6)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A model folder that loads; and one thread, because threads do not live through a fork."""
    torch.set_num_threads(1)
    tokenizer = tokenizer_for(ROWS)
    network = tiny_model(LLAMA, tokenizer)
    folder = tmp_path_factory.mktemp("good") / "model"
    save_model(folder, network, Renderer(tokenizer, Render(max_tokens=64), causal=True), {})
    load_model(folder)
    return folder


@pytest.fixture
def copy(good, tmp_path):
    shutil.copytree(good, tmp_path / "in" / "model")
    return tmp_path / "in" / "model"


def test_the_payloads_are_live(tmp_path):
    """Else no test below could fail."""
    for number, (content, read) in enumerate(
        {
            pickled: pickle.load,
            torch_zip: lambda file: torch.load(file, weights_only=False),
            array: lambda file: np.load(file, allow_pickle=True),
        }.items()
    ):
        canary, path = tmp_path / f"canary-{number}", tmp_path / "payload"
        path.write_bytes(content(canary))
        with path.open("rb") as file:
            read(file)
        assert canary.exists()


def test_a_good_folder_loads_within_the_same_bounds(copy):
    found = tried(lambda: load_model(copy))
    assert found.code == 0 and found.megabytes < MOST_MEGABYTES, found


def refused_twice(folder, name):
    """Load a folder; an edit that a person accepts is held to everything else."""
    try:
        load_model(folder)
    except CheckpointError:
        if name in ONLY_EDITED:
            raise
        load_model(folder, accept_edits=True)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_malicious_folder_is_refused(copy, tmp_path, name):
    canary = tmp_path / "canary"
    FOLDERS[name](copy, canary)
    found = tried(lambda: refused_twice(copy, name))
    assert not canary.exists()
    assert found.code == CheckpointError.exit_code, found
    assert found.megabytes < MOST_MEGABYTES, found
    assert len(found.said) < 2000 and "\n" not in found.said


@pytest.mark.parametrize("name", PICKLES_BESIDE)
def test_the_file_that_may_be_a_pickle_is_named(copy, tmp_path, name):
    FOLDERS[name](copy, tmp_path / "canary")
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        RewardModel.from_pretrained(copy)


def test_what_is_no_file_is_named(copy, tmp_path):
    FOLDERS["a config that never answers"](copy, tmp_path / "canary")
    assert "config.json, which is no file" in tried(lambda: load_model(copy)).said


@pytest.mark.parametrize(("name", "code"), [("snapshots", 0), ("elsewhere", 4)])
def test_links_of_the_hubs_cache_are_followed_and_no_other(good, tmp_path, name, code):
    """The Hub's client keeps files in blobs/, and in snapshots/COMMIT/ links to them."""
    folder, blobs = tmp_path / "models--a--b" / name / "abc", tmp_path / "models--a--b" / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for path in good.iterdir():
        shutil.copy(path, blobs / f"hash-of-{path.name}")
        (folder / path.name).symlink_to(f"../../blobs/hash-of-{path.name}")
    assert tried(lambda: load_model(folder)).code == code


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "bradley.json", "extra.jinja"])
@pytest.mark.parametrize("around", [False, True], ids=["to itself", "around"])
def test_a_link_without_an_end_is_refused_in_words(copy, name, around):
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to("other" if around else name)
    if around:
        (copy / "other").symlink_to(name)
    found = tried(lambda: load_model(copy))
    assert found.code == CheckpointError.exit_code and (name in found.said or "other" in found.said), found


def test_there_are_enough_of_them():
    assert len(FOLDERS) >= 40


@pytest.mark.parametrize("content", [pickled, torch_zip])
def test_a_base_model_of_pickled_weights_is_refused(copy, tmp_path, content):
    canary = tmp_path / "canary"
    tokenizer = tokenizer_for(ROWS)
    (copy / "model.safetensors").unlink()
    (copy / "bradley.json").unlink()
    (copy / "pytorch_model.bin").write_bytes(content(canary))
    found = tried(lambda: build_model(Model(path=str(copy)), tokenizer, 0, torch.device("cpu")))
    assert found.code == CheckpointError.exit_code and not canary.exists(), found


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "bradley.json", "vocab.txt"])
@pytest.mark.parametrize("carded", [True, False])
def test_a_base_model_with_a_pipe_is_refused_in_words(copy, name, carded):
    tokenizer = tokenizer_for(ROWS)
    (copy / name).unlink(missing_ok=True)
    if not carded and name != "bradley.json":
        (copy / "bradley.json").unlink()
    os.mkfifo(copy / name)
    place, timer = Model(path=str(copy)), threading.Timer(20, lambda: os.close(os.open(copy / name, os.O_RDWR)))
    timer.start()  # a reader that waits gets an empty file in the end, and the test fails instead of standing still
    began = time.monotonic()
    found = tried(lambda: build_model(place, tokenizer, 0, torch.device("cpu")))
    timer.cancel()
    assert found.code == CheckpointError.exit_code, found
    assert time.monotonic() - began < 20


def test_an_archive_is_no_model_folder(tmp_path):
    """Nothing is ever unpacked, so no name in an archive can lead anywhere."""
    archive = tmp_path / "model.tar"
    archive.write_bytes(b"../../../etc/cron.d/evil" + bytes(600))
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(archive)
