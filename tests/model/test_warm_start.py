"""Training that begins from an earlier model loses nothing in silence: heads, weights, adapters, rendering."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.errors import BradleyError, CheckpointError, UserError
from bradley.model.adapters import adapter_state
from bradley.model.build import build_model
from bradley.model.folder.card import read_card
from bradley.model.folder.save_load import load_model, save_model
from bradley.model.folder.warm_start import rendering_changes
from bradley.model.outline import outline
from tests.helpers import BERT, LLAMA, tiny_model
from tests.model.adapted import IDS, TOKENIZER, adapted, base_model, save, scores, train
from tests.model.other_trainers import (
    HIDDEN,
    classifier,
    head_of,
    llama_factory,
    open_rlhf,
    own_scores,
    trl_value_head,
    with_tensors,
)

pytestmark = pytest.mark.transformers
CPU = torch.device("cpu")


def built(folder, **adapter):
    return build_model(Model(path=str(folder), adapter=adapter), TOKENIZER, 0, CPU)


@pytest.mark.parametrize(
    "make",
    [
        llama_factory,
        trl_value_head,
        open_rlhf,
        *(lambda folder, name=name: open_rlhf(folder, name) for name in ("score", "v_head", "reward_head", "rm_head")),
    ],
    ids=["llama_factory", "trl_value_head", "value_head", "score", "v_head", "reward_head", "rm_head"],
)
def test_a_head_of_another_trainer_gives_its_scores_at_the_first_step(tmp_path, make):
    found = built(make(tmp_path / "m"))
    assert not found.head.startswith("drawn")
    torch.testing.assert_close(scores(found.model), own_scores(tmp_path / "m"), rtol=1e-4, atol=1e-5)


def test_what_is_taken_over_and_what_is_not_used_is_said(tmp_path):
    found = built(llama_factory(tmp_path / "m"))
    assert found.head.startswith("taken over from v_head.summary.weight in value_head.safetensors, score, pooled")
    bias = f"{head_of()[1].item():.4g}"
    assert found.notes == (
        "not used: lm_head.weight, without a place in a reward model",
        f"not used: the bias of the head, {bias}, which shifts all scores alike",
    )
    extra = with_tensors(base_model(tmp_path / "n", LLAMA), **{"mtp.weight": torch.ones(3)})
    assert built(extra).notes == ("not used: lm_head.weight, mtp.weight, without a place in a reward model",)
    assert built(classifier(tmp_path / "c")).notes == ()
    both = with_tensors(tmp_path / "c", "value_head.safetensors", **{"v_head.summary.weight": head_of()[0]})
    assert built(both).notes == ("not used: value_head.safetensors, because the model has a head of its own",)


REFUSED = {
    "five attributes": {"v_head.weight": torch.ones(5, HIDDEN)},
    "two layers": {"value_head.0.weight": torch.ones(HIDDEN, HIDDEN), "value_head.2.weight": torch.ones(1, HIDDEN)},
    "two heads": {"v_head.weight": torch.ones(1, HIDDEN), "reward_head.weight": torch.ones(1, HIDDEN)},
    "no number": {"v_head.weight": torch.full((1, HIDDEN), torch.nan)},
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("file", ["model.safetensors", "value_head.safetensors"])
def test_a_head_that_does_not_fit_is_refused(tmp_path, case, file):
    folder = with_tensors(base_model(tmp_path / "m", LLAMA), file, **REFUSED[case])
    with pytest.raises(CheckpointError) as caught:
        built(folder)
    assert "head" in caught.value.message and (case == "no number" or "a new head is drawn" in caught.value.hint)


def test_a_head_in_a_pickle_or_on_an_encoder_is_refused(tmp_path):
    folder = base_model(tmp_path / "m", LLAMA)
    (folder / "value_head.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match=r"keeps its score head in value_head\.bin, a pickle"):
        built(folder)
    from transformers import AutoConfig, AutoModel

    values = {key: value for key, value in BERT.items() if key != "model_type"}
    network = AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=len(TOKENIZER), **values))
    network.save_pretrained(tmp_path / "bert")
    with_tensors(tmp_path / "bert", **{"reward_head.weight": torch.ones(1, HIDDEN)})
    with pytest.raises(CheckpointError, match="holds a head that has no place in this bert"):
        built(tmp_path / "bert")


def test_a_body_under_other_names_is_named(tmp_path):
    folder = base_model(tmp_path / "m", LLAMA)
    known = load_file(folder / "model.safetensors")
    save_file({f"rwtransformer.{name}": t for name, t in known.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"weights besides the head.* and holds rwtransformer\.\S+"):
        built(folder)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return base_model(tmp_path_factory.mktemp("bases") / "llama", LLAMA)


@pytest.mark.parametrize("settings", [{}, {"dora": True, "norms": True, "targets": "attention", "rslora": True}])
def test_an_adapter_goes_on_as_an_adapter(tmp_path, bases, settings):
    pytest.importorskip("peft")
    before = train(adapted(bases, dropout=0.25, **settings), steps=3)
    folder = save(tmp_path / "m", before)
    found = built(folder, kind="lora")
    assert found.head.startswith("loaded")
    torch.testing.assert_close(scores(found.model), scores(before), rtol=1e-5, atol=1e-6)
    config, old = found.model.network.peft_config["default"], before.network.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (old.r, old.lora_alpha, 0.25)
    trained = {name for name, weight in found.model.network.named_parameters() if weight.requires_grad}
    assert trained == {name for name, weight in before.network.named_parameters() if weight.requires_grad}
    assert adapter_state(outline(Model(path=str(folder), adapter={"kind": "lora"}))).keys() == (
        adapter_state(before.network).keys()
    )
    # Trained on, saved and loaded again: on the base itself, not on the first adapter.
    after = train(found.model, steps=2)
    again = load_model(save(tmp_path / "n", after)).model
    assert torch.equal(scores(again), scores(after)) and not torch.equal(scores(after), scores(before))
    assert read_card(tmp_path / "n")["adapter"]["base"] == str(bases)


CONTRADICTED = {"rank": 8, "alpha": 1.0, "dora": True, "norms": True, "targets": "attention"}


@pytest.mark.parametrize("name", CONTRADICTED)
def test_settings_that_an_adapter_contradicts_are_refused(tmp_path, bases, name):
    pytest.importorskip("peft")
    folder = save(tmp_path / "m", adapted(bases))
    with pytest.raises(UserError, match=rf"model\.adapter\.{name} = .*the adapter") as caught:
        built(folder, kind="lora", **{name: CONTRADICTED[name]})
    assert f"leave model.adapter.{name} out" in caught.value.hint
    assert built(folder, kind="lora", rank=4, targets="all-linear").head.startswith("loaded")


def test_an_adapter_on_another_base_or_without_its_tensors_is_refused(tmp_path, bases):
    pytest.importorskip("peft")
    folder = save(tmp_path / "m", adapted(bases))
    (folder / "bradley.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    other = base_model(tmp_path / "wide", {**LLAMA, "hidden_size": 48, "head_dim": 8})
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(other)}))
    with pytest.raises(CheckpointError, match="and its base model wants"):
        built(folder, kind="lora")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    state = load_file(folder / "adapter_model.safetensors")
    for change in ({"base_model.model.extra.weight": torch.ones(2)}, {next(k for k in state if "lora_A" in k): None}):
        tensors = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
        save_file(tensors, folder / "adapter_model.safetensors")
        with pytest.raises(CheckpointError, match="so training cannot continue it"):
            built(folder, kind="lora")


def test_an_adapter_of_peft_alone_goes_on(tmp_path, bases):
    """As TRL leaves it; LLaMA-Factory keeps the head in a file beside."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(bases, num_labels=1, dtype=torch.float32)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="SEQ_CLS", init_lora_weights=False)
    model = peft.get_peft_model(network, settings)
    torch.manual_seed(3)
    torch.nn.init.normal_(model.base_model.model.score.modules_to_save["default"].weight)
    model.save_pretrained(tmp_path / "m")
    TOKENIZER.save_pretrained(tmp_path / "m")
    with torch.no_grad():
        expected = torch.cat([model(torch.tensor([row])).logits[:, 0] for row in IDS])
    found = built(tmp_path / "m", kind="lora")
    assert found.head.startswith("loaded")
    torch.testing.assert_close(scores(found.model), expected, rtol=1e-4, atol=1e-5)
    state = load_file(tmp_path / "m" / "adapter_model.safetensors")
    head = state.pop(next(name for name in state if "score" in name))
    save_file(state, tmp_path / "m" / "adapter_model.safetensors")
    drawn = built(tmp_path / "m", kind="lora")
    assert drawn.head.startswith("drawn")
    with_tensors(tmp_path / "m", "value_head.safetensors", **{"v_head.summary.weight": head})
    found = built(tmp_path / "m", kind="lora")
    assert found.head.startswith("taken over from v_head.summary.weight in value_head.safetensors")
    torch.testing.assert_close(scores(found.model), expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_is_no_whole_model(tmp_path, bases):
    pytest.importorskip("peft")
    folder = save(tmp_path / "m", adapted(bases))
    with pytest.raises(BradleyError, match="holds an adapter and no model of its own") as caught:
        built(folder)
    assert "--model.adapter.kind lora" in caught.value.hint and "bradley export" in caught.value.hint


def test_another_rendering_than_of_the_earlier_model_is_said(tmp_path):
    before = Renderer(TOKENIZER, Render(max_tokens=200, template="raw"), causal=True)
    save_model(tmp_path / "m", tiny_model(LLAMA, TOKENIZER), before, {"kind": "text"})
    same = Renderer(TOKENIZER, Render(max_tokens=200, template="raw"), causal=True)
    assert list(rendering_changes(str(tmp_path / "m"), same, "text")) == []
    assert list(rendering_changes(str(tmp_path / "m"), same, "messages")) == [
        "the rows were text, and are messages here, which raw writes otherwise"
    ]
    other = Renderer(TOKENIZER, Render(max_tokens=100, system_prompt="Be kind.", over_long="drop"), causal=True)
    assert list(rendering_changes(str(tmp_path / "m"), other, "text")) == [
        "the template was raw, and is tokenizer here, another text",
        "render.system_prompt was '', and is 'Be kind.' here",
        "render.max_tokens was 200, and is 100 here",
        "render.over_long was 'truncate_prompt', and is 'drop' here",
    ]
    assert list(rendering_changes(str(base_model(tmp_path / "b", LLAMA)), other, "text")) == []
