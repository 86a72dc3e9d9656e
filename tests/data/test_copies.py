"""Work on several cores: the results are those of a loop, in order, whatever becomes of the copies."""

import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.data import copies
from bradley.data.copies import in_order

PARENT = os.getpid()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(copies, "cores", lambda: 3)


def test_copies_do_a_part_of_the_work_and_end():
    def work(number):
        return number, os.getpid()

    found = list(in_order(work, range(200)))
    assert [number for number, _ in found] == list(range(200))
    assert len({pid for _, pid in found}) == 3 and PARENT in {pid for _, pid in found}
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@given(st.lists(st.binary(max_size=200_000), max_size=12))
@settings(max_examples=15)
def test_results_of_any_size_come_in_order(items):
    assert list(in_order(lambda item: item * 2, items)) == [item * 2 for item in items]


@pytest.mark.parametrize("late", [0, 3])
def test_a_killed_copy_changes_nothing(late):
    def work(number):
        if number > late and os.getpid() != PARENT:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    assert list(in_order(work, range(30))) == [number * number for number in range(30)]


def test_an_error_is_that_of_this_process():
    def work(number):
        if number == 5:
            raise ValueError(f"item {number} in {os.getpid()}")
        return number

    taken = []
    with pytest.raises(ValueError, match=f"item 5 in {PARENT}"):
        taken += in_order(work, range(30))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_result_that_cannot_be_sent_is_made_here():
    made = list(in_order(lambda number: lambda: number, range(8)))
    assert [each() for each in made] == list(range(8))


def test_no_process_is_started_for_a_few_items(monkeypatch):
    monkeypatch.setattr(copies, "forked", None)
    assert list(in_order(lambda number: number, range(copies.LEAST_ITEMS - 1))) == [0, 1, 2]


def test_without_further_processes_the_work_is_done(monkeypatch):
    def refused(_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(copies, "forked", refused)
    assert list(in_order(lambda number: number, range(9))) == list(range(9))


def test_stopping_early_leaves_no_process():
    results = in_order(lambda number: number, range(100))
    assert next(results) == 0
    results.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
