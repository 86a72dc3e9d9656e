"""A checkpoint of which any byte is not what was written is never used: an older one is, or the run is refused."""

import hashlib
import json
import os
import random
import shutil

import pytest

from . import harness, mutants, seam, toy
from .damage import KINDS, damage
from .results import record

NEWEST, BEFORE = "checkpoints/step-000009", "checkpoints/step-000006"
FILES = ("model.safetensors", "bradley.json", "manifest.json", "training/optimizer.safetensors", "training/state.json")


@pytest.fixture(scope="module")
def stopped():
    """A run that was killed after the checkpoint of step 9; those of steps 6 and 3, the best one, are there too."""
    with harness.new_run() as run:
        harness.run_toy_until(run, 9)
        (run / ".lock").unlink()
        yield run


def copied(stopped, run):
    shutil.copytree(stopped, run, dirs_exist_ok=True)


def trials(count, stopped, wanted, mutant=harness.nothing):
    tally, rng, silent = harness.Tally(), random.Random(3), []
    for number in range(count):
        kind, name = KINDS[number % len(KINDS)], FILES[number // len(KINDS) % len(FILES)]
        with harness.new_run() as run:
            copied(stopped, run)
            before = hashlib.sha256((run / NEWEST / name).read_bytes()).hexdigest()
            damage(run / NEWEST / name, kind, run / BEFORE / name, rng)
            after = (run / NEWEST / name).read_bytes() if kind != "delete" else b""
            again = harness.run_toy(run, mutant)
            tally.judge(f"{kind} {name}", harness.Ended(0, [["saved", 6]]), again, harness.bytes_of(run), wanted)
            said = " ".join(again.of("said"))
            told = [NEWEST + "/" + name, ".bad-step-000009"]
            if name != "manifest.json":
                told += [before, "no such file" if kind == "delete" else hashlib.sha256(after).hexdigest()]
            aside = (run / "checkpoints" / ".bad-step-000009").is_dir()
            if not aside or again.of("began") != [6] or not all(word in said for word in told):
                silent.append(f"{kind} {name}: {said}")
    return tally, silent


def test_damage_of_any_file_of_the_newest_checkpoint_is_named_and_survived(stopped, wanted):
    tally, silent = trials(75, stopped, wanted)
    assert not tally.bad and not silent, (tally, silent)


@pytest.mark.nightly
def test_a_thousand_damages(stopped, wanted):
    tally, silent = trials(1000, stopped, wanted)
    expected = "named with both hashes, set aside, the one before is used, same bytes in the end"
    record("C10", "flip, truncate, zero, delete or swap a file", expected, f"{tally}, {len(silent)} not said")
    survived = tally.trials - len({*tally.stuck, *tally.different, *silent})
    record(
        "G3", "damage of any file of the newest checkpoint is named and survived", "1000 of 1000", f"{survived} of 1000"
    )
    assert not tally.bad and not silent, (tally, silent)


def test_a_program_that_believes_its_files_is_found(stopped, wanted):
    tally, silent = trials(15, stopped, wanted, mutants.no_hashes)
    record("C10", "mutant: no hashes", "is found by damage", f"{tally}, {len(silent)} not said")
    assert tally.bad and len(silent) == 15


@pytest.mark.parametrize("name", ["training/optimizer.safetensors", "training/state.json", "manifest.json"])
def test_a_missing_state_is_damage_and_never_a_fresh_optimizer(name, stopped, wanted):
    with harness.new_run() as run:
        copied(stopped, run)
        (run / NEWEST / name).unlink()
        again = harness.run_toy(run)
        assert again.of("began") == [6] and name in again.of("said")[0] and harness.bytes_of(run) == wanted
    record("C11", f"{name} deleted", "as damage: the one before is used", "as expected")


def test_a_file_that_is_not_of_the_checkpoint_is_damage(stopped, wanted):
    with harness.new_run() as run:
        copied(stopped, run)
        (run / NEWEST / "adapter_config.json").write_text("{}")
        again = harness.run_toy(run)
        assert again.of("began") == [6] and "adapter_config.json" in again.of("said")[0]


def test_a_link_in_a_checkpoint_is_damage(stopped, tmp_path):
    with harness.new_run() as run:
        copied(stopped, run)
        weights = run / NEWEST / "model.safetensors"
        shutil.move(weights, tmp_path / "elsewhere")
        weights.symlink_to(tmp_path / "elsewhere")
        again = harness.run_toy(run)
        assert again.of("began") == [6] and "is a link" in again.of("said")[0]


def test_a_copy_under_another_number_is_damage(stopped):
    with harness.new_run() as run:
        copied(stopped, run)
        shutil.copytree(run / BEFORE, run / "checkpoints" / "step-000100")
        again = harness.run_toy(run)
        assert again.of("began") == [9] and "expected step 100, found 6" in again.of("said")[0]


def test_where_no_checkpoint_is_whole_nothing_starts_from_zero(stopped):
    with harness.new_run() as run:
        copied(stopped, run)
        for step in (3, 6, 9):
            damage(run / "checkpoints" / f"step-{step:06d}" / "model.safetensors", "flip", None, random.Random(step))
        metrics = (run / "metrics.jsonl").read_bytes()
        for _ in range(2):
            refused = harness.run_toy(run)
            assert refused.code == 4 and refused.of("began") == [] and "no checkpoint" in refused.of("error")[0]
        assert (run / "metrics.jsonl").read_bytes() == metrics
        names = {path.name for path in (run / "checkpoints").iterdir()}
        assert names == {"index.json", ".bad-step-000003", ".bad-step-000006", ".bad-step-000009"}
    record("C10", "every checkpoint damaged", "exit 4, no silent start from zero", "as expected")


def test_checkpoints_that_are_gone_are_no_fresh_start(stopped):
    with harness.new_run() as run:
        copied(stopped, run)
        for path in (run / "checkpoints").glob("step-*"):
            shutil.rmtree(path)
        assert harness.run_toy(run).code == 4


def test_a_damaged_best_is_said_and_costs_no_other_checkpoint(stopped):
    with harness.new_run() as run:
        copied(stopped, run)
        damage(run / "checkpoints/step-000003/model.safetensors", "flip", None, random.Random(0))
        for _ in range(2):
            refused = harness.run_toy(run)
            assert refused.code == 4 and "step-000009 is whole, and the best" in refused.of("error")[0]
            assert "step-000003" in refused.of("error")[0]
        assert (run / NEWEST).is_dir() and (run / BEFORE).is_dir()


def test_a_damaged_best_is_made_again_where_an_older_checkpoint_is_kept(wanted):
    """With three kept, the one before the best is there: the steps since then are computed again, the best too."""
    with harness.new_run() as run:
        harness.run_toy_until(run, 6, keep=3)
        assert sorted(path.name for path in (run / "checkpoints").glob("step-*"))[0] == "step-000000"
        damage(run / "checkpoints/step-000003/model.safetensors", "flip", None, random.Random(0))
        again = harness.run_toy(run)
        assert again.of("began") == [0] and harness.bytes_of(run) == wanted
        assert [f"step {step} is not used" in " ".join(again.of("said")) for step in (0, 3, 6)] == [False, True, True]


def test_a_manifest_of_a_later_format_is_refused_and_left_alone(stopped):
    from bradley.runs.manifest import _signed

    with harness.new_run() as run:
        copied(stopped, run)
        path = run / NEWEST / "manifest.json"
        content = json.loads(path.read_text())
        del content["sha256"]
        path.write_text(_signed({**content, "format": 2}))
        refused = harness.run_toy(run)
        assert refused.code == 4 and "has the format 2" in refused.of("error")[0]
        assert (run / NEWEST).is_dir()


def test_a_huge_manifest_is_not_read(stopped):
    with harness.new_run() as run:
        copied(stopped, run)
        os.truncate(run / NEWEST / "manifest.json", 2**31)
        again = harness.run_toy(run)
        assert again.of("began") == [6] and "more than" in again.of("said")[0]


def test_a_lost_index_is_made_again_from_the_manifests(stopped):
    with harness.new_run() as run:
        copied(stopped, run)
        before = json.loads((run / "checkpoints/index.json").read_text())
        for content in (None, "{torn", '{"last": {"step": 3}, "best": {"step": 3}}'):
            (run / "checkpoints/index.json").unlink()
            if content is not None:
                (run / "checkpoints/index.json").write_text(content)
            toy.Checkpoints(run / "checkpoints").newest()
            assert json.loads((run / "checkpoints/index.json").read_text()) == before


def test_times_of_files_mean_nothing(stopped, wanted):
    with harness.new_run() as run:
        copied(stopped, run)
        for age, path in enumerate(sorted((run / "checkpoints").glob("step-*"))):
            for each in (*path.rglob("*"), path):
                os.utime(each, (1e9 - 3600 * age, 1e9 - 3600 * age))
        again = harness.run_toy(run)
        assert again.of("began") == [9] and harness.bytes_of(run) == wanted
    record("C14", "times of files reversed, an hour back", "the order is that of the steps", "as expected")


def test_the_best_checkpoint_is_verified_before_it_is_published(stopped):
    def publish(tell):
        toy.store.write_model = toy.write_toy
        checkpoints = toy.Checkpoints(run / "checkpoints")
        checkpoints.newest()
        damage(run / "checkpoints/step-000003/model.safetensors", "flip", None, random.Random(0))
        checkpoints.publish(run / "model")

    with harness.new_run() as run:
        copied(stopped, run)
        assert harness.forked(publish).code == 4 and not (run / "model").exists()


def test_a_killed_copy_is_no_checkpoint(wanted):
    """What stands under a temporary name is never taken, even where it is whole."""
    with harness.new_run() as run:
        harness.run_toy(run, lambda: seam.die_at(20))
        assert not list((run / "checkpoints").glob("step-*")) and list((run / "checkpoints").glob(".tmp-step-*"))
        assert toy.Checkpoints(run / "checkpoints").newest() is None
