"""What a checkpoint keeps beside the model comes back bit for bit, whatever the optimizer."""

import json

import pytest
import torch

from bradley.errors import CheckpointError
from bradley.training.loop import fit
from bradley.training.metrics import StepSums
from bradley.training.optim import make_optimizer
from bradley.training.parallel.group import Group
from bradley.training.parallel.whole import gather_optimizer, spread_optimizer
from bradley.training.progress import Place, Progress
from bradley.training.state import FOLDER, read_saved, save_state
from tests.training.jobs import config, job

OPTIMIZERS = ["AdamW", "SGD", "RAdam", "NAdam", "Adafactor", "Adagrad", "RMSprop"]
OPTIONS = {"SGD": {"momentum": 0.9}, "AdamW": {"amsgrad": True}}


def settings(name, **more):
    return config(optim={"lr": 1e-3, "name": name, "options": OPTIONS.get(name, {})}, **more)


def same(a, b):
    """Equal in every bit, dtype and shape."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return a == b


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_comes_back_whole_and_goes_on_alike(tmp_path, name):
    made = job(tmp_path / "a", settings(name, train={"max_steps": 3}))
    fit(made)
    folder = tmp_path / "checkpoint" / FOLDER
    folder.mkdir(parents=True)
    save_state(folder, gather_optimizer(made.model, made.optimizer, Group()), Progress(), made.evaluator)
    other = job(tmp_path / "b", settings(name, train={"max_steps": 3}))
    other.model.load_state_dict(made.model.state_dict())
    saved = read_saved(tmp_path / "checkpoint")
    spread_optimizer(other.model, other.optimizer, saved.optimizer, Group())
    states = [gather_optimizer(one.model, one.optimizer, Group()) for one in (made, other)]
    assert states[0]["state"].keys() == states[1]["state"].keys() != set()
    for weight, entry in states[0]["state"].items():
        assert entry.keys() == states[1]["state"][weight].keys()
        assert all(same(value, states[1]["state"][weight][key]) for key, value in entry.items()), weight
    for one in (made, other):
        torch.manual_seed(0)
        for group in one.optimizer.param_groups:
            group["lr"] = 1e-3
        for weight in one.model.parameters():
            weight.grad = torch.randn(weight.shape)
        one.optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), other.model.parameters(), strict=True))


def test_an_optimizer_over_other_weights_is_refused(tmp_path):
    made, other = job(tmp_path / "a"), job(tmp_path / "b")
    saved = gather_optimizer(made.model, made.optimizer, Group())
    for weight in list(other.model.parameters())[:1]:
        weight.requires_grad_(False)
    with pytest.raises(CheckpointError, match="over other weights"):
        spread_optimizer(other.model, make_optimizer(other.model, other.config.optim), saved, Group())


def test_progress_comes_back_with_every_number_exact():
    sums = StepSums()
    sums.sums, sums.units, sums.totals = {"nll": 0.1 + 0.2}, {"nll": "judgment_weight"}, {"judgment_weight": 1 / 3}
    progress = Progress(place=Place(7, 56, 7 / 3, 56), evaluated=True, writers={"metrics": 12}, seconds=1e-3)
    progress.window.append(sums)
    again = Progress.from_json(json.loads(json.dumps(progress.to_json())))
    assert again.place == progress.place and again.writers == {"metrics": 12} and again.evaluated and again.begun
    assert [vars(one) for one in again.window] == [vars(sums)]
    assert again.window[0].mean("nll") == sums.mean("nll")


def test_a_checkpoint_without_a_state_cannot_be_gone_on_from(tmp_path):
    with pytest.raises(CheckpointError, match="is no state of a run"):
        read_saved(tmp_path)
