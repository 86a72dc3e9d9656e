"""Probes of an untrained model: first loss, gradients, a few comparisons learned; the weights stay as drawn."""

import pytest
import torch

from bradley.config import Loss, Optim
from bradley.doctor.learning import few, first_loss, gradient, overfit
from tests.helpers import BERT, LLAMA, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers
ROWS = comparisons(12)
TOKENIZER = tokenizer_for(ROWS)
STORE, SMALL = store_for(ROWS, TOKENIZER), store_for(ROWS[:3], TOKENIZER)
FAST = Optim(lr=1e-3)


@pytest.fixture
def model():
    return tiny_model(LLAMA, TOKENIZER)


@pytest.mark.parametrize("config", [LLAMA, BERT], ids=lambda config: config["model_type"])
def test_a_sound_model_passes_and_keeps_its_weights(config) -> None:
    model = tiny_model(config, TOKENIZER)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    assert first_loss(model, STORE, Loss()).verdict == "pass"
    assert gradient(model, STORE, Loss(), FAST).verdict == "pass"
    assert overfit(model, SMALL, FAST).verdict == "pass"
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert model.training and all(weight.grad is None for weight in model.parameters())


def test_a_frozen_head_fails(model) -> None:
    model.network.score.weight.requires_grad_(False)
    found = gradient(model, STORE, Loss(), FAST)
    assert found.verdict == "fail" and found.measured == "the head is frozen: score.weight"


def test_a_weight_cut_off_from_its_gradient_fails(model) -> None:
    norm = model.network.base_model.norm
    norm.register_forward_hook(lambda _module, _inputs, output: output.detach().requires_grad_())
    found = gradient(model, STORE, Loss(), FAST)
    assert found.verdict == "fail" and "no gradient reaches" in found.measured


def test_a_summed_loss_and_a_large_head_fail(model, monkeypatch) -> None:
    sane = first_loss(model, STORE, Loss())
    assert sane.low < 0.6931 < sane.high
    with torch.no_grad():
        model.network.score.weight.mul_(30)
    assert first_loss(model, STORE, Loss()).verdict == "fail"
    with torch.no_grad():
        model.network.score.weight.mul_(1 / 30)
    monkeypatch.setattr(type(STORE), "judgment_weights", lambda store, by: store.weight * 0 + 0.5)
    assert first_loss(model, STORE, Loss()).value == pytest.approx(sane.value)


def test_a_constant_model_learns_nothing_by_heart(model, monkeypatch) -> None:
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda batch: 0 * forward(batch))
    found = overfit(model, SMALL, FAST)
    assert (found.verdict, found.value) == ("fail", 0.5)
    assert overfit(model, SMALL, FAST, seconds=0.0).verdict == "undecided"


def test_the_shortest_are_chosen() -> None:
    assert few([9, 3, 5, 3], 3) == [1, 2, 3]
