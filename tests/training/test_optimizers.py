"""Optimizers by name: what each class is given, what it refuses, and that each of them trains."""

import inspect
import sys

import numpy as np
import pytest
import torch

from bradley.config import Optim
from bradley.errors import UserError
from bradley.model.engine.batch import collate
from bradley.training.optim import make_optimizer, optimizer_arguments, optimizer_class, set_rates
from tests.helpers import LLAMA, comparisons, store_for, tiny_model, tokenizer_for

ROWS = comparisons(4)
TOKENIZER = tokenizer_for(ROWS)
STORE = store_for(ROWS, TOKENIZER)
BATCH = collate(STORE, np.arange(len(ROWS)), STORE.judgment_weights("pair"))
NAMES = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]


def model():
    return tiny_model(LLAMA, TOKENIZER)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_of_torch_trains(name):
    network = model()
    optimizer = make_optimizer(network, Optim(name=name, lr=1e-3))
    assert type(optimizer) is getattr(torch.optim, name)
    before = {weight: p.detach().clone() for weight, p in network.named_parameters()}
    for step in range(1, 4):
        network(BATCH).square().sum().backward()
        set_rates(optimizer, step, 3, Optim(name=name, lr=1e-3, schedule="constant", warmup=0))
        optimizer.step()
        optimizer.zero_grad()
    assert all(not torch.equal(before[weight], p) for weight, p in network.named_parameters())


ADAMW = {"weight_decay": 0.5, "eps": 1e-3}
SGD = {"name": "SGD", "options": {"momentum": 0.9}}


@pytest.mark.parametrize("settings", [ADAMW, SGD])
def test_the_first_step_by_hand(settings):
    """AdamW shrinks a weight by lr times decay, then moves it by lr g / (|g| + eps); SGD moves it by lr g."""
    network, chosen = model(), Optim(lr=0.01, schedule="constant", warmup=0, **settings)
    optimizer = make_optimizer(network, chosen)
    network(BATCH).sum().backward()
    weight = network.network.model.layers[0].mlp.up_proj.weight
    old, g = weight.detach().double(), weight.grad.double()
    set_rates(optimizer, 1, 3, chosen)
    optimizer.step()
    adamw = old * (1 - 0.01 * 0.5) - 0.01 * g / (g.abs() + 1e-3)
    by_hand = adamw if settings is ADAMW else old - 0.01 * g
    torch.testing.assert_close(weight.detach().double(), by_hand, rtol=1e-5, atol=1e-7)


def test_decay_is_decoupled_where_the_class_leaves_the_choice():
    """With a gradient of 0 a decoupled decay shrinks by lr times decay; added to the gradient, Adam would scale it."""
    for name in ("Adam", "NAdam", "RAdam", "AdamW"):
        network = model()
        optimizer = make_optimizer(network, Optim(name=name, lr=0.01, weight_decay=0.5))
        weight = network.network.model.layers[0].mlp.up_proj.weight
        weight.grad = torch.zeros_like(weight)
        old = weight.detach().clone()
        optimizer.step()
        torch.testing.assert_close(weight.detach(), old * (1 - 0.01 * 0.5), rtol=1e-6, atol=0)


def test_settings_reach_the_class_and_its_own_defaults_do_not_stand_in_for_them():
    settings = Optim(lr=2e-4, betas=(0.8, 0.95), eps=1e-6, options={"amsgrad": True})
    for group in make_optimizer(model(), settings).param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (2e-4, (0.8, 0.95), 1e-6)
        assert group["amsgrad"] and group["fused"] and group["weight_decay"] == 0  # the class's own is 0.01
    assert "fused" not in optimizer_arguments(torch.optim.RAdam, Optim(name="RAdam"))
    assert "fused" not in optimizer_arguments(torch.optim.Adam, Optim(name="Adam", options={"foreach": True}))
    assert optimizer_arguments(torch.optim.Adafactor, Optim(name="Adafactor")) == {}  # its eps is another thing
    pair = Optim(name="Adafactor", options={"eps": [1e-30, 1e-3]})
    assert make_optimizer(model(), pair).param_groups[0]["eps"] == [1e-30, 1e-3]


REFUSED = [
    ({"name": "adamw"}, r"optim\.name = adamw, wanted one of", "did you mean AdamW?"),
    ({"name": "Adamw8bit"}, "wanted one of", "did you mean AdamW8bit?"),
    ({"name": "RMSProp"}, "wanted one of", "did you mean RMSprop?"),
    ({"name": "Optimizer"}, "wanted one of", ""),
    ({"name": "lr_scheduler"}, "wanted one of", ""),
    ({"name": "LBFGS"}, "evaluates the loss several times", "AdamW"),
    ({"name": "SparseAdam"}, "sparse gradients", "AdamW"),
    ({"name": "SGD", "betas": (0.8, 0.9)}, r"optim\.betas = \(0\.8, 0\.9\): SGD has no such setting", "momentum"),
    ({"name": "SGD", "eps": 1e-6}, r"optim\.eps = 1e-06: SGD has no such", "momentum"),
    ({"name": "Adafactor", "eps": 1e-6}, r"optim\.eps = 1e-06: Adafactor", "beta2_decay"),
    ({"name": "Rprop", "weight_decay": 0.1}, r"optim\.weight_decay = 0\.1: Rprop has no such", "etas"),
    (
        {"name": "SGD", "options": {"momentun": 0.9}},
        r"optim\.options\.momentun: SGD takes no",
        "did you mean momentum?",
    ),
    ({"options": {"lr": 0.1}}, r"optim\.options\.lr: it has a setting", "optim.lr"),
    ({"options": {"params": []}}, r"optim\.options\.params: AdamW takes no", ""),
    ({"name": "SGD", "options": {"nesterov": True}}, "refuses the settings or the weights: Nesterov", "AdamW"),
    ({"options": {"differentiable": True}}, "refuses the settings or the weights: a leaf Variable", "AdamW"),
    (
        {"name": "SGD", "options": {"momentum": 0.9, "dampening": "x"}},
        "refuses the settings or the weights",
        "AdamW",
    ),
    ({"name": "Muon"}, "refuses the settings or the weights: Muon only supports 2D", "AdamW"),
]


@pytest.mark.parametrize(("settings", "message", "hint"), REFUSED)
def test_what_does_not_suit_is_refused_with_what_would(settings, message, hint):
    if settings.get("name") == "Muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    with pytest.raises(UserError, match=message) as caught:
        make_optimizer(model(), Optim(**settings))
    assert hint in caught.value.hint and caught.value.hint


def test_every_optimizer_of_this_torch_is_offered_or_refused_with_a_reason():
    classes = {n for n, v in vars(torch.optim).items() if inspect.isclass(v) and issubclass(v, torch.optim.Optimizer)}
    for name in classes - {"Optimizer", "LBFGS", "SparseAdam"}:
        assert optimizer_class(name) is getattr(torch.optim, name)


def test_eight_bits_without_the_package_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match="needs bitsandbytes") as caught:
        make_optimizer(model(), Optim(name="AdamW8bit"))
    assert caught.value.hint == 'install it with `pip install "bradley[8bit]"`'


def test_eight_bits_step_close_to_full_precision_in_a_quarter_of_the_memory():
    pytest.importorskip("bitsandbytes")
    wide = {**LLAMA, "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1}
    moved = {}
    for name in ("AdamW", "AdamW8bit"):
        network = tiny_model(wide, TOKENIZER)
        settings = Optim(name=name, lr=1e-3, schedule="constant", warmup=0)
        optimizer = make_optimizer(network, settings)
        weight = network.network.model.layers[0].mlp.up_proj.weight
        before = weight.detach().clone()
        for step in range(1, 4):
            network(BATCH).square().sum().backward()
            set_rates(optimizer, step, 3, settings)
            optimizer.step()
            optimizer.zero_grad()
        moved[name] = (weight.detach() - before).flatten()
    state = optimizer.state[weight]
    assert state["state1"].dtype == state["state2"].dtype == torch.uint8
    assert float(torch.cosine_similarity(moved["AdamW"], moved["AdamW8bit"], dim=0)) > 0.95
