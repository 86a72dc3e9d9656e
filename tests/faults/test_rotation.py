"""Which checkpoints are kept, whatever happens: the newest ones, and the best one that each of them names."""

import json
import shutil

import pytest

from bradley.common import disk
from bradley.errors import DiskError, DiskFullError

from . import harness, toy
from .results import record


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(toy.store, "write_model", toy.write_toy)
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def saved(run, steps, best, keep=2):
    """The checkpoints of a run with saves at `steps`, where those in `best` improve."""
    checkpoints = toy.Checkpoints(run / "checkpoints", keep=keep)
    for step in steps:
        toy.save_toy(checkpoints, toy.Toy(), step, {"figure": 1 / (step + 1)}, best=step in best)
        yield checkpoints, kept(run)


def kept(run):
    return [int(path.name[5:]) for path in sorted((run / "checkpoints").glob("step-*"))]


def test_the_best_and_the_newest_outlive_fifty_worse_ones(run):
    *earlier, (checkpoints, steps) = saved(run, range(51), {0, 1})
    for newest, (_, left) in enumerate([*earlier, (checkpoints, steps)]):
        assert left == sorted({min(newest, 1), max(0, newest - 1), newest})
    assert checkpoints.index == {"last": {"step": 50, "figure": 1 / 51}, "best": {"step": 1, "figure": 0.5}}
    assert json.loads((run / "checkpoints" / "index.json").read_text()) == checkpoints.index
    record("C12", "best at step 1, then 50 worse saves", "best and newest are never removed", "as expected")


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_of_each_that_is_kept_the_best_that_it_names_is_kept_too(run, keep):
    """Else a damaged newest one would leave an older one whose best is gone."""
    best = {0, 3, 4, 8}
    for _, steps in saved(run, range(12), best, keep):
        newest = range(max(0, max(steps) + 1 - keep), max(steps) + 1)
        named = {max(step for step in best if step <= at) for at in newest}
        assert set(steps) == {*newest, *named}


@pytest.mark.parametrize("name", ["NOTES.md", "mine/a.txt", "model.safetensors.bak"])
def test_what_somebody_put_into_an_old_checkpoint_is_kept(run, name):
    folder = run / "checkpoints"
    for each in saved(run, range(4), {0}, 1):
        checkpoints, steps = each
        if 1 in steps and not (folder / "step-000001" / name).exists() and max(steps) == 1:
            (folder / "step-000001" / name).parent.mkdir(exist_ok=True)
            (folder / "step-000001" / name).write_text("mine")
    assert (folder / ".bad-step-000001" / name).read_text() == "mine" and steps == [0, 3]
    assert checkpoints.newest().step == 3 and (folder / ".bad-step-000001" / name).read_text() == "mine"
    assert not (folder / "step-000002").exists() and not (folder / ".bad-step-000002").exists()


def test_the_first_one_is_the_best_so_far_whatever_it_is_called(run):
    for checkpoints, _ in saved(run, (0, 1), set()):
        assert checkpoints.index["best"]["step"] == 0


def test_a_moved_run_folder_goes_on(run, tmp_path, wanted):
    harness.run_toy_until(run, 6)
    shutil.move(run, tmp_path / "moved")
    again = harness.run_toy(tmp_path / "moved")
    assert again.of("began") == [6] and harness.bytes_of(tmp_path / "moved") == wanted
    text = "".join(path.read_text() for path in (tmp_path / "moved").rglob("*.json"))
    assert str(tmp_path) not in text
    record("C12", "the run folder is moved", "goes on: pointers are step numbers", "as expected")


def test_a_step_that_is_saved_again_is_replaced_whole(run):
    *_, (checkpoints, _) = saved(run, (0, 1, 1), {0})
    assert kept(run) == [0, 1] and checkpoints.newest().step == 1
    assert [path.name for path in run.rglob(".*")] == []


def test_a_rotation_that_was_cut_short_is_ended_by_the_next_start(run):
    *_, (checkpoints, _) = saved(run, range(6), {0}, keep=9)
    assert kept(run) == [0, 1, 2, 3, 4, 5]
    again = toy.Checkpoints(run / "checkpoints", keep=2)
    assert again.newest().step == 5 and kept(run) == [0, 4, 5] and again.index == checkpoints.index


def test_more_than_a_million_steps_are_in_order(run):
    *_, (_, steps) = saved(run, (999_998, 999_999, 1_000_000), {999_998})
    assert sorted(steps) == [999_998, 999_999, 1_000_000]
    assert toy.Checkpoints(run / "checkpoints").newest().step == 1_000_000


def test_what_is_published_is_the_best_model_without_the_state_of_training(run):
    checkpoints = toy.Checkpoints(run / "checkpoints")
    first = toy.Toy()
    first.weights += 1
    toy.save_toy(checkpoints, first, 0, {}, best=True)
    toy.save_toy(checkpoints, toy.Toy(), 1, {}, best=False)
    checkpoints.publish(run / "model")
    assert sorted(path.name for path in (run / "model").rglob("*")) == ["bradley.json", "model.safetensors"]
    assert (run / "model" / "model.safetensors").read_bytes() == first.weights.tobytes()


def test_a_checkpoint_that_was_moved_and_linked_loses_the_link_alone(run, tmp_path):
    """As by a person who needs room on the disk of the run."""
    before = [checkpoints for checkpoints, _ in saved(run, (0, 1), {1})][-1]
    shutil.move(run / "checkpoints" / "step-000000", tmp_path / "far")
    (run / "checkpoints" / "step-000000").symlink_to(tmp_path / "far")
    far = harness.bytes_of(tmp_path / "far")
    for step in (2, 3):
        toy.save_toy(before, toy.Toy(), step, {}, best=False)
    assert kept(run) == [1, 2, 3] and harness.bytes_of(tmp_path / "far") == far
    assert [path.name for path in (run / "checkpoints").glob(".*")] == []


def test_a_model_that_was_moved_and_linked_is_published_in_the_place_of_the_link(run, tmp_path):
    checkpoints = [checkpoints for checkpoints, _ in saved(run, (0, 1), {0})][-1]
    checkpoints.publish(run / "model")
    shutil.move(run / "model", tmp_path / "far")
    (run / "model").symlink_to(tmp_path / "far")
    far = harness.bytes_of(tmp_path / "far")
    checkpoints.publish(run / "model")
    assert not (run / "model").is_symlink() and harness.bytes_of(run / "model") == far
    assert harness.bytes_of(tmp_path / "far") == far and [path.name for path in run.glob(".*")] == []


def test_a_folder_of_somebody_else_among_the_checkpoints_is_not_rotated(run):
    mine = run / "checkpoints" / "step-000001"
    for _ in saved(run, (0, 2, 3, 4, 5), {0}):
        if not mine.exists():
            mine.mkdir()
            (mine / "thesis.txt").write_text("mine")
    assert kept(run) == [0, 1, 4, 5] and (mine / "thesis.txt").read_text() == "mine"


def test_a_disk_out_of_inodes_is_said_of_a_checkpoint_too(run, monkeypatch):
    checkpoints = [checkpoints for checkpoints, _ in saved(run, (0,), {0})][-1]
    monkeypatch.setattr(toy.store, "out_of_inodes", lambda folder: True)
    with pytest.raises(DiskFullError, match="no inode is free") as caught:
        checkpoints.refuse_size(7)
    assert "bytes" not in caught.value.message and "remove files" in caught.value.hint


@pytest.mark.parametrize("name", ["optimizer.safetensors", "model.safetensors", "bradley.json", "manifest.json"])
def test_an_error_of_the_disk_names_the_checkpoint_and_not_its_draft(run, monkeypatch, name):
    create = disk.create

    def failing(path):
        if name in path.name:
            raise OSError(5, "Input/output error")
        return create(path)

    monkeypatch.setattr(disk, "create", failing)
    with pytest.raises(DiskError, match="checkpoints/step-000000") as caught:
        toy.save_toy(toy.Checkpoints(run / "checkpoints"), toy.Toy(), 0, {}, best=True)
    assert ".tmp-" not in caught.value.message and "Input/output error" in caught.value.message
