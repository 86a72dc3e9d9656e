"""Requests to stop: a flag that signals and the clock set, and that nobody but the caller acts on."""

import os
import signal
import threading

import pytest

from bradley.common import signals


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_sets_the_flag_and_interrupts_nothing(number):
    before = signal.getsignal(number)
    with signals.listening():
        signals.check()
        os.kill(os.getpid(), number)
        reached = True
        with pytest.raises(signals.StopRequested, match=signal.Signals(number).name):
            signals.check()
    assert reached and signal.getsignal(number) is before
    signals.check()


def test_a_second_signal_changes_nothing():
    with signals.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.requested() == "SIGTERM"


@pytest.mark.parametrize(("number", "heard"), [(signal.SIGHUP, False), (signal.SIGINT, True)])
def test_a_signal_that_is_ignored_stays_so_but_for_one_that_shells_have_jobs_ignore(number, heard):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with signals.listening():
            os.kill(os.getpid(), number)
            assert bool(signals.requested()) is heard
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_time_runs_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("bradley.common.signals.time.monotonic", lambda: now[0])
    with signals.listening(minutes=2):
        now[0] += 119
        signals.check()
        now[0] += 1
        with pytest.raises(signals.StopRequested, match="time limit"):
            signals.check()
    assert signals.requested() == ""


def test_a_thread_listens_to_the_clock_alone():
    found = []

    def work():
        with signals.listening(minutes=1e-9):
            found.append(signals.requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["the time limit"]
