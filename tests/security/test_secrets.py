"""A run with secrets all around it: no file of it holds any."""

import logging
import os
import sys

import pytest

from bradley.cli.main import run
from bradley.config import Config
from bradley.errors import UserError
from bradley.training.distributed.failures import failure_of
from bradley.training.evaluation import Evaluator
from bradley.training.run import train
from tests.security.canaries import CANARIES, IN_ARGUMENTS, IN_ERROR, IN_URL, VARIABLES, found_in, refused
from tests.training.distributed.runs import train_together
from tests.training.small_runs import SETTINGS, rows

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
    monkeypatch.setattr(Evaluator, "run", refused)
    with pytest.raises(RuntimeError, match="401"):
        train(Config(**SETTINGS), train=rows(20), valid=rows(5, "v"), output=tmp_path / "run")
    assert found_in(tmp_path / "run") == []


def speaks_and_fails(evaluator, *_):
    """Every way in which Python writes to stderr or stdout, and an exception that nobody catches."""
    secrets = f"https://me:{IN_URL}@host {IN_ARGUMENTS} https://{IN_ERROR}:{IN_ERROR}@host"
    logging.getLogger("early").warning("logged %s", secrets)
    print("printed https://me", f"{IN_URL}@host", sep=":", file=sys.stderr)
    sys.stdout.writelines([f"listed {VARIABLES['HF_TOKEN']}\n"])
    print("unfinished", secrets, end="", flush=True)
    refused()


def test_a_process_with_a_log_of_its_own_that_fails_with_secrets_writes_none_down(tmp_path):
    def before(rank):
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
        logging.getLogger("early").addHandler(logging.StreamHandler())
        Evaluator.run = speaks_and_fails if rank == 1 else Evaluator.run

    data = {"train": rows(20), "valid": rows(5, "v")}
    results = train_together(2, tmp_path / "run", SETTINGS, before, data=data)
    log = (tmp_path / "run" / "logs" / "rank-1.log").read_text()
    said = ["logged https://***@host", "printed https://***@host", "listed ***", "unfinished https://***@host"]
    assert [words for words in [*said, "RuntimeError: 401 for https://***@host"] if words not in log] == []
    assert "Traceback (most recent call last)" in log and "in speaks_and_fails" in log
    assert found_in(tmp_path / "run") == []
    assert [result.code for result in results] == [1, 1] and "process 1 of 2: RuntimeError: 401" in results[0].error
    assert not [canary for canary in CANARIES if canary in results[0].error], "what the main process says"


def test_an_error_that_is_told_to_other_processes_is_cut_behind_its_secrets():
    for length in range(250, 301):
        told = failure_of(ValueError("x" * length + VARIABLES["AWS_SECRET_ACCESS_KEY"]), 1)
        (line,) = told["lines"]
        assert "canary" not in line and "xx" in line
    told = failure_of(UserError(["m " + IN_ARGUMENTS, "n"], "h " + IN_ARGUMENTS), 1)
    assert (told["lines"], told["hint"]) == (["m ***", "n"], "h ***")


def test_a_secret_in_a_setting_is_refused_before_there_is_a_folder(tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text(f'[data]\ntrain = "https://me:{IN_URL}@host/x.jsonl"\n[model]\npath = "x"\n')
    assert run(["train", str(file), "--output", str(tmp_path / "run")]) == 2
    assert run(["train", str(file), "--output", str(tmp_path / "run"), "--data.train", IN_ARGUMENTS]) == 2
    said = "".join(capsys.readouterr())
    assert "data.train holds the password of a URL" in said and "data.train holds a token" in said
    assert not [canary for canary in CANARIES if canary in said] and not (tmp_path / "run").exists()
