"""Which layers get an adapter: by kind and by name, against lists written by hand."""

import pytest

from bradley.errors import UserError
from bradley.model.adapters import find_targets, in_attention, place
from tests.helpers import BERT, GPT2, GPT_NEOX, LLAMA, QWEN, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

TOKENIZER = tokenizer_for(comparisons(4))
GATED = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
PROJECTIONS = [f"self_attn.{letter}_proj" for letter in "qkvo"]
LAYERS = {
    "llama": ("model.layers", PROJECTIONS, GATED),
    "qwen2": ("model.layers", PROJECTIONS, GATED),
    "gpt2": ("transformer.h", ["attn.c_attn", "attn.c_proj"], ["mlp.c_fc", "mlp.c_proj"]),
    "gpt_neox": (
        "gpt_neox.layers",
        ["attention.query_key_value", "attention.dense"],
        ["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"],
    ),
    "bert": (
        "bert.encoder.layer",
        ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"],
        ["intermediate.dense", "output.dense"],
    ),
}
"""Where the layers of each model are, its linear layers inside attention, and the others."""
CONFIGS = {"llama": LLAMA, "qwen2": QWEN, "gpt2": GPT2, "gpt_neox": GPT_NEOX, "bert": BERT}
NETWORKS = {name: tiny_model(config, TOKENIZER).network for name, config in CONFIGS.items()}


def full(name, *ends):
    return {f"{LAYERS[name][0]}.{layer}.{end}" for layer in range(2) for end in ends}


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_the_kinds_are_the_lists_of_each_architecture_and_never_the_head(name):
    _, attention, rest = LAYERS[name]
    assert set(find_targets(NETWORKS[name], "attention")) == full(name, *attention)
    found = find_targets(NETWORKS[name], "all-linear")
    assert set(found) == full(name, *attention, *rest) and len(found) == len(set(found))


def test_a_name_is_a_full_path_or_the_end_of_one_in_every_layer():
    network = NETWORKS["gpt2"]
    assert set(find_targets(network, ["attn.c_proj"])) == full("gpt2", "attn.c_proj")
    assert set(find_targets(network, "c_attn")) == full("gpt2", "attn.c_attn")
    assert find_targets(network, ["transformer.h.1.mlp.c_proj"]) == ["transformer.h.1.mlp.c_proj"]
    assert set(find_targets(network, "transformer.h.*.mlp.c_fc")) == full("gpt2", "mlp.c_fc")
    assert set(find_targets(NETWORKS["gpt_neox"], "dense")) == full("gpt_neox", "attention.dense")
    both = find_targets(NETWORKS["llama"], ["v_proj", "q_proj", "q_proj"])
    assert set(both) == full("llama", "self_attn.q_proj", "self_attn.v_proj") and len(both) == 4


@pytest.mark.parametrize(
    ("model", "name", "message", "hint"),
    [
        ("gpt2", "c_proj", "fits layers in 2 kinds of places: transformer.h.*.attn.c_proj, transformer.h.*.mlp.c_proj",
         "say which: attn.c_proj or mlp.c_proj"),
        ("bert", "dense", "fits layers in 3 kinds of places", "say which: "),
        ("llama", "q_projj", "no linear layer is called q_projj; there are self_attn.q_proj, self_attn.k_proj",
         "did you mean q_proj?"),
        ("llama", "proj", "no linear layer is called proj", ""),
        ("llama", "embed_tokens", "no linear layer is called embed_tokens", ""),
        ("llama", "score", "score is the score head, which is trained in full", "leave score out"),
    ],
)  # fmt: skip
def test_a_name_that_fits_nothing_or_too_much_is_refused_with_the_names_that_exist(model, name, message, hint):
    with pytest.raises(UserError) as caught:
        find_targets(NETWORKS[model], [name])
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_paths_of_attention_are_told_by_their_parts():
    assert in_attention("model.layers.0.self_attn.q_proj") and in_attention("h.3.attn.c_proj")
    assert in_attention("encoder.layer.0.attention.output.dense") and in_attention("layers.1.SelfAttention.q")
    assert not in_attention("h.3.mlp.c_proj") and not in_attention("layers.0.attn") and not in_attention("q_proj")


def test_a_place_is_a_path_without_its_numbers():
    assert place("model.layers.11.mlp.fc1") == "model.layers.*.mlp.fc1"
    assert place("h.0.experts.7.w2") == "h.*.experts.*.w2"
