"""Exports of LoRA models: folded in for everybody, or alone for PEFT."""

import json
import re

import pytest

import bradley
from bradley.errors import UserError
from bradley.export.folder import export_model
from bradley.model.folder.card import read_card
from bradley.model.folder.save_load import load_model
from bradley.scoring.reward_model import score_comparisons
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

pytest.importorskip("bradley.model.adapters")
pytest.importorskip("peft")
ROWS = comparisons(40, seed=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a LoRA run of a few steps, large enough ones to move its scores."""
    place = tmp_path_factory.mktemp("lora")
    tokenizer = tokenizer_for(ROWS)
    tiny_model(LLAMA, tokenizer).network.save_pretrained(place / "base")
    tokenizer.save_pretrained(place / "base")
    settings = {
        "model": {"path": str(place / "base"), "adapter": {"kind": "lora", "norms": True}},
        "render": {"max_tokens": 200},
        "train": {"batch_size": 8, "max_steps": 6},
        "optim": {"lr": 1e-2},
        "log": {"samples": 0},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRADLEY_CACHE", str(place / "cache"))
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        bradley.train(settings, train=ROWS[:32], valid=ROWS[32:], output=place / "run")
    return place / "run"


@pytest.fixture(autouse=True)
def unproven(monkeypatch):
    monkeypatch.setattr("bradley.export.folder.verify", lambda folder, **_: [])


def flat(folder):
    return [score for row in score_comparisons(folder, ROWS) for score in row.scores]


def code_scores(folder, monkeypatch):
    """What the code for transformers in the model card computes."""
    monkeypatch.chdir(folder.parent)
    text = (folder / "README.md").read_text(encoding="utf-8")
    names = {}
    exec(next(b for b in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "conversations = [" in b), names)
    return names["scores"]


def test_both_kinds_score_as_in_training(run, tmp_path, monkeypatch):
    whole, alone = (export_model(run, tmp_path / name, adapter=name == "alone") for name in ("whole", "alone"))
    assert (whole.merged, alone.merged) == (True, False)
    trained = flat(run / "model")
    assert flat(tmp_path / "whole") == pytest.approx(trained, rel=1e-5, abs=1e-5)
    assert flat(tmp_path / "alone") == pytest.approx(trained, rel=1e-5, abs=1e-5)
    assert max(trained) - min(trained) > 0.01
    one, other = (code_scores(tmp_path / name, monkeypatch) for name in ("whole", "alone"))
    assert one == pytest.approx(other, rel=1e-5, abs=1e-5) and one[0] != one[1]


def test_a_whole_export_is_a_plain_model_and_an_adapter_has_no_base_weights(run, tmp_path):
    export_model(run, tmp_path / "whole", dtype="bfloat16")
    export_model(run, tmp_path / "alone", adapter=True)
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert "model.safetensors" in names and not any("adapter" in name for name in names)
    names = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert not {"model.safetensors", "config.json"} & names
    assert "adapter" not in read_card(tmp_path / "whole") and read_card(tmp_path / "whole")["export"]["merged"]
    assert read_card(tmp_path / "alone")["adapter"] == read_card(run / "model")["adapter"]
    assert not hasattr(load_model(tmp_path / "whole").model.network, "peft_config")
    assert json.loads((tmp_path / "alone" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    with pytest.raises(UserError, match="has no adapter"):
        export_model(tmp_path / "whole", tmp_path / "again", adapter=True)
