"""A checkpoint of the real run of which a file is not what was written: it is named, set aside, and done again."""

import hashlib
import random
import shutil

import pytest

from tests.training.interrupted import fingerprint

from . import harness, real, seam
from .damage import KINDS, damage
from .results import record

NEWEST, BEFORE = "checkpoints/step-000004", "checkpoints/step-000003"
ASIDE = "checkpoints/.bad-step-000004"


@pytest.fixture(scope="module")
def wanted():
    return real.reference()


@pytest.fixture(scope="module")
def stopped(wanted):
    """A run that was killed as soon as the save of step 4 had returned."""
    with harness.new_run() as run:
        run.rmdir()
        real.train(run, lambda: die_after(4))
        assert (run / NEWEST).is_dir() and (run / BEFORE).is_dir()
        yield run


def die_after(step):
    save = real.saver.save_checkpoint

    def saved(job, taken):
        save(job, taken)
        if taken.step == step:
            seam.die()

    real.saver.save_checkpoint = saved


def cases(stopped):
    """Every file of the newest checkpoint with every kind of damage; where the older copy is the same, not a swap."""
    names = [path.relative_to(stopped / NEWEST) for path in sorted((stopped / NEWEST).rglob("*")) if path.is_file()]
    same = [name for name in names if (stopped / NEWEST / name).read_bytes() == (stopped / BEFORE / name).read_bytes()]
    return [(name, kind) for name in names for kind in KINDS if (kind, name in same) != ("swap", True)]


def missed(run, name, kind, rng):
    """Damage a file, let the run go on, and give what it did not do of what it has to."""
    before = hashlib.sha256((run / NEWEST / name).read_bytes()).hexdigest()
    damage(run / NEWEST / name, kind, run / BEFORE / name, rng)
    again = real.train(run)
    said = " ".join(again.of("said"))
    told = [f"{NEWEST}/{name}", ".bad-step-000004", *([] if str(name) == "manifest.json" else [before])]
    kept = {"began": again.of("began") == [3], "aside": (run / ASIDE).is_dir()}
    return again, [word for word in told if word not in said] + [fact for fact, held in kept.items() if not held]


@pytest.mark.parametrize("count", [6, pytest.param(0, marks=pytest.mark.nightly, id="all")])
def test_damage_of_any_file_of_a_real_checkpoint_is_named_and_survived(count, stopped, wanted):
    rng, tally, silent, chosen = random.Random(5), harness.Tally(), [], cases(stopped)
    assert {"model.safetensors", "bradley.json", "config.json", "tokenizer.json"} <= {str(name) for name, _ in chosen}
    for name, kind in rng.sample(chosen, count or len(chosen)):
        with harness.new_run() as run:
            shutil.copytree(stopped, run, dirs_exist_ok=True)
            again, omitted = missed(run, name, kind, rng)
            shutil.rmtree(run / ASIDE, ignore_errors=True)
            tally.judge(f"{kind} {name}", harness.Ended(0, [["saved", 3]]), again, fingerprint(run), wanted)
            silent += [f"{kind} {name}: {omitted}"] if omitted else []
    record(
        "C10", "flip, truncate, zero, delete or swap each file of a real checkpoint",
        "named, set aside, the one before is used, same bytes in the end", f"{tally}, {len(silent)} not said",
    )  # fmt: skip
    assert not tally.bad and not silent, (tally, silent)
