"""A run that is killed or loses power at any call that changes the disk goes on by itself, and to the same bytes."""

import json
import random
import signal
import time

import pytest

from . import harness, seam, toy
from .mutants import CUT_OFF, KILLED, no_recovery
from .results import record

EVERY = {"kill": 6, "kept": 6, "lost": 6, "mixed": 11}
"""One in so many calls is tried here; all of them under the marker `nightly`."""
FAULTS = {
    "kill": ("C1", "toy: kill -9 at every call of save, rotation, metrics and publication"),
    "kept": ("C2", "toy: power cut at every call; content that was not synced is lost, names are kept"),
    "lost": ("C2", "toy: power cut at every call; content and names that were not synced are lost"),
    "mixed": ("C2", "toy: power cut at every call; each folder keeps or loses its names by chance"),
}


SHOWS = {
    name: {"no fsync": ("kept", "lost"), "no fsync of folders": ("lost",), "metrics synced late": ("kept", "lost")}.get(
        name, ("kept",)
    )
    for name in CUT_OFF
}
"""The kinds of power cut that show each wrong program."""


def offset(mode):
    """Each mode begins at another call, so that together they try more of them."""
    return harness.MODES.index(mode)


def sample(mode, calls):
    """Some calls of a run; a kill is tried at the first call of each kind, too."""
    firsts = {calls.index(kind) for kind in set(calls)} if mode == "kill" else set()
    return sorted({*range(offset(mode), len(calls), EVERY[mode]), *firsts})


@pytest.mark.parametrize("mode", harness.MODES)
def test_a_run_goes_on_after_an_end_at_a_sample_of_calls(mode, wanted, calls):
    tally = harness.sweep(sample(mode, calls), mode, wanted)
    assert tally.trials > 20 and not tally.bad, tally


@pytest.mark.nightly
@pytest.mark.parametrize("mode", harness.MODES)
def test_a_run_goes_on_after_an_end_at_every_call(mode, wanted, calls):
    tally = harness.sweep(range(len(calls)), mode, wanted)
    record(*FAULTS[mode], "goes on by itself, same bytes, no saved step lost", tally)
    name = "kill -9" if mode == "kill" else f"power cut, names {mode}"
    record("G2", f"every crash point of the toy: {name}", "0 stuck, 0 different, 0 lost of 90 or more", tally)
    assert not tally.bad, tally


def test_the_samples_have_every_kind_of_call(calls):
    tried = {calls[at] for mode in harness.MODES for at in sample(mode, calls)}
    assert tried == set(calls) and {"create", "write", "sync", "rename", "unlink", "rmdir", "mkdir", "link"} <= tried
    assert len(calls) >= 90


def shown(mutant, mode, wanted, enough):
    """What a bench of one mode says of a wrong program, which does no wrong where nothing ends it."""
    count = len(harness.calls_of_a_run(mutant))
    assert not harness.sweep([count], mode, wanted, mutant).bad
    points = list(range(offset(mode), count, EVERY[mode]))
    random.Random(0).shuffle(points)
    return harness.sweep(points, mode, wanted, mutant, enough)


ENOUGH = [1, pytest.param(10**9, marks=pytest.mark.nightly, id="all")]
"""One trial that shows a wrong program is enough here; under `nightly` all that do are counted."""


@pytest.mark.parametrize("enough", ENOUGH)
@pytest.mark.parametrize("name", KILLED)
def test_a_kill_shows_a_wrong_program(name, enough, wanted):
    tally = shown(KILLED[name], "kill", wanted, enough)
    record("C1", f"mutant: {name}", "is found by kill -9", tally)
    assert tally.bad, tally


@pytest.mark.parametrize("enough", ENOUGH)
@pytest.mark.parametrize("name", CUT_OFF)
def test_a_power_cut_shows_a_wrong_program(name, enough, wanted):
    tallies = {mode: shown(CUT_OFF[name], mode, wanted, enough) for mode in SHOWS[name]}
    record("C2", f"mutant: {name}", "is found by a power cut", "; ".join(f"{k}: {v}" for k, v in tallies.items()))
    assert all(tally.bad for tally in tallies.values()), tallies


def stamps(run):
    """Time and inode of every file."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in run.rglob("*") if path.is_file()}


def test_a_second_run_of_a_finished_one_changes_nothing(wanted):
    with harness.new_run() as run:
        harness.run_toy(run)
        before = stamps(run)
        again = harness.run_toy(run)
        assert again.code == 0 and again.of("began") == [toy.STEPS]
        assert stamps(run) == before and harness.bytes_of(run) == wanted


def test_nothing_half_done_is_left_after_a_crash_and_a_resume(wanted, calls):
    with harness.new_run() as run:
        harness.run_toy(run, lambda: seam.die_at(len(calls) // 2))
        assert list(run.rglob(".tmp-*"))
        assert harness.run_toy(run).code == 0
        assert not [path for path in run.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("mode", ["kill", "kept", "lost"])
def test_a_run_goes_on_after_a_crash_of_the_run_that_went_on(mode, wanted, calls):
    tally = harness.Tally()
    rng = random.Random(0)
    for point in range(20, len(calls), 23):
        with harness.new_run() as run:
            first = harness.run_toy(run, lambda run=run, point=point: harness.end_at(run, point, mode))
            middle = harness.run_toy(run, lambda run=run: harness.end_at(run, rng.randrange(30), mode))
            saved = first.of("saved") + middle.of("saved")
            last = harness.run_toy(run)
            tally.judge(
                f"{mode} at call {point}", harness.Ended(0, [["saved", step] for step in saved]), last,
                harness.bytes_of(run), wanted,
            )  # fmt: skip
    assert tally.trials >= 8 and not tally.bad, tally


def test_a_run_that_ends_at_the_same_place_every_time_is_not_started_for_ever():
    with harness.new_run() as run:
        for _ in range(5):
            assert harness.run_toy(run, lambda: seam.die_at(30)).code == -signal.SIGKILL
        before = harness.bytes_of(run)
        refused = harness.run_toy(run)
        assert refused.code == 4 and "crash loop" in refused.of("error")[0] and refused.of("began") == []
        assert harness.bytes_of(run) == before
        (run / "attempts.json").unlink()
        assert harness.run_toy(run).code == 0
        record("C4", "five starts in a row end at the same step", "exit 4, crash loop; nothing changed", "as expected")


def test_progress_between_crashes_is_no_loop(wanted, calls):
    with harness.new_run() as run:
        ends = []
        while not ends or ends[-1].code != 0:
            ends.append(harness.run_toy(run, lambda: seam.die_at(80)))
            assert len(ends) < 20
        assert harness.bytes_of(run) == wanted and len(ends) > 3


def timed_trials(count, wanted):
    """End runs at random times, wherever they are."""
    tally, rng = harness.Tally(), random.Random(1)
    with harness.new_run() as run:
        began = time.perf_counter()
        harness.run_toy(run)
        whole = time.perf_counter() - began
    for number in range(count):
        with harness.new_run() as run:
            seconds = rng.uniform(1e-4, whole)
            first = harness.run_toy(run, lambda seconds=seconds: harness.die_in(seconds))
            tally.judge(f"trial {number}", first, harness.run_toy(run), harness.bytes_of(run), wanted)
    return tally


def test_a_run_goes_on_after_a_kill_at_random_times(wanted):
    tally = timed_trials(10, wanted)
    assert not tally.bad, tally


@pytest.mark.nightly
def test_a_run_goes_on_after_200_kills_at_random_times(wanted):
    tally = timed_trials(200, wanted)
    record("C3", "toy: kill -9 at 200 random times", "goes on by itself, same bytes, no saved step lost", tally)
    assert not tally.bad, tally


def test_a_folder_that_is_being_replaced_is_never_missing(wanted):
    """A checkpoint that is saved again: at every call there is the old one or the new one."""
    tally = {"with recovery": 0, "without": 0}
    for name, mutant in (("with recovery", lambda: None), ("without", no_recovery)):
        for point in range(24, 40):
            with harness.new_run() as run:
                saved_twice(run, point, mutant, tally, name)
    assert tally["with recovery"] == 0 and tally["without"] > 0


def saved_twice(run, point, mutant, tally, name):
    def twice(tell):
        mutant()
        toy.store.write_model = toy.write_toy
        checkpoints = toy.Checkpoints(run / "checkpoints")
        (run / "metrics.jsonl").touch()
        metrics = toy.JsonLines(run / "metrics.jsonl", keep=0)
        toy.save(checkpoints, toy.Toy(), 0, metrics)
        harness.end_at(run, point, "kill")
        toy.save(checkpoints, toy.Toy(), 0, metrics)

    def look(tell):
        mutant()
        tell("found", toy.Checkpoints(run / "checkpoints").newest().step)

    harness.forked(twice)
    tally[name] += harness.forked(look).of("found") != [0]


def test_what_the_toy_writes_is_what_a_run_writes(wanted):
    """The subject of the trials is no straw man: it has every file of a checkpoint, and rotation has happened."""
    names = {name for name in wanted if name.startswith("checkpoints/")}
    steps = {name.split("/")[1] for name in names} - {"index.json"}
    assert steps == {"step-000003", "step-000009", "step-000012"}
    assert json.loads(wanted["checkpoints/index.json"])["best"]["step"] == 3
    assert {"manifest.json", "model.safetensors", "bradley.json", "training/state.json"} <= {
        name.partition("step-000012/")[2] for name in names
    }
