"""A whole run with adapters: what the folder, the screen and the results say, with a base model on disk."""

import json

import pytest

import bradley
from bradley.errors import UserError
from bradley.model.build import Built
from bradley.model.choose_engine import Engine
from bradley.scoring.reward_model import score_comparisons
from bradley.training.announce import model_lines
from tests.helpers import GPT2, LLAMA, comparisons
from tests.model.adapted import adapted, base_model

pytestmark = pytest.mark.transformers

pytest.importorskip("peft")
TRAIN, VALID, TEST = comparisons(30), comparisons(8, seed=9), comparisons(6, seed=11)


@pytest.fixture(autouse=True)
def plain_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bradley.training.run.write_pages", lambda *_: None)


def settings(base, **adapter):
    return {
        "model": {"path": str(base), "adapter": {"kind": "lora", "rank": 4, **adapter}},
        "render": {"max_tokens": 256, "template": "raw"},
        "train": {"batch_size": 8, "max_steps": 4, "micro_batch_tokens": 1024},
        "optim": {"lr": 5e-3, "warmup": 0},
        "eval": {"every": 4, "train_probe": 8},
    }


def scores(rows):
    return [score for row in rows for score in row.scores]


@pytest.mark.parametrize("shape", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_the_folder_of_a_run_scores_as_the_run_did(tmp_path, shape):
    base = base_model(tmp_path / "base", shape)
    run = bradley.train(settings(base, dora=True), train=TRAIN, valid=VALID, test=TEST, output=tmp_path / "run")
    assert not (run.model / "model.safetensors").exists() and (run.model / "adapter_model.safetensors").is_file()
    assert scores(score_comparisons(run.model, VALID)) == pytest.approx(scores(run.rows("valid")), rel=1e-5, abs=1e-6)
    assert scores(score_comparisons(run.model, TEST)) == pytest.approx(scores(run.rows("test")), rel=1e-5, abs=1e-6)
    card = json.loads((run.model / "bradley.json").read_text())
    assert card["adapter"]["base"] == str(base) and len(card["adapter"]["base_sha256"]) == 64


def test_the_screen_counts_adapters_apart(tmp_path):
    model = adapted(base_model(tmp_path / "base", LLAMA), targets="attention")
    line = list(model_lines(Built(model, "drawn, score", Engine("plain"))))[1]
    adapters = 2 * (4 * 64 + 2 * 4 * 48 + 4 * 64)
    total = sum(p.numel() for p in model.parameters())
    assert line.startswith(f"trained      {adapters + 32:,} of {total:,} parameters ({(adapters + 32) / total:.2%}): ")
    assert f"adapter {adapters:,} of {adapters:,}, head 32 of 32, norms 0 of 160, rest 0 of " in line


@pytest.mark.parametrize("adapter", [{"targets": "q_projection"}, {"quantize": "nf4"}])
def test_what_does_not_suit_is_found_before_the_folder_is_made(tmp_path, adapter):
    base = base_model(tmp_path / "base", LLAMA)
    with pytest.raises(UserError):
        bradley.train(settings(base, **adapter), train=TRAIN, valid=VALID, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
