"""Model folders in the shape of published families, and the environments of other programs."""

import os
from pathlib import Path

import client_folders
import pytest

import bradley
from clients import PROGRAM, ask, differences, job_of, options, python_of


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folder of each family and kind, such as `llama run` and `qwen2 float32`."""
    place = tmp_path_factory.mktemp("clients")
    return dict(client_folders.write_all(place, list(client_folders.FAMILIES)))


@pytest.fixture(scope="session")
def scores(folders):
    """Conversations of a family and the scores of bradley for a folder, each computed once."""
    known = {}

    def of(name):
        if name not in known:
            turns = client_folders.conversations(client_folders.family_of(name))
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


@pytest.fixture(scope="session")
def compared(folders, scores, python_for):
    """Largest difference of each way of a program for a folder, as a share of the largest score, or an error."""

    def of(program, name, ways=()):
        turns, wanted = scores(name)
        kind = PROGRAM.get(program, program)
        job = job_of(folders[name], turns, ways, **options(client_folders.family_of(name), kind))
        (found,) = ask(python_for(program), kind, [job])
        largest = max(1.0, *map(abs, wanted))
        return {
            way: value if isinstance(value, str) else value / largest
            for way, value in differences(found, turns, wanted).items()
        }

    return of
