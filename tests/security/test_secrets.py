"""A run with secrets all around it: no file of it holds any."""

import sys

import pytest

from bradley.cli import run
from bradley.config import Config
from bradley.training.evaluation import Evaluator
from bradley.training.run import train
from tests.training.test_run import SETTINGS, rows

VARIABLES = {
    "HF_TOKEN": "hf_" + "canaryOne" * 4,
    "WANDB_API_KEY": "c0ffee" * 6 + "beef",
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARYCANA",
    "AWS_SECRET_ACCESS_KEY": "canary/Four+" * 3,
    "AWS_SESSION_TOKEN": "canary-five-" * 3,
}
IN_URL, IN_ARGUMENTS, IN_ERROR = "canary-six", "hf_" + "canarySeven" * 3, "canary-eight"
CANARIES = [*VARIABLES.values(), IN_URL, IN_ARGUMENTS, IN_ERROR]
SOURCE = f"""# fetched from https://me:{IN_URL}@host/data.jsonl with {VARIABLES["HF_TOKEN"]}
seed = 0
"""


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(sys, "argv", ["bradley", "train", "run.toml", "--token", IN_ARGUMENTS])
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def found_in(folder):
    """Every file below a folder that holds a canary, with which."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [(path.name, canary) for path in files for canary in CANARIES if canary.encode() in path.read_bytes()]


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0" + IN_URL.encode() + b"\0")
    assert found_in(tmp_path) == [("file", IN_URL)]


def finished(output, trackers):
    """The folder of a run."""
    config = Config(**{**SETTINGS, "log": {"every": 1, "trackers": trackers}})
    return train(config, train=rows(30), valid=rows(9, "v"), output=output, source=SOURCE).folder


def test_a_run_writes_no_secret_down(tmp_path, monkeypatch):
    monkeypatch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
    folder = finished(tmp_path / "run", ["tensorboard", "key_value"])
    assert "# fetched from https://***@host/data.jsonl with ***" in (folder / "config.toml").read_text()
    assert found_in(folder) == []


@pytest.mark.nightly
def test_a_run_with_its_report_and_wandb_writes_no_secret_down(tmp_path):
    folder = finished(tmp_path / "run", ["tensorboard", "wandb"])
    assert (folder / "report.html").exists() and list(folder.glob("wandb/*/*.wandb"))
    assert found_in(folder) == []


def test_a_run_that_fails_with_a_secret_in_its_error_writes_none_down(tmp_path, monkeypatch):
    def refused(*_):
        secrets = " ".join(VARIABLES.values())
        raise RuntimeError(f"401 for https://me:{IN_ERROR}@host?token={IN_ERROR}, with {secrets} {IN_ARGUMENTS}")

    monkeypatch.setattr(Evaluator, "run", refused)
    with pytest.raises(RuntimeError, match="401"):
        train(Config(**SETTINGS), train=rows(20), valid=rows(5, "v"), output=tmp_path / "run")
    assert found_in(tmp_path / "run") == []


def test_a_secret_in_a_setting_is_refused_before_there_is_a_folder(tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text(f'[data]\ntrain = "https://me:{IN_URL}@host/x.jsonl"\n[model]\npath = "x"\n')
    assert run(["train", str(file), "--output", str(tmp_path / "run")]) == 2
    assert run(["train", str(file), "--output", str(tmp_path / "run"), "--data.train", IN_ARGUMENTS]) == 2
    said = "".join(capsys.readouterr())
    assert "data.train holds the password of a URL" in said and "data.train holds a token" in said
    assert not [canary for canary in CANARIES if canary in said] and not (tmp_path / "run").exists()
