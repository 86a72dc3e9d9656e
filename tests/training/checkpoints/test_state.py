"""What a checkpoint keeps beside the model comes back bit for bit, whatever the optimizer."""

import json

import pytest
import torch
from safetensors.torch import save_file

from bradley.errors import CheckpointError
from bradley.runs.layout import STATE as FOLDER
from bradley.training.checkpoints.state import STATE_FILE, read_saved, save_state
from bradley.training.distributed.full_tensors import load_optimizer, optimizer_state
from bradley.training.distributed.sharded_files import SHARDS
from bradley.training.loop import fit
from bradley.training.metrics import StepSums
from bradley.training.optim import make_optimizer
from bradley.training.progress import Position, Progress
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
    values, tensors = optimizer_state(made.model, made.optimizer)
    optimizer = {**values, **made.strategy.save_optimizer(folder, tensors)}
    save_state(folder, Progress().to_json(), made.evaluator.state(), optimizer, made.evaluator.folder)
    other = job(tmp_path / "b", settings(name, train={"max_steps": 3}))
    other.model.load_state_dict(made.model.state_dict())
    saved = read_saved(tmp_path / "checkpoint")
    load_optimizer(
        other.model, other.optimizer, saved.optimizer, lambda found: other.strategy.load_optimizer(folder, found)
    )
    assert tensors.keys() == saved.optimizer["tensors"].keys() != set()
    again, found = optimizer_state(other.model, other.optimizer)
    assert again == values and found.keys() == tensors.keys()
    assert all(same(tensor, found[place]) for place, tensor in tensors.items())
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
    saved = {**optimizer_state(made.model, made.optimizer)[0], "tensors": {}}
    for weight in list(other.model.parameters())[:1]:
        weight.requires_grad_(False)
    with pytest.raises(CheckpointError, match="over other weights"):
        load_optimizer(other.model, make_optimizer(other.model, other.config.optim), saved, dict)


def test_a_state_of_a_weight_that_there_is_not_is_refused(tmp_path):
    made = job(tmp_path / "a")
    saved = optimizer_state(made.model, made.optimizer)[0]
    for more in ({"tensors": {"no.weight/exp_avg": {"shape": [1], "dtype": "float32"}}}, {"state": {"no.weight": {}}}):
        with pytest.raises(CheckpointError, match="over other weights"):
            load_optimizer(made.model, made.optimizer, {"tensors": {}, **saved, **more}, dict)


def test_progress_comes_back_with_every_number_exact():
    sums = StepSums()
    sums.sums, sums.units, sums.totals = {"nll": 0.1 + 0.2}, {"nll": "judgment_weight"}, {"judgment_weight": 1 / 3}
    progress = Progress(position=Position(7, 56, 7 / 3, 56), evaluated=True, writers={"metrics": 12}, seconds=1e-3)
    progress.window.append(sums)
    again = Progress.from_json(json.loads(json.dumps(progress.to_json())))
    assert again.position == progress.position and again.writers == {"metrics": 12} and again.evaluated and again.begun
    assert [vars(one) for one in again.window] == [vars(sums)]
    assert again.window[0].mean("nll") == sums.mean("nll")


def test_a_state_that_says_other_shards_than_there_are_is_refused(tmp_path):
    made = job(tmp_path / "a")
    folder = tmp_path / "checkpoint" / FOLDER
    folder.mkdir(parents=True)
    values, tensors = optimizer_state(made.model, made.optimizer)
    optimizer = {**values, **made.strategy.save_optimizer(folder, tensors)}
    save_state(folder, Progress().to_json(), made.evaluator.state(), optimizer, made.evaluator.folder)
    state = json.loads((folder / STATE_FILE).read_text())
    (folder / SHARDS).mkdir()
    save_file({"w/step": torch.zeros(2)}, folder / SHARDS / "shard.safetensors")
    for form, fits in (({"shape": [2], "dtype": "float32"}, True), ({"shape": [3], "dtype": "float32"}, False)):
        state["optimizer"]["shards"] = {"w/step": form}
        (folder / STATE_FILE).write_text(json.dumps(state))
        if fits:
            assert read_saved(tmp_path / "checkpoint").optimizer["tensors"] == {"w/step": form}
        else:
            with pytest.raises(CheckpointError, match="other tensors than"):
                read_saved(tmp_path / "checkpoint")


def test_a_checkpoint_without_a_state_cannot_be_gone_on_from(tmp_path):
    with pytest.raises(CheckpointError, match=r"state\.json cannot be read"):
        read_saved(tmp_path)
