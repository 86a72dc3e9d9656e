"""The real run, ended at calls and at random times: it goes on to the bytes of the one that nothing interrupted."""

import random
import time

import pytest

from tests.training.interrupted import fingerprint

from . import harness, real
from .results import record


@pytest.fixture(scope="module")
def wanted():
    """The fingerprint of a run that nothing interrupted."""
    with harness.new_run() as run:
        run.rmdir()
        return real.warm_up(run)


@pytest.fixture(scope="module")
def calls(wanted):
    return real.calls_of_a_run()


@pytest.mark.parametrize(("mode", "count"), [("kill", 6), ("kept", 3), ("lost", 3)])
def test_a_run_goes_on_after_an_end_at_some_calls(mode, count, wanted, calls):
    points = random.Random(f"{mode} 0").sample(range(len(calls)), count)
    tally = real.sweep(points, mode, wanted)
    assert tally.trials == count and not tally.bad, tally


@pytest.mark.nightly
@pytest.mark.parametrize("mode", harness.MODES)
def test_a_run_goes_on_after_an_end_at_many_calls(mode, wanted, calls):
    """Each kind of power cut takes one call in six, and each another sixth; `kill -9` takes every other one."""
    points = range(0, len(calls), 2) if mode == "kill" else range(2 * harness.MODES.index(mode) - 1, len(calls), 6)
    tally = real.sweep(list(points), mode, wanted)
    number, fault = ("C1", "kill -9") if mode == "kill" else ("C2", f"power cut, names {mode},")
    record(number, f"{fault} at calls of the real run", "goes on by itself, same bytes, no saved step lost", tally)
    record("G2", f"crash points of the real run: {fault}", "0 stuck, 0 different, 0 lost", tally)
    assert not tally.bad, tally


def timed(count, wanted):
    """Real runs killed at random times, the start and what follows the last step included."""
    tally, rng = harness.Tally(), random.Random(2)
    with harness.new_run() as run:
        run.rmdir()
        began = time.perf_counter()
        real.train(run)
        whole = time.perf_counter() - began
    for number in range(count):
        with harness.new_run() as run:
            run.rmdir()
            seconds = rng.uniform(1e-3, whole)
            first = real.train(run, lambda seconds=seconds: harness.die_in(seconds))
            tally.judge(f"trial {number}", first, real.train(run), fingerprint(run), wanted)
    return tally


@pytest.mark.parametrize("count", [4, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_run_goes_on_after_kills_at_random_times(count, wanted):
    tally = timed(count, wanted)
    record("C3", f"kill -9 of the real run at {count} random times", "goes on by itself, same bytes", tally)
    record("G1", "a run goes on after kill -9 at random times", "200 of 200", f"{count - tally.bad} of {count}")
    assert not tally.bad, tally
