"""Adapters: what is trained, what they add by the formula, what a folder of theirs is worth in another process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bradley.config import Model
from bradley.errors import CheckpointError, UserError
from bradley.model.adapters import adapter_state, is_adapted, merged
from bradley.model.build import build_model
from bradley.model.folder.save_load import load_model
from bradley.model.reward import ScoreModel
from bradley.model.trainable import count_weights, is_norm
from tests import copies
from tests.helpers import BERT, GPT2, LLAMA, QWEN, tiny_model
from tests.model import fresh_scores
from tests.model.adapted import BATCH, IDS, ROWS, TOKENIZER, adapted, base_model, save, scores, train

pytestmark = pytest.mark.transformers

pytest.importorskip("peft")
CONFIGS = {"llama": LLAMA, "qwen2": QWEN, "gpt2": GPT2}
NAMES = {"llama": ["q_proj", "mlp.down_proj"], "qwen2": ["q_proj", "v_proj"], "gpt2": ["c_attn", "mlp.c_proj"]}
VARIANTS = {
    "full": {"kind": "none", "rank": 16},
    "all-linear": {},
    "attention": {"targets": "attention"},
    "rslora": {"rslora": True, "alpha": 4.0},
    "dora": {"dora": True},
    "norms": {"norms": True, "targets": "attention"},
    "everything": {"norms": True, "dora": True, "rslora": True, "alpha": 4.0},
}
BY_DAY = {
    "llama": ("full", "attention", "rslora", "dora", "norms", "names"),
    "qwen2": ("all-linear",),
    "gpt2": ("everything", "names"),
}
"""Variants of each shape that are tried by day: every setting on some shape, and what the layers of a shape change."""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {name: base_model(folder / name, config) for name, config in CONFIGS.items()}


@pytest.fixture(scope="module", params=["some", pytest.param("every", marks=pytest.mark.nightly)])
def saved(request, bases, tmp_path_factory):
    """Variants on every shape, trained and saved: (folder, base or '', scores when it was saved)."""
    place, found = tmp_path_factory.mktemp("saved"), {}
    for shape, base in bases.items():
        for name, settings in {**VARIANTS, "names": {"targets": NAMES[shape]}}.items():
            if request.param == "some" and name not in BY_DAY[shape]:
                continue
            model = train(adapted(base, **settings), steps=10)
            folder = save(place / f"{shape}-{name}", model)
            found[shape, name] = (folder, str(base) if is_adapted(model.network) else "", scores(model))
            if name in ("attention", "everything"):
                merged(model.network)
                folder = save(place / f"{shape}-{name}-merged", model)
                found[shape, f"{name}-merged"] = (folder, "", found[shape, name][2])
    return found


@pytest.fixture(scope="module", params=["a copy", pytest.param("fresh", marks=pytest.mark.nightly)])
def fresh(request, saved, tmp_path_factory):
    """What another process makes of the folders, by both ways: by day a copy of this one, at night a fresh one."""
    jobs = [{"folder": str(folder), "base": base, "ids": IDS} for folder, base, _ in saved.values()]
    if request.param == "a copy":
        answer = tmp_path_factory.mktemp("answer") / "scores.json"
        assert copies.ended(copies.start(lambda: answer.write_text(json.dumps(fresh_scores.both_ways(jobs))))) == 0
        return dict(zip(saved, json.loads(answer.read_text()), strict=True))
    command = [sys.executable, "-m", "tests.model.fresh_scores"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, timeout=300, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(saved, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("way", ["bradley", "library"])
def test_a_fresh_process_gives_the_scores_that_were_trained(saved, fresh, bases, way):
    untrained = {shape: scores(adapted(base)) for shape, base in bases.items()}
    for (shape, name), (_, _, trained) in saved.items():
        assert float((trained - untrained[shape]).abs().max()) > 1e-2, (shape, name)
        # Rounding is as large as the terms of a score, not as their sum: scores near 0 differ as much as the largest.
        allowed = 1e-5 * max(1.0, float(trained.abs().max()))
        np.testing.assert_allclose(
            fresh[shape, name][way], trained, rtol=0, atol=allowed, err_msg=f"{shape} {name} through {way}"
        )


def test_the_folder_of_an_adapter_holds_no_weight_of_its_base(saved, bases):
    for (shape, name), (folder, base, _) in saved.items():
        files = {path.name for path in folder.iterdir()}
        assert ("adapter_model.safetensors" in files) == bool(base) != ("model.safetensors" in files), name
        if base:
            state = load_file(folder / "adapter_model.safetensors")
            assert {tensor.dtype for tensor in state.values()} == {torch.float32}
            body = {key.removeprefix("base_model.model.") for key in state if "lora_" not in key}
            norms = {key for key in body if "norm" in key or "ln_" in key}
            assert body == {"score.weight"} | norms and bool(norms) == (name in ("norms", "everything"))
            config = json.loads((folder / "adapter_config.json").read_text())
            assert config["base_model_name_or_path"] == str(bases[shape])
            assert "score" in config["modules_to_save"] and config["task_type"] == "SEQ_CLS"


@pytest.mark.parametrize("shape", sorted(CONFIGS))
@pytest.mark.parametrize("norms", [False, True])
def test_exactly_adapters_head_and_norms_are_trained_in_float32(bases, shape, norms):
    model = adapted(bases[shape], norms=norms, dora=True)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    owners = {name for name, module in model.named_modules() if is_norm(module)}
    train(model, steps=3)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    expected = {
        name
        for name in before
        if "lora_" in name or name == "network.score.weight" or (norms and name.rpartition(".")[0] in owners)
    } - ({"network.transformer.ln_f.bias"} - moved)  # adds the same to every score
    assert moved == expected
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}


@pytest.mark.parametrize("shape", sorted(CONFIGS))
@pytest.mark.parametrize("settings", [{}, {"rslora": True}, {"dora": True}], ids=["lora", "rslora", "dora"])
def test_a_new_adapter_changes_nothing(bases, shape, settings):
    torch.testing.assert_close(
        scores(adapted(bases[shape], **settings)),
        scores(adapted(bases[shape], kind="none", rank=16)),
        rtol=1e-5,
        atol=2e-6,
    )


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8.0 / 4), (True, 8.0 / 2)])
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_what_is_folded_in_is_the_formula(bases, shape, rslora, scale):
    model = train(adapted(bases[shape], rslora=rslora, alpha=8.0), steps=2)
    state = {name: weight.clone() for name, weight in adapter_state(model.network).items()}
    before = {name.replace(".base_layer", ""): w.detach().clone() for name, w in model.network.named_parameters()}
    network = merged(model.network)
    assert type(network).__name__ in ("LlamaForSequenceClassification", "GPT2ForSequenceClassification")
    assert not is_adapted(network) and merged(network) is network
    after = dict(network.named_parameters())
    assert not any("lora" in name or "base_layer" in name for name in after)
    changed = 0
    for name, weight in after.items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        change = torch.zeros_like(weight)
        if f"{key}.lora_B.weight" in state:
            change = scale * state[f"{key}.lora_B.weight"] @ state[f"{key}.lora_A.weight"]
            change, changed = change.T if shape == "gpt2" else change, changed + 1
        torch.testing.assert_close(weight.detach(), before[name] + change, rtol=1e-6, atol=1e-7)
    assert changed == {"llama": 14, "gpt2": 8}[shape]


def test_dora_gives_each_row_the_length_that_was_trained(bases):
    model = train(adapted(bases["llama"], dora=True), steps=5)
    state = {name: weight.clone() for name, weight in adapter_state(model.network).items()}
    network = merged(model.network)
    key = "model.layers.1.mlp.up_proj"
    lengths = network.get_submodule(key).weight.detach().norm(dim=1)
    torch.testing.assert_close(lengths, state[f"base_model.model.{key}.lora_magnitude_vector"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", sorted(CONFIGS))
def test_packed_rows_score_and_learn_as_padded_ones(bases, shape):
    model = train(adapted(bases[shape], "segments", norms=True), steps=4).train()
    found = []
    for engine in ("segments", "plain"):
        model.use(engine)
        model.zero_grad()
        now = model(BATCH)
        now.square().sum().backward()
        found.append((now.detach(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-5 * max(1.0, float(found[1][0].abs().max())))
    for name, grad in found[0][1].items():
        assert grad.any()
        assert float((grad - found[1][1][name]).norm() / grad.norm()) < 1e-5, name


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_recomputed_activations_give_the_same_gradients(bases, shape):
    found = []
    for on in (False, True):
        adapter = {"kind": "lora", "rank": 4}
        settings = Model(path=str(bases[shape]), gradient_checkpointing=on, adapter=adapter)
        model = build_model(settings, TOKENIZER, 0, CPU).model
        for _ in range(2):  # the factors that begin at 0 have to move first
            scores_now = model(BATCH)
            scores_now.square().sum().backward()
            with torch.no_grad():
                for weight in model.parameters():
                    if weight.requires_grad:
                        weight.sub_(1e-2 * weight.grad)
        found.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert all(grad.abs().sum() > 0 for grad in found[1].values())
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-4, atol=1e-6)


def test_under_bfloat16_everything_that_is_trained_stays_float32_and_loads_back(bases, tmp_path):
    settings = Model(
        path=str(bases["llama"]), precision="bfloat16", adapter={"kind": "lora", "dora": True, "norms": True}
    )
    model = train(build_model(settings, TOKENIZER, 0, CPU).model, steps=4, lr=1e-3)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    loaded = load_model(save(tmp_path / "m", model)).model
    assert loaded.compute == torch.bfloat16
    assert torch.equal(scores(loaded), scores(model))


def test_the_head_and_its_pooler_are_trained_and_kept_on_an_encoder(tmp_path):
    base = tmp_path / "base"
    tiny_model(BERT, TOKENIZER).network.save_pretrained(base)
    TOKENIZER.save_pretrained(base)
    model = train(adapted(base), steps=4)
    heads = {name for name, p in model.network.named_parameters() if p.requires_grad and "lora_" not in name}
    assert heads == {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
    folder = save(tmp_path / "m", model)
    torch.testing.assert_close(scores(load_model(folder).model), scores(model), rtol=1e-6, atol=1e-6)
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification as Classifier

    library = PeftModel.from_pretrained(Classifier.from_pretrained(base, num_labels=1), folder).eval()
    with torch.no_grad():
        expected = [float(library(input_ids=torch.tensor([row])).logits[0, 0]) for row in IDS]
    np.testing.assert_allclose(scores(model), expected, rtol=1e-5, atol=2e-6)


def test_many_layers_are_saved_and_loaded_one_by_one(tmp_path):
    """From 20 targets on PEFT writes shorter names for them."""
    base = base_model(tmp_path / "base", {**LLAMA, "num_hidden_layers": 12})
    model = train(adapted(base, targets=["layers.11.self_attn.q_proj", "mlp.up_proj", "v_proj"]), steps=2)
    loaded = load_model(save(tmp_path / "m", model)).model
    assert {n for n, _ in loaded.named_parameters()} == {n for n, _ in model.named_parameters()}
    assert torch.equal(scores(loaded), scores(model))


def test_a_pad_token_that_the_base_lacks_needs_no_embedding_of_it(tmp_path):
    base = base_model(tmp_path / "base", LLAMA)
    tokenizer = type(TOKENIZER).from_pretrained(base)
    tokenizer.pad_token = None
    tokenizer.add_special_tokens({"pad_token": "<|new|>"})
    assert tokenizer.pad_token_id == len(TOKENIZER)
    settings = Model(path=str(base), adapter={"kind": "lora"})
    model = train(build_model(settings, tokenizer, 0, CPU).model, steps=2)
    assert model.pad_id == model.network.get_input_embeddings().num_embeddings - 1
    from bradley.config import Render
    from bradley.data.render import Renderer
    from bradley.model.folder.save_load import save_model

    save_model(tmp_path / "m", model, Renderer(tokenizer, Render(max_tokens=200), causal=True), {})
    loaded = load_model(tmp_path / "m").model
    assert loaded.pad_id == model.pad_id
    torch.testing.assert_close(scores(loaded), scores(model), rtol=1e-6, atol=1e-6)
    tokenizer.add_tokens(["<|word|>"])
    with pytest.raises(UserError, match=r"1 tokens beyond the \d+ rows .* '<\|word\|>'"):
        build_model(settings, tokenizer, 0, CPU)


def test_the_summary_counts_adapters_by_hand(bases):
    counts = count_weights(adapted(bases["llama"], targets="attention", norms=True).network)
    per_layer = 4 * (32 + 32) + 2 * 4 * (32 + 16) + 4 * (32 + 32)  # q, then k and v onto 16, then o
    assert counts["adapter"] == (2 * per_layer, 2 * per_layer)
    assert counts["head"] == (32, 32) and counts["norms"] == (5 * 32, 5 * 32) and counts["rest"][0] == 0


def test_what_a_model_or_a_machine_cannot_do_is_said_before_anything_is_loaded(bases, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"model\.adapter\.quantize = nf4 needs CUDA") as caught:
        adapted("nowhere", quantize="nf4")
    assert caught.value.hint == "use --model.adapter.quantize none"
    olmo = base_model(tmp_path / "olmo", {**LLAMA, "model_type": "olmo"})
    with pytest.raises(UserError, match="no weight of this olmo is known as part of its norms"):
        adapted(olmo, norms=True)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="adapters need the package peft") as caught:
        adapted(bases["llama"])
    assert caught.value.hint == 'install it with `pip install "bradley[lora]"`'


def test_a_warm_start_keeps_the_head_of_a_reward_model(tmp_path):
    model = train(tiny_model(LLAMA, TOKENIZER), steps=3)
    folder = save(tmp_path / "m", model)
    for kind in ("none", "lora"):
        built = build_model(Model(path=str(folder), adapter={"kind": kind}), TOKENIZER, 5, CPU)
        assert built.head.startswith("loaded")
        assert torch.equal(built.model.network.score.weight, model.network.score.weight)
        torch.testing.assert_close(scores(built.model), scores(model), rtol=1e-5, atol=1e-6)


def test_a_model_of_two_labels_is_refused_in_words_of_its_own(tmp_path):
    from transformers import AutoModelForSequenceClassification

    network = tiny_model(LLAMA, TOKENIZER).network
    config = network.config
    config.num_labels = 2
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "two")
    TOKENIZER.save_pretrained(tmp_path / "two")
    with pytest.raises(CheckpointError, match=r"has a head of 2 labels \(score\.weight\), and a reward model has one"):
        build_model(Model(path=str(tmp_path / "two")), TOKENIZER, 0, CPU)
    shapes = json.loads((tmp_path / "two" / "config.json").read_text())
    (tmp_path / "two" / "config.json").write_text(json.dumps({**shapes, "intermediate_size": 65}))
    with pytest.raises(CheckpointError, match="no model could be loaded from"):
        build_model(Model(path=str(tmp_path / "two")), TOKENIZER, 0, CPU)


def test_equal_seeds_draw_equal_adapters(bases):
    one, two = (adapter_state(adapted(bases["llama"]).network) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    settings = Model(path=str(bases["llama"]), adapter={"kind": "lora", "rank": 4})
    other = adapter_state(build_model(settings, TOKENIZER, 1, CPU).model.network)
    assert not any(torch.equal(one[name], other[name]) for name in one if "lora_A" in name)
    assert len(ROWS) * 2 == len(IDS)


@pytest.mark.parametrize("settings", [{}, {"dora": True, "norms": True}], ids=["lora", "dora"])
def test_an_adapter_on_4_bits_loads_back_and_is_folded_in_at_full_size(tmp_path, monkeypatch, settings):
    """On the CPU's slow kernels, which a run is not let near: the rounding of the weights is the same."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)  # repacks weights, in bfloat16
    for module in ("build", "weights"):
        monkeypatch.setattr(f"bradley.model.{module}.check_quantize", lambda *_: None)
    sizes = {"hidden_size": 64, "intermediate_size": 128}  # blocks of 64 numbers
    base = base_model(tmp_path / "base", {**LLAMA, **sizes})
    model = train(adapted(base, quantize="nf4", **settings), steps=5)
    small = [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(small) >= 14 and type(model.network.score) is torch.nn.Linear
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    counts, whole = (count_weights(m.network) for m in (model, adapted(base, **settings)))
    assert counts == whole
    before = scores(model)
    folder = save(tmp_path / "m", model)
    torch.testing.assert_close(scores(load_model(folder).model), before, rtol=1e-5, atol=2e-6)
    model.use("plain")
    network = merged(model.network)
    assert not any(isinstance(module, bitsandbytes.nn.Linear4bit) for module in network.modules())
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    whole = ScoreModel(network)
    torch.testing.assert_close(scores(whole), before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores(load_model(save(tmp_path / "whole", whole)).model), before, rtol=1e-4, atol=1e-5)
