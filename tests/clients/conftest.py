"""Model folders in the shape of published families, and the environments of other programs."""

import os
from pathlib import Path

import client_folders
import pytest

import bradley
from clients import python_of


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folder of each family and kind, such as `llama run` and `qwen2 float32`."""
    place = tmp_path_factory.mktemp("clients")
    with pytest.MonkeyPatch.context() as patch:
        # The proof in a fresh process has tests of its own; here other programs are the proof.
        patch.setattr("bradley.export.folder.verify", lambda folder, **_: [])
        return dict(client_folders.write_all(place, list(client_folders.FAMILIES), bfloat16=False))


@pytest.fixture(scope="session")
def scores(folders):
    """Conversations of a family and the scores of bradley for a folder, each computed once."""
    known = {}

    def of(name):
        if name not in known:
            family = name.split()[0] if name.split()[0] in client_folders.FAMILIES else "llama"
            turns = client_folders.conversations(family)
            known[name] = turns, bradley.RewardModel.from_pretrained(folders[name]).score(turns)
        return known[name]

    return of


@pytest.fixture(scope="session")
def python_for():
    """Interpreter of a program's environment; skips the test where the environment is not on this machine."""
    place = Path(os.environ.get("BRADLEY_CLIENTS") or Path(__file__).parents[2] / ".compat" / "clients")

    def find(program):
        python = python_of(place, program)
        if python is None:
            pytest.skip(f"{place} holds no environment {program}: python benchmarks/clients.py {place} --install")
        return python

    return find
