"""Liger's kernels as far as a machine without them goes: what is asked of it, what stays, what is refused."""

import sys
import types

import pytest
import torch
from transformers.models.llama import modeling_llama

from bradley.errors import UserError
from bradley.model.execution import fuse_layers
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

TOKENIZER = tokenizer_for(comparisons(5))
CUDA = torch.device("cuda")


def fused_rotary(query, *rest):
    return "fused"


@pytest.fixture
def liger(monkeypatch):
    """A package that replaces what Liger does, in the instance and in the module of its code; what it was asked."""
    asked = []

    def apply(rope=True, cross_entropy=False, fused_linear_cross_entropy=True, rms_norm=True, swiglu=True, model=None):
        asked.append((rope, cross_entropy, fused_linear_cross_entropy, rms_norm, swiglu, model))
        modeling_llama.apply_rotary_pos_emb = fused_rotary
        modeling_llama.LlamaRMSNorm = modeling_llama.LlamaMLP = type("Liger", (), {})
        model.model.norm.forward = lambda hidden: hidden * 2

    def apply_to_instance(model, **options):
        apply(model=model, **options)

    fakes = {name: types.ModuleType(name) for name in ("liger_kernel", "liger_kernel.transformers")}
    fakes["liger_kernel.transformers"]._apply_liger_kernel_to_instance = apply_to_instance
    table = types.ModuleType("liger_kernel.transformers.monkey_patch")
    table.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": apply}
    for name, module in {**fakes, table.__name__: table}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("transformers.integrations.liger.is_liger_kernel_available", lambda: True)
    for name in ("apply_rotary_pos_emb", "LlamaRMSNorm", "LlamaMLP"):
        monkeypatch.setattr(modeling_llama, name, getattr(modeling_llama, name))  # put back afterwards
    return asked


def test_every_kernel_but_those_of_losses_is_asked_for(liger):
    network = tiny_model(LLAMA, TOKENIZER).network
    fuse_layers(network, CUDA)
    assert liger == [(True, False, False, True, True, network)]
    assert torch.equal(network.model.norm(torch.ones(32)), torch.full((32,), 2.0))


def test_other_models_of_the_process_stay_as_they_are(liger):
    before = {name: getattr(modeling_llama, name) for name in ("apply_rotary_pos_emb", "LlamaRMSNorm", "LlamaMLP")}
    fuse_layers(tiny_model(LLAMA, TOKENIZER).network, CUDA)
    assert modeling_llama.LlamaRMSNorm is before["LlamaRMSNorm"] and modeling_llama.LlamaMLP is before["LlamaMLP"]
    query, key = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8)
    angles = torch.randn(2, 1, 6, 8)
    expected = before["apply_rotary_pos_emb"](query, key, *angles)
    for one, other in zip(modeling_llama.apply_rotary_pos_emb(query, key, *angles), expected, strict=True):
        assert torch.equal(one, other)
    on_cuda = types.SimpleNamespace(is_cuda=True)
    assert modeling_llama.apply_rotary_pos_emb(on_cuda, key, *angles) == "fused"


def test_what_cannot_be_fused_is_an_error(liger):
    with pytest.raises(UserError, match=r"model\.liger needs CUDA, and the model is on cpu") as caught:
        tiny_model(LLAMA, TOKENIZER, liger=True)
    assert caught.value.hint == "leave model.liger off"
    network = tiny_model({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 4}, TOKENIZER).network
    with pytest.raises(UserError, match="Liger has no kernels for a gpt2"):
        fuse_layers(network, CUDA)
    assert liger == []


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(UserError, match=r"model\.liger needs the package liger-kernel") as caught:
        fuse_layers(tiny_model(LLAMA, TOKENIZER).network, CUDA)
    assert "bradley[liger]" in caught.value.hint
