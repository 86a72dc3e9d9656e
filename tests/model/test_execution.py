"""Recomputed activations and a compiled forward: the same scores and gradients as the plain way."""

import functools
import shutil

import numpy as np
import pytest
import torch

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import UserError
from bradley.model.engine.batch import collate
from bradley.model.folder.save_load import load_model, save_model
from tests.helpers import BERT, GPT2, GPT_NEOX, LLAMA, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

ROWS = [*comparisons(5), *comparisons(3, responses=4, seed=3)]
TOKENIZER = tokenizer_for(ROWS)
STORE = store_for(ROWS, TOKENIZER)
WEIGHTS = STORE.judgment_weights("prompt")
MODELS = {"llama": LLAMA, "gpt2": GPT2, "gpt_neox": GPT_NEOX, "bert": BERT}
NOISY = {**LLAMA, "attention_dropout": 0.2}


def batch(*chosen):
    return collate(STORE, np.array(chosen or range(len(ROWS))), WEIGHTS)


def gradients(model, of=None):
    """The scores, and the gradient of the sum of their squares with respect to each trained weight."""
    torch.manual_seed(5)
    scores = model(of or batch())
    scores.square().sum().backward()
    return scores.detach(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def assert_same(one, other, tolerance):
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=tolerance)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recomputing_changes_no_score_and_no_gradient(name, precision):
    plain, checkpointed = (
        tiny_model(MODELS[name], TOKENIZER, precision=precision, gradient_checkpointing=on) for on in (False, True)
    )
    assert_same(gradients(checkpointed), gradients(plain), 1e-6)


@pytest.mark.parametrize("config", [GPT2, NOISY, BERT], ids=lambda config: config["model_type"])
def test_dropout_draws_the_same_numbers_both_times(config):
    plain, checkpointed, other = (
        tiny_model(config, TOKENIZER, dropout=True, gradient_checkpointing=on) for on in (False, True, False)
    )
    expected = gradients(plain)
    assert_same(gradients(checkpointed), expected, 1e-6)
    with torch.no_grad():
        assert not torch.equal(other(batch()), other(batch()))  # there is dropout


def test_recomputing_reaches_norms_below_frozen_layers():
    plain, checkpointed = (
        tiny_model(LLAMA, TOKENIZER, trainable="head_and_norms", gradient_checkpointing=on) for on in (False, True)
    )
    expected = gradients(plain)
    assert float(expected[1]["network.model.layers.0.input_layernorm.weight"].abs().max()) > 0
    assert_same(gradients(checkpointed), expected, 1e-6)


def test_fewer_activations_are_kept():
    def kept(model):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            model(batch())
        return sum(sizes)

    plain, checkpointed = (tiny_model(LLAMA, TOKENIZER, gradient_checkpointing=on) for on in (False, True))
    assert kept(checkpointed) < kept(plain) / 2


def test_a_model_that_cannot_is_refused():
    ctrl = {"model_type": "ctrl", "n_embd": 32, "n_layer": 1, "n_head": 4, "dff": 32, "n_positions": 512}
    with pytest.raises(UserError, match=r"model\.gradient_checkpointing: a ctrl cannot") as caught:
        tiny_model(ctrl, TOKENIZER, gradient_checkpointing=True)
    assert "micro_batch_tokens" in caught.value.hint


@pytest.mark.parametrize("name", ["llama", pytest.param("bert", marks=pytest.mark.nightly)])
def test_a_compiled_forward_is_compiled_once_for_all_batches(traced, name):
    plain, compiled = (tiny_model(MODELS[name], TOKENIZER, compile=on) for on in (False, True))
    groups = [(0, 1), (2, 3, 4), (5,), (6, 7), (1, 3, 5, 7), range(8)]
    shapes = set()
    for number, chosen in enumerate(groups):
        of = batch(*chosen)
        shapes.add((len(of.last), int(of.positions.max())))
        assert_same(gradients(compiled, of), gradients(plain, of), 1e-5)
        for model in (plain, compiled):
            model.zero_grad()
        if number == 0:
            warm = traced["stats"]["unique_graphs"]
    assert warm >= 1 and len(shapes) == len(groups)
    assert traced["stats"]["unique_graphs"] == warm
    assert not traced["graph_break"]


def test_compiling_keeps_names_and_files(traced, tmp_path):
    plain, compiled = (tiny_model(LLAMA, TOKENIZER, compile=on) for on in (False, True))
    gradients(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    renderer = Renderer(TOKENIZER, Render(max_tokens=200), causal=True)
    for name, model in (("plain", plain), ("compiled", compiled)):
        save_model(tmp_path / name, model, renderer, {})
    for file in ("model.safetensors", "config.json", "bradley.json"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "compiled" / file).read_bytes()
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "compiled").model(batch()), plain.eval()(batch()))


@pytest.mark.nightly
def test_recomputing_and_compiling_go_together(traced):
    plain = tiny_model(LLAMA, TOKENIZER)
    both = tiny_model(LLAMA, TOKENIZER, compile=True, gradient_checkpointing=True)
    assert_same(gradients(both), gradients(plain), 1e-5)


def test_training_takes_what_was_compiled_and_evaluation_does_not(monkeypatch):
    """A code generator whose results are off by 1: every score of training is, and none of evaluation by a bit."""

    def generator(graph, _):
        return lambda *given: [out + 1 if torch.is_floating_point(out) else out for out in graph(*given)]

    torch._dynamo.reset()
    plain = tiny_model(LLAMA, TOKENIZER, engine="plain").eval()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=generator))
    compiled = tiny_model(LLAMA, TOKENIZER, engine="plain", compile=True).eval()
    assert float((compiled(batch()) - plain(batch())).detach().abs().min()) > 1e-3
    with pytest.raises(AssertionError):
        assert_same(gradients(compiled), gradients(plain), 1e-5)
    with torch.no_grad():
        assert torch.equal(compiled(batch()), plain(batch()))
    torch._dynamo.reset()


@pytest.mark.nightly
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler on this machine")
def test_generated_code_gives_the_same_scores():
    """The whole of `torch.compile`, on one small layer because its code generator is slow."""
    torch._dynamo.reset()
    small = {**LLAMA, "num_hidden_layers": 1}
    plain, compiled = (tiny_model(small, TOKENIZER, compile=on, engine="plain").eval() for on in (False, True))
    for chosen in ((0, 1), (5, 6, 7)):
        torch.testing.assert_close(compiled(batch(*chosen)), plain(batch(*chosen)), rtol=0, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(compiled(batch()), plain(batch()))  # to the bit: evaluation is not compiled


def test_a_missing_compiler_is_said_with_the_option(monkeypatch):
    """The code generator finds out in the first forward; what it raises is all that is played here."""

    def generator(*_):
        from torch._inductor.exc import InvalidCxxCompiler

        raise InvalidCxxCompiler

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=generator))
    model = tiny_model(LLAMA, TOKENIZER, compile=True)
    with pytest.raises(UserError, match=r"model\.compile: .* cannot be compiled here: .*InvalidCxx") as caught:
        model(batch())
    assert "C++ compiler" in caught.value.hint and caught.value.exit_code == 2
    torch._dynamo.reset()
