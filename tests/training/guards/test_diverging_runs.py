"""Whole runs with rates that ruin the model, and with one that does not."""

import json
import re

import pytest

from bradley.config import Config
from bradley.errors import DivergedError
from bradley.training.run import train
from tests.helpers import LLAMA


def settings_of(lr):
    return Config.model_validate(
        {
            "data": {"synthetic": {"comparisons": 120}, "valid_share": 0.2},
            "render": {"max_tokens": 96},
            "model": {"config": LLAMA, "tokenizer": "train"},
            "train": {"batch_size": 16, "max_steps": 80},
            "optim": {"lr": lr},
            "eval": {"every": 80, "train_probe": 0},
        }
    )


@pytest.fixture(autouse=True)
def _without_pages(monkeypatch, tmp_path):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bradley.training.run.write_pages", lambda *_: None)  # figures are not asked for


@pytest.mark.parametrize(("lr", "steps"), [(1e30, 2), pytest.param(1e4, 60, marks=pytest.mark.nightly), (10.0, 60)])
def test_a_rate_that_ruins_the_model_ends_the_run_as_diverged(tmp_path, lr, steps):
    with pytest.raises(DivergedError) as caught:
        train(settings_of(lr), output=tmp_path / "run")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["code"], status["what"]) == ("diverged", 5, caught.value.message)
    assert int(re.search(r"step (\d+)", caught.value.message)[1]) <= steps


def test_a_run_that_goes_well_says_so_in_its_results(tmp_path):
    healthy = train(settings_of(1e-3), output=tmp_path / "run").results
    assert (healthy["steps"], healthy["diverged"], healthy["skipped_steps"]) == (80, "", [])
