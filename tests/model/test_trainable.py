"""Which weights are trained: by kind, by hand-written names, and by what moves."""

import numpy as np
import pytest
import torch
from torch import nn

from bradley.errors import UserError
from bradley.model.engine.batch import collate
from bradley.model.trainable import count_weights, is_norm, set_trainable, weight_kinds
from tests.helpers import BERT, GPT2, GPT_NEOX, LLAMA, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

ROWS = comparisons(4)
TOKENIZER = tokenizer_for(ROWS)
STORE = store_for(ROWS, TOKENIZER)
BATCH = collate(STORE, np.arange(len(ROWS)), STORE.judgment_weights("pair"))
QWEN3 = {**LLAMA, "model_type": "qwen3", "head_dim": 8}
MODERNBERT = {
    "model_type": "modernbert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
MODELS = {"llama": LLAMA, "qwen3": QWEN3, "gpt2": GPT2, "gpt_neox": GPT_NEOX, "bert": BERT}
HEADS = {"bert": {"network.bert.pooler.dense", "network.classifier"}}
NORMS = {
    "llama": ("layernorm.weight", "model.norm.weight"),
    "qwen3": ("layernorm.weight", "model.norm.weight", "q_norm.weight", "k_norm.weight"),
    "gpt2": ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "ln_f.weight", "ln_f.bias"),
    "gpt_neox": ("layernorm.weight", "layernorm.bias", "layer_norm.weight", "layer_norm.bias"),
    "bert": ("LayerNorm.weight", "LayerNorm.bias"),
}
"""Ends of the names of each model's normalisation weights, read off its code."""


def is_head(model, name):
    return name.rpartition(".")[0] in HEADS.get(model, {"network.score"})


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("trainable", ["all", "head", "head_and_norms"])
def test_exactly_the_weights_of_the_setting_are_trained(name, trainable):
    model = tiny_model(MODELS[name], TOKENIZER, trainable=trainable)
    names = {weight for weight, _ in model.named_parameters()}
    heads = {weight for weight in names if is_head(name, weight)}
    norms = {weight for weight in names if weight.endswith(NORMS[name])}
    assert heads and norms
    assert trained(model) == {"all": names, "head": heads, "head_and_norms": heads | norms}[trainable]
    model(BATCH).sum().backward()
    assert {weight for weight, p in model.named_parameters() if p.grad is not None} == trained(model)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_with_the_head_alone_no_graph_reaches_the_backbone_and_scores_stay(name):
    frozen, whole = (tiny_model(MODELS[name], TOKENIZER, trainable=which) for which in ("head", "all"))
    layers = frozen.network.model.layers if name == "llama" else frozen.network.bert.encoder.layer
    seen, recording = [], []
    for layer in layers:
        layer.register_forward_hook(lambda *_: recording.append(torch.is_grad_enabled()))
        layer.register_forward_hook(lambda _m, _i, output: seen.append(output[0] if type(output) is tuple else output))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        scores = frozen(BATCH)
    assert len(seen) == 2 and not any(hidden.requires_grad for hidden in seen)
    assert any(recording) == (name == "bert")  # an encoder's pooler is head, and runs inside the same call
    assert scores.requires_grad
    assert max(kept) <= max(len(scores), 32) * 32  # pooled rows and a weight, no activation of every token
    assert torch.equal(scores, whole(BATCH))


@pytest.mark.parametrize("trainable", ["head", "head_and_norms"])
def test_a_frozen_backbone_gives_the_head_the_gradient_of_a_trained_one(trainable):
    some, whole = (tiny_model(LLAMA, TOKENIZER, trainable=which) for which in (trainable, "all"))
    for model in (some, whole):
        model(BATCH).square().sum().backward()
    for (_, a), (_, b) in zip(some.named_parameters(), whole.named_parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-7)


def test_a_norm_is_known_by_its_type_and_the_shape_of_its_weights():
    class Block(nn.Module):
        """Named after the norm in it."""

        def __init__(self):
            super().__init__()
            self.inner = nn.LayerNorm(3)

    class NormBlock(Block):
        pass

    class NormedLinear(nn.Linear):
        pass

    class Scale(nn.LayerNorm):
        pass

    assert is_norm(nn.LayerNorm(3)) and is_norm(nn.RMSNorm(3)) and is_norm(nn.BatchNorm1d(3)) and is_norm(Scale(3))
    assert not is_norm(NormBlock()) and not is_norm(NormedLinear(3, 3)) and not is_norm(nn.Linear(3, 1))


def test_a_norm_inside_the_head_of_an_encoder_is_head():
    network = tiny_model(MODERNBERT, TOKENIZER).network
    kinds = weight_kinds(network)
    assert {name for name, kind in kinds.items() if kind == "head"} == {
        "head.dense.weight", "head.norm.weight", "classifier.weight", "classifier.bias",
    }  # fmt: skip
    assert kinds["model.final_norm.weight"] == "norms" and kinds["model.embeddings.norm.weight"] == "norms"


def test_counts_by_hand():
    network = tiny_model(LLAMA, TOKENIZER, trainable="head_and_norms").network
    assert count_weights(network)["head"] == (32, 32)
    assert count_weights(network)["norms"] == (5 * 32, 5 * 32)  # two per layer and the last
    assert sum(total for _, total in count_weights(network).values()) == sum(p.numel() for p in network.parameters())
    assert count_weights(network)["rest"][0] == 0


def test_what_a_network_froze_itself_stays_frozen():
    network = tiny_model(LLAMA, TOKENIZER).network
    network.model.embed_tokens.weight.requires_grad_(False)
    set_trainable(network, "all")
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == {"model.embed_tokens.weight"}


def test_a_run_in_which_nothing_would_be_trained_is_refused():
    network = tiny_model(LLAMA, TOKENIZER).network
    network.elsewhere = network.score
    del network.score
    with pytest.raises(UserError, match=r"model\.trainable = head, but no weight of this llama .* its head"):
        set_trainable(network, "head")
    olmo = {**LLAMA, "model_type": "olmo"}  # its norms have no weights
    with pytest.raises(UserError, match="part of its norms") as caught:
        tiny_model(olmo, TOKENIZER, trainable="head_and_norms")
    assert caught.value.hint == "use --model.trainable all"


def test_frozen_weights_are_saved_and_loaded_like_any(tmp_path):
    from bradley.config import Render
    from bradley.data.render import Renderer
    from bradley.model.folder.save_load import load_model, save_model

    model = tiny_model(LLAMA, TOKENIZER, trainable="head")
    save_model(tmp_path / "m", model, Renderer(TOKENIZER, Render(max_tokens=200), causal=True), {})
    loaded = load_model(tmp_path / "m").model
    with torch.no_grad():
        assert torch.equal(loaded(BATCH), model.eval()(BATCH))
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in model.named_parameters()]
