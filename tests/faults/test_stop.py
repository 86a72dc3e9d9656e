"""Requests to stop at any time: nothing that was trained is lost, and the run that goes on ends with the same bytes."""

import json
import math
import multiprocessing
import os
import random
import signal
import statistics
import threading
import time

import pytest

from bradley.common import disk
from tests.faults import harness, mutants, real
from tests.faults.results import record
from tests.training.interrupted import fingerprint

CI, NIGHTLY = 4, 100
STOPPED, DONE = harness.STOPPED, 0
SECONDS = 3.0
"""From a signal to the end at most: 2 s beyond a micro-batch and a checkpoint of this model, each of far below one."""
DEAF = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)
"""What stands for a signal where the run has no handler of its own."""


@pytest.fixture(scope="module")
def whole():
    """A run that nothing interrupts: its files, and its seconds once everything has been imported."""
    with harness.new_run() as run:
        run.rmdir()
        real.warm_up(run, real.RARE)
    with harness.new_run() as run:
        run.rmdir()
        began = time.monotonic()
        assert real.train(run, settings=real.RARE).code == DONE
        return fingerprint(run), time.monotonic() - began


def signalled(run, after, number, later):
    """A run that gets a signal after so many seconds, and each of `later`, pairs of seconds and signal, from then on;
    none before or after it listens, when a signal ends the process as it ends any, and there is nothing yet, or no
    more, to save. Gives how it ended, and the seconds from the first signal to that (`nan` if none was sent).
    """
    sent = multiprocessing.RawValue("d", math.nan)

    def send(pid):
        while signal.getsignal(number) in DEAF:
            time.sleep(1e-3)
        time.sleep(after)
        for wait, kind in ((0.0, number), *later):
            time.sleep(wait)
            if signal.getsignal(number) in DEAF:
                return
            if math.isnan(sent.value):
                sent.value = time.monotonic()  # the clock is one for all processes
            os.kill(pid, kind)

    def prepare():
        threading.Thread(target=send, args=(os.getpid(),), daemon=True).start()

    ended = real.train(run, prepare, real.RARE)
    return ended, time.monotonic() - sent.value


def trial(number, source, whole, later=(), share=1.0):
    """One run with a signal at a random time of its first `share`, and one that goes on; both are judged."""
    wanted, seconds = whole
    with harness.new_run() as run:
        run.rmdir()
        after = source.uniform(0, share * seconds)
        first, took = signalled(run, after, number, later)
        second = real.train(run, settings=real.RARE)
        tally = harness.Tally()
        tally.judge(f"{signal.Signals(number).name} after {after:.2f} s", first, second, fingerprint(run), wanted)
        state = json.loads((run / "status.json").read_text())["state"]
    return first.code, tally, took, state


@pytest.mark.parametrize("trials", [CI, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
def test_a_signal_at_any_time_loses_no_step(whole, trials):
    source, codes, took, bad = random.Random(trials), [], [], []
    for turn in range(trials):
        number = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)[turn % 3]
        code, tally, seconds, state = trial(number, source, whole, share=min(turn, 1))  # the first one is in time
        codes.append(code)
        took += [seconds] if code == STOPPED else []
        bad += tally.stuck + tally.different + tally.lost
        assert state == "done"
    assert not bad
    assert set(codes) <= {STOPPED, DONE} and STOPPED in codes
    if trials == NIGHTLY:
        middle, most = statistics.median(took), max(took)
        record(
            "C5",
            "SIGTERM, SIGINT, SIGUSR1 at random times",
            "saved, exit 75, no step lost, goes on to the same bytes",
            f"{trials} of {trials}",
        )
        record(
            "G7",
            "steps lost by a signal at a random time; from signal to exit",
            "0 steps in 100 of 100; a micro-batch, a checkpoint and 2 s",
            f"0 steps in {trials} of {trials}; {middle:.2f} s (median), {most:.2f} s (most); {len(took)} ended with 75",
        )
        assert len(took) >= trials / 2 and most <= SECONDS


@pytest.mark.parametrize("step", [2, pytest.param(5, marks=pytest.mark.nightly)])
def test_a_run_that_is_not_saved_when_it_is_asked_to_stop_is_found(whole, step):
    """At a step that has no save of its own."""
    lost = {}
    for mutant in (harness.nothing, mutants.unsaved_when_asked):
        with harness.new_run() as run:
            run.rmdir()
            first = real.train(run, lambda mutant=mutant: (mutant(), real.asked_at(step)), real.RARE)
            tally, second = harness.Tally(), real.train(run, settings=real.RARE)
            tally.judge(f"SIGTERM at step {step}", first, second, fingerprint(run), whole[0])
        assert first.code == STOPPED and first.of("trained")[-1] == step
        assert not tally.stuck + tally.different
        lost[mutant] = tally.lost
    assert not lost[harness.nothing] and lost[mutants.unsaved_when_asked]
    record("C5", "mutant: not saved when asked to stop", "is found by a signal", "as expected")


def test_more_signals_neither_hasten_nor_harm_the_end(whole):
    """As of somebody who types Ctrl-C again and again, while the run is being saved too."""
    source, bad, codes = random.Random(5), [], []
    impatient = [(1e-3, signal.SIGINT), (1e-3, signal.SIGTERM), *[(5e-3, signal.SIGINT)] * 20]
    for _ in range(3):
        code, tally, _, state = trial(signal.SIGTERM, source, whole, impatient, share=0.2)
        codes.append(code)
        bad += tally.stuck + tally.different + tally.lost
        assert state == "done"
    assert not bad and set(codes) <= {STOPPED, DONE} and STOPPED in codes
    record("C5", "SIGTERM, then twenty more signals", "saved, exit 75; same bytes", "as expected")


def slow_disk(seconds):
    """From now on, whatever is synced takes so long."""
    sync = disk.sync
    disk.sync = lambda handle: (time.sleep(seconds), sync(handle))


@pytest.mark.parametrize(
    ("step", "syncs", "kill_after"),
    [
        *((3, 10, 0.1), (5, 20, 1.0)),
        *(pytest.param(*case, marks=pytest.mark.nightly) for case in ((3, 10, 1.0), (5, 20, 0.1))),
    ],
)
def test_a_kill_in_the_save_that_was_asked_for_leaves_a_whole_checkpoint(whole, kill_after, step, syncs):
    """After a signal there are 5 syncs of metrics, and then 20 until there is a checkpoint."""

    def patience():
        slow_disk(kill_after / syncs)
        harness.die_in(kill_after)

    with harness.new_run() as run:
        run.rmdir()
        first = real.train(run, lambda: real.asked_at(step, patience), real.RARE)
        assert first.code == -signal.SIGKILL
        assert first.of("saving")[-1] == step == first.of("trained")[-1] and first.of("saved")[-1] < step
        assert list((run / "checkpoints").glob(".tmp-*"))
        tally, second = harness.Tally(), real.train(run, settings=real.RARE)
        tally.judge(f"killed after {kill_after} s", first, second, fingerprint(run), whole[0])
        assert not tally.bad and json.loads((run / "status.json").read_text())["state"] == "done"
    record(
        "C6", f"SIGTERM, then SIGKILL after {kill_after} s", "the checkpoint before is whole; same bytes", "as expected"
    )
