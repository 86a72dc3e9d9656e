"""The real run, ended at calls and at random times: it goes on to the bytes of the one that nothing interrupted."""

import random
import signal
import time

import pytest

from tests.training.interrupted import fingerprint

from . import harness, real
from .results import record


@pytest.fixture(scope="module")
def wanted():
    return real.reference()


@pytest.fixture(scope="module")
def calls(wanted):
    return real.calls_of_a_run()


@pytest.mark.parametrize(
    ("mode", "count"), [("kill", 4), pytest.param("kept", 3, marks=pytest.mark.nightly), ("lost", 3)]
)
def test_a_run_goes_on_after_an_end_at_some_calls(mode, count, wanted, calls):
    last = len(calls) - 1  # between the words that all is done and the end of the process
    points = [*random.Random(f"{mode} 0").sample(range(last), count - 1), last]
    tally = real.sweep(points, mode, wanted)
    assert tally.trials == count and not tally.bad, tally


@pytest.mark.nightly
@pytest.mark.parametrize("mode", harness.MODES)
def test_a_run_goes_on_after_an_end_at_every_call(mode, wanted, calls):
    tally = real.sweep(list(range(len(calls))), mode, wanted)
    number, fault = ("C1", "kill -9") if mode == "kill" else ("C2", f"power cut, names {mode},")
    record(number, f"{fault} at every call of the real run", "goes on by itself, same bytes, no saved step lost", tally)
    record("G2", f"every crash point of the real run: {fault.removesuffix(',')}", "0 stuck, 0 different, 0 lost", tally)
    assert not tally.bad, tally


FEW = 10
"""Most kills of a run by day."""


def timed(count, wanted):
    """Real runs killed at random times, the start and what follows the last step included, and what killed them."""
    tally, rng, ends = harness.Tally(), random.Random(2), []
    with harness.new_run() as run:
        run.rmdir()
        began = time.perf_counter()
        real.train(run)
        whole = time.perf_counter() - began
    for number in range(count):
        with harness.new_run() as run:
            run.rmdir()
            # A loaded machine may have measured too long a run: few kills come early, or none would hit.
            seconds = rng.uniform(1e-3, whole if count > FEW else whole / 4)
            first = real.train(run, lambda seconds=seconds: harness.die_in(seconds))
            ends.append(first)
            tally.judge(f"trial {number}", first, real.train(run), fingerprint(run), wanted)
    return tally, [end for end in ends if end.code == -signal.SIGKILL]


@pytest.mark.parametrize("count", [2, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_run_goes_on_after_kills_at_random_times(count, wanted):
    tally, killed = timed(count, wanted)
    saving = sum(len(end.of("saving")) > len(end.of("saved")) for end in killed)
    record(
        "C3",
        "kill -9 of the real run at random times",
        "goes on by itself, same bytes",
        f"{tally}; {len(killed)} killed, {saving} of them in a save",
    )
    record("G1", "a run goes on after kill -9 at random times", "200 of 200", f"{count - tally.bad} of {count}")
    assert not tally.bad, tally
    assert killed if count <= FEW else len(killed) >= count / 2
    assert saving >= count // 10  # a save takes a good part of a step


SIZES = 880 * 1024, 1480 * 1024
"""Of disks: from one on which a run hardly begins, to one on which it fits; a checkpoint has 530 kB."""


@pytest.mark.parametrize("count", [3, pytest.param(24, marks=pytest.mark.nightly)])
def test_a_run_goes_on_after_a_full_disk_wherever_that_is_met(count, tmp_path, wanted):
    """The weights and the tokenizer are written by libraries, which say in their own words that the disk is full."""
    tally, ends, (least, most) = harness.Tally(), [], SIZES
    for number in range(count):
        size = least + (most - least) * number // (count - 1)
        with harness.tmpfs(tmp_path, size):
            first = real.train(tmp_path / "run")
            ends.append(first)
            harness.grow(tmp_path)
            tally.judge(f"{size} bytes", first, real.train(tmp_path / "run"), fingerprint(tmp_path / "run"), wanted)
    codes = [end.code for end in ends]
    midway = sum(end.code == 7 and bool(end.of("saved")) for end in ends)
    seen = f"{tally}; {codes.count(0)} ended whole at once, {codes.count(7)} with 7, {midway} of them after a save"
    record("C9", "the real run on a tmpfs", "ends whole, or with 7 and goes on with more room", seen)
    assert not tally.bad and set(codes) <= {0, 7}, (tally, codes)
    assert midway >= count / 3, codes
