"""No Python file of the current folder or of a model folder is imported by a process that bradley starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bradley.common.processes import child_command, child_environment, safe_python
from bradley.config import Render
from bradley.data.render import Renderer
from bradley.model.folder.parity import draw
from bradley.model.folder.save_load import save_model
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

SOURCE = Path(__file__).parents[2] / "src"
STANDARD = ("argparse", "json", "dataclasses", "typing", "pathlib", "random", "subprocess", "tempfile", "string")
INSTALLED = ("torch", "transformers", "bradley", "numpy", "click", "pydantic", "tokenizers", "safetensors", "rich")
NAMES = (*STANDARD, *INSTALLED, "huggingface_hub", "matplotlib", "sitecustomize", "usercustomize")
PATHS = ["", ".", os.pathsep, f"{os.pathsep}.", "./", "../here", f".{os.pathsep}", None]
"""Values of PYTHONPATH by which the current folder is meant without being named."""


def poison(folder):
    """Files that leave a mark where they are imported."""
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        mark = folder.parent / "ran" / name
        mark.parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise SystemExit(0)\n")
    return folder


def ran(folder):
    return sorted(path.name for path in (folder.parent / "ran").iterdir())


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = poison(tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("path", PATHS)
def test_a_child_finds_this_bradley_and_nothing_of_the_current_folder(here, path):
    """A grandchild that a library would start neither, without `-P`."""
    (here.parent / "lib").mkdir()
    (here.parent / "lib" / "program.py").write_text(
        "import subprocess, sys, bradley.errors, argparse, json, random, dataclasses\n"
        "print(bradley.__file__)\n"
        "subprocess.run([sys.executable, '-m', 'json.tool', '--help'], check=True)\n"
    )
    given = os.pathsep.join(filter(None, [path, str(here.parent / "lib")]))
    environment = child_environment({**os.environ, "PYTHONPATH": given} if path is not None else None)
    if path is None:
        environment["PYTHONPATH"] += f"{os.pathsep}{here.parent / 'lib'}"
    done = subprocess.run(child_command("program"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and ran(here) == [], done.stderr
    assert done.stdout.splitlines()[0] == str(SOURCE / "bradley" / "__init__.py")
    assert "usage" in done.stdout


def test_a_folder_named_in_pythonpath_stays(here):
    kept = child_environment({"PYTHONPATH": f"{here}{os.pathsep}x"})["PYTHONPATH"].split(os.pathsep)
    assert str(here) in kept and "x" not in kept
    assert child_environment({})["PYTHONSAFEPATH"] == "1" and safe_python()[1] == "-P"


def command_line(*words, **variables):
    """`python -m bradley`, which Python itself lets look into the current folder."""
    places = {**os.environ, "PYTHONPATH": str(SOURCE), **variables}
    done = subprocess.run([sys.executable, "-m", "bradley", *words], env=places, capture_output=True, text=True)
    return done


def test_the_command_line_imports_nothing_of_the_current_folder(here):
    (here / "bradley.py").unlink()  # `python -m bradley` would name it
    for name in ("typing", "pathlib", "dataclasses", "json", "argparse"):
        assert (here / f"{name}.py").exists()
    done = command_line("--help")
    assert done.returncode == 0 and "train" in done.stdout and ran(here) == [], done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder among planted files, with what the commands need beside the folder."""
    place = tmp_path_factory.mktemp("model")
    rows = comparisons(20)
    tokenizer = tokenizer_for(rows)
    renderer = Renderer(tokenizer, Render(max_tokens=200), causal=True)
    save_model(place / "model", tiny_model(LLAMA, tokenizer), renderer, {}, draw(rows, renderer, 0))
    poison(place / "model")
    (place / "model" / "bradley.py").unlink()
    (place / "in.jsonl").write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n")
    (place / "run.toml").write_text(
        '[data]\ntrain = "synthetic:"\n[model]\ntokenizer = "train"\n[model.config]\n'
        + "\n".join(f"{key} = {json.dumps(value)}" for key, value in LLAMA.items())
    )
    return place / "model"


TRAIN = ["train", "../run.toml", "--sanity", "--quiet", "--render.max_tokens", "256"]
COMMANDS = {
    "verify": ["verify", "."],
    "score": ["score", ".", "../in.jsonl", "-o", "../out.jsonl"],
    "export": ["export", ".", "../exported"],
    "launch": ["launch", "local", "--processes", "1", "--", *TRAIN, "--output", "../run"],
}
LONG = ("verify", "export", "launch")
"""Commands of many seconds, at night: the fresh process that all three start is the child of the tests above."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[pytest.mark.nightly] if name in LONG else [])
        for name, words in COMMANDS.items()
    ],
)
def test_no_command_imports_anything_of_a_folder_with_a_model(model, tmp_path, monkeypatch, words):
    monkeypatch.chdir(model)
    places = {"BRADLEY_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = command_line(*words, **places)
    assert done.returncode == 0, done.stderr
    assert ran(model) == []
