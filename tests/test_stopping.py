"""Requests to stop: a flag that signals and the clock set, and that nobody but the caller acts on."""

import os
import signal
import threading

import pytest

from bradley import stopping


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_sets_the_flag_and_interrupts_nothing(number):
    before = signal.getsignal(number)
    with stopping.listening():
        stopping.check()
        os.kill(os.getpid(), number)
        reached = True
        with pytest.raises(stopping.StopRequested, match=signal.Signals(number).name):
            stopping.check()
    assert reached and signal.getsignal(number) is before
    stopping.check()


def test_a_second_signal_changes_nothing():
    with stopping.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.requested() == "SIGTERM"


@pytest.mark.parametrize(("number", "heard"), [(signal.SIGHUP, False), (signal.SIGINT, True)])
def test_a_signal_that_is_ignored_stays_so_but_for_one_that_shells_have_jobs_ignore(number, heard):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stopping.listening():
            os.kill(os.getpid(), number)
            assert bool(stopping.requested()) is heard
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_time_runs_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("bradley.stopping.time.monotonic", lambda: now[0])
    with stopping.listening(minutes=2):
        now[0] += 119
        stopping.check()
        now[0] += 1
        with pytest.raises(stopping.StopRequested, match="time limit"):
            stopping.check()
    assert stopping.requested() == ""


def test_a_thread_listens_to_the_clock_alone():
    found = []

    def work():
        with stopping.listening(minutes=1e-9):
            found.append(stopping.requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["the time limit"]
