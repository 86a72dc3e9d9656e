"""What is written is held to what was trained: every save bit for bit, and the published model by its scores."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import bradley
from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError
from bradley.model.folder import readback, weights
from bradley.model.folder.save_load import load_model, save_model
from bradley.model.folder.weights import tensors_to_save
from bradley.scoring.reward_model import score_comparisons
from bradley.training import publish
from tests.helpers import BERT, GPT2, LLAMA, comparisons, tiny_model, tokenizer_for
from tests.model.adapted import base_model

pytestmark = pytest.mark.transformers

TOKENIZER = tokenizer_for(comparisons(20))
MIXTRAL = {**LLAMA, "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 1}
DATA = {"train": comparisons(24), "valid": comparisons(8, seed=9)}


@pytest.fixture(autouse=True)
def plain_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bradley.training.run.write_pages", lambda *_: None)


def settings(tmp_path, kind):
    """A run of a few steps on a base model on disk: all of it, or adapters."""
    return {
        "model": {"path": str(base_model(tmp_path / "base", LLAMA)), "adapter": {"kind": kind}},
        "render": {"max_tokens": 256, "template": "raw"},
        "train": {"batch_size": 8, "max_steps": 2, "micro_batch_tokens": 1024, "threads": 1},
        "optim": {"lr": 5e-3, "warmup": 0},
        "eval": {"every": 2, "train_probe": 0},
    }


def save(folder, model):
    save_model(folder, model, Renderer(TOKENIZER, Render(max_tokens=64), causal=model.causal), {})


def other_head(state):
    """The state with its score head drawn anew."""
    return {name: torch.randn_like(value) if "score" in name else value for name, value in state.items()}


@pytest.mark.parametrize("config", [LLAMA, GPT2, BERT, MIXTRAL], ids=lambda config: config["model_type"])
def test_what_is_written_is_what_the_model_computes_with(tmp_path, config):
    """Mixtral is written with its experts apart, and computes with them as one."""
    model = tiny_model(config, TOKENIZER)
    save(tmp_path / "m", model)
    loaded = tensors_to_save(load_model(tmp_path / "m").model.network)
    own = tensors_to_save(model.network)
    assert own.keys() == loaded.keys() and all(torch.equal(own[name], loaded[name]) for name in own)


def test_weights_that_are_given_can_be_written_twice(tmp_path):
    """As they are where a first attempt found the disk full."""
    model = tiny_model(LLAMA, TOKENIZER)
    given = dict(tensors_to_save(model.network))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        weights.save_network(model.network, tmp_path / name, given)
        readback.check_written(model.network, tmp_path / name, given)
    assert given.keys() == tensors_to_save(model.network).keys()


HEAD = "score.weight"
FAULTS = {
    "other numbers": (lambda state: {**state, HEAD: state[HEAD] + 1e-6}, f"{HEAD} holds other numbers"),
    "a sign of zero": (lambda state: {**state, HEAD: -state[HEAD]}, f"{HEAD} holds other numbers"),
    "another precision": (lambda state: {**state, HEAD: state[HEAD].bfloat16()}, f"{HEAD} holds other numbers"),
    "another shape": (lambda state: {**state, HEAD: state[HEAD].view(-1)}, f"{HEAD} holds other numbers"),
    "lost": (lambda state: {name: state[name] for name in state if name != HEAD}, f"{HEAD} is missing"),
    "one too many": (lambda state: {**state, "score.bias": torch.zeros(1)}, "score.bias is none of the model's"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_difference_is_named(tmp_path, fault):
    model = tiny_model(LLAMA, TOKENIZER)
    torch.nn.init.zeros_(model.network.score.weight)
    save(tmp_path / "m", model)
    change, message = FAULTS[fault]
    file = tmp_path / "m" / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        readback.check_written(model.network, tmp_path / "m")


def test_a_file_that_cannot_be_read_again_is_named(tmp_path):
    model = tiny_model(LLAMA, TOKENIZER)
    save(tmp_path / "m", model)
    file = tmp_path / "m" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        readback.check_written(model.network, tmp_path / "m")


def test_weights_of_shards_have_the_names_and_forms_of_the_model(tmp_path):
    model = tiny_model(LLAMA, TOKENIZER)
    given = {name: value for name, value in tensors_to_save(model.network).items() if name != HEAD}
    with pytest.raises(CheckpointError, match=rf"{HEAD} was to be saved as None"):
        readback.check_written(model.network, tmp_path, given)
    given[HEAD] = torch.zeros(1, 32, dtype=torch.bfloat16)
    with pytest.raises(CheckpointError, match=rf"{HEAD} was to be saved as .*bfloat16"):
        readback.check_written(model.network, tmp_path, given)


@pytest.mark.parametrize("kind", ["none", "lora"])
def test_a_run_that_writes_another_head_at_every_save_ends_at_the_first(tmp_path, monkeypatch, kind):
    name = {"none": "_save_whole", "lora": "_save_adapter"}[kind]
    write = getattr(weights, name)
    monkeypatch.setattr(
        weights, name, lambda network, folder, _: write(network, folder, other_head(tensors_to_save(network)))
    )
    with pytest.raises(CheckpointError, match=r"score\.weight holds other numbers") as caught:
        bradley.train(settings(tmp_path, kind), **DATA, output=tmp_path / "run")
    assert caught.value.exit_code == 4
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("kind", ["none", "lora"])
def test_the_published_model_is_loaded_once_and_scores_as_it_did(tmp_path, monkeypatch, kind):
    load, loads = publish.load_model, []
    monkeypatch.setattr(publish, "load_model", lambda *given, **named: loads.append(given) or load(*given, **named))
    run = bradley.train(settings(tmp_path, kind), **DATA, output=tmp_path / "run")
    assert [given[0] for given in loads] == [run.model]
    scored = [score for row in score_comparisons(run.model, DATA["valid"]) for score in row.scores]
    assert scored == pytest.approx([score for row in run.rows("valid") for score in row.scores], rel=1e-5, abs=1e-6)


def lose_adapter_head(monkeypatch):
    """PEFT drops a head that it does not know, and the one that was drawn at loading stays."""
    fill = weights._fill

    def forgetful(network, state, folder, base):
        own = {name: value.clone() for name, value in weights.adapter_state(network).items()}
        fill(network, {name: own[name] if "score" in name else state[name] for name in state}, folder, base)

    monkeypatch.setattr(weights, "_fill", forgetful)


def lose_whole_head(monkeypatch):
    """The head is drawn anew whenever a network is loaded."""
    load = weights.load_network

    def forgetful(path, **named):
        loaded = load(path, **named)
        if named.get("exact"):
            torch.nn.init.normal_(loaded.network.score.weight)
        return loaded

    monkeypatch.setattr(weights, "load_network", forgetful)


def read_other_ids(monkeypatch):
    """The tokenizer reads other tokens than it did in training, and none of the probe."""
    monkeypatch.setattr(publish.parity, "conversation_ids", lambda *_: [1, 2])


@pytest.mark.parametrize(
    ("kind", "mutant", "message"),
    [
        ("lora", lose_adapter_head, "differs from training in its scores"),
        ("none", lose_whole_head, "differs from training in its scores"),
        ("lora", read_other_ids, "in the token ids of so many conversations, by up to 8"),
    ],
)
def test_a_model_that_scores_otherwise_when_it_is_loaded_ends_the_run(tmp_path, monkeypatch, kind, mutant, message):
    given = settings(tmp_path, kind)
    with monkeypatch.context() as broken:
        mutant(broken)
        with pytest.raises(CheckpointError, match=message) as caught:
            bradley.train(given, **DATA, output=tmp_path / "run")
    assert caught.value.exit_code == 4 and "the checkpoints are whole" in caught.value.hint
    assert not (tmp_path / "run" / "model").exists() and not list((tmp_path / "run").glob(".*model*"))
    run = bradley.train(given, **DATA, output=tmp_path / "run", resume=True)
    scored = [score for row in score_comparisons(run.model, DATA["valid"]) for score in row.scores]
    assert scored == pytest.approx([score for row in run.rows("valid") for score in row.scores], rel=1e-5, abs=1e-6)
