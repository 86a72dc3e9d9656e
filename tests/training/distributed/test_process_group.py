"""What processes say to each other, and that an error of one becomes the error of all."""

import os
import signal
import time

import pytest
import torch
import torch.distributed as dist

from bradley.config import Parallel
from bradley.errors import DataError, DiskError, DiskFullError, UserError
from bradley.training.distributed.process_group import ProcessGroup, Rank, caught, open_group, rank_from
from tests.training.distributed.processes import fork, together, values


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Rank(0, 1, 0, 1)),
        ({"WORLD_SIZE": "4"}, Rank(0, 1, 0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Rank(3, 4, 1, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Rank(1, 2, 1, 2)),
    ],
)
def test_the_place_is_read_from_the_environment_of_torchrun(environment, place) -> None:
    assert rank_from(environment) == place


@pytest.mark.parametrize("rank", ["x", "2", "-1", ""])
def test_numbers_that_name_no_process_are_refused(rank: str) -> None:
    with pytest.raises(UserError, match=f"RANK={rank}|WORLD_SIZE=2"):
        rank_from({"RANK": rank, "WORLD_SIZE": "2"})


@pytest.mark.parametrize("given", [{"RANK": "1"}, {"RANK": "1", "LOCAL_RANK": "1"}, {"LOCAL_RANK": "2"}])
def test_half_of_the_variables_of_torchrun_is_refused_in_words(given) -> None:
    with pytest.raises(UserError) as caught:
        rank_from(given, "score")
    assert "not set:" in caught.value.message and "WORLD_SIZE" in caught.value.message
    assert caught.value.hint.endswith("or unset " + " and ".join(given)) and "bradley score" in caught.value.hint
    with pytest.raises(UserError, match=r"RANK=1\\x1b"):
        rank_from({"RANK": "1\x1b[2J\nhint: x", "WORLD_SIZE": "2"})


def test_values_of_any_length_are_gathered_in_the_order_of_processes() -> None:
    def work(group: ProcessGroup) -> object:
        own = {"rank": group.rank, "text": "é" * 1000 * group.rank, "float": 0.1 + group.rank, "none": [None, True]}
        return group.gather(own), group.gather(None), group.gather([float("nan"), float("inf"), -0.0])

    for found, nothing, special in values(3, work):
        assert [row["rank"] for row in found] == [0, 1, 2]
        assert [len(row["text"]) for row in found] == [0, 1000, 2000]
        assert [row["float"] for row in found] == [0.1, 1.1, 2.1]
        assert nothing == [None] * 3
        assert repr(special) == repr([[float("nan"), float("inf"), -0.0]] * 3)


@pytest.mark.parametrize(("says", "found"), [(0, True), (1, True), (2, False)])
def test_any_is_true_if_one_process_says_so(says: int, found: bool) -> None:
    assert values(2, lambda group: group.any(group.rank == says)) == [found, found]


def test_one_process_alone_exchanges_nothing() -> None:
    group = ProcessGroup()
    assert (group.gather(7), group.any(False), group.is_main, group.size) == ([7], False, True, 1)
    with group.one_first():
        group.on_main(lambda: None)
    with pytest.raises(DiskError):
        group.on_main(fail_with(DiskError("full")))


def fail_with(error: Exception):
    def act() -> None:
        raise error

    return act


def test_an_error_of_the_main_process_is_that_of_all_with_its_exit_code() -> None:
    results = together(3, lambda group: group.on_main(fail_with(DiskError("no space left", "free some"))))
    assert [result.code for result in results] == [7, 7, 7]
    assert results[0].error == "no space left"
    assert {result.error for result in results[1:]} == {"process 0 of 3: no space left"}


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_full_disk_of_one_process_is_met_by_all_who_can_then_try_again(failing: int) -> None:
    def work(group: ProcessGroup) -> list[str]:
        done: list[str] = []
        error = DiskFullError(f"{failing}'s rank is full") if group.rank == failing else None
        try:
            group.agree(error)
        except DiskFullError as raised:
            assert f"{failing}'s rank is full" in raised.message
            done.append("met")
        group.agree(None)
        return [*done, "second"]

    assert values(3, work) == [["met", "second"]] * 3


def test_alone_a_process_raises_its_own_error() -> None:
    error = DiskFullError("full")
    ProcessGroup().agree(None)
    with pytest.raises(DiskFullError) as caught:
        ProcessGroup().agree(error)
    assert caught.value is error


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("error", [DiskError("a bad sector"), DiskFullError("full")], ids=["bad", "full"])
def test_a_failure_of_one_process_ends_all_with_its_class_of_error(failing: int, error: DiskError) -> None:
    def work(group: ProcessGroup) -> None:
        try:
            group.agree(error if group.rank == failing else None)
        except DiskError as raised:
            assert type(raised) is type(error)
            raise

    results = together(2, work)
    assert [result.code for result in results] == [7, 7]
    assert results[failing].error == error.message
    assert results[1 - failing].error.endswith(f"process {failing} of 2: {error.message}")


@pytest.mark.parametrize("full", [0, 1])
def test_a_full_disk_beside_something_worse_is_no_reason_to_try_again(full: int) -> None:
    def work(group: ProcessGroup) -> None:
        group.agree(DiskFullError("full") if group.rank == full else DataError("a broken line"))

    results = together(2, work)
    assert [result.code for result in results] == [3, 3]
    assert results[1 - full].error == "a broken line" and "a broken line" in results[full].error


def test_a_bug_of_one_process_keeps_its_traceback_and_is_named_by_the_others() -> None:
    def task() -> None:
        raise ValueError("seven")

    def work(group: ProcessGroup) -> None:
        group.agree(caught(task) if group.rank else None)

    main, other = together(2, work)
    assert (main.error, main.code) == ("process 1 of 2: ValueError: seven", 1)
    assert "Traceback" in other.error and "in task" in other.error


def test_an_error_of_the_main_process_alone_ends_all() -> None:
    def work(group: ProcessGroup) -> None:
        group.on_main(fail_with(DataError("a broken line")))

    results = together(3, work)
    assert [result.code for result in results] == [3, 3, 3]
    assert {result.error for result in results[1:]} == {"process 0 of 3: a broken line"}


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_before_all_agree_ends_the_others_with_code_8(killed: int) -> None:
    def work(group: ProcessGroup) -> None:
        group.gather(None)  # all are connected
        if group.rank == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        group.agree(None)

    results = together(3, work)
    assert [result.code for result in results] == [-signal.SIGKILL if rank == killed else 8 for rank in range(3)]


def test_what_one_process_does_first_the_others_find(tmp_path) -> None:
    def work(group: ProcessGroup) -> bool:
        with group.one_first():
            found = (tmp_path / "made").exists()
            time.sleep(0.2)
            (tmp_path / "made").touch()
        return found

    assert values(3, work) == [False, True, True]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_what_one_does_first_ends_all(failing: int) -> None:
    def work(group: ProcessGroup) -> None:
        with group.one_first():
            if group.rank == failing:
                raise DataError("a broken line")

    results = together(2, work)
    assert [result.code for result in results] == [3, 3]
    assert results[1 - failing].error == f"process {failing} of 2: a broken line"


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_between_exchanges_reaches_processes_that_wait_in_one(failing: int) -> None:
    def work(group: ProcessGroup) -> None:
        if group.rank == failing:
            raise DataError("record 17 is broken", "look at it")
        dist.all_reduce(torch.ones(1000))
        group.gather(1)

    began = time.monotonic()
    results = together(3, work)
    assert [result.code for result in results] == [3, 3, 3]
    others = {result.error for rank, result in enumerate(results) if rank != failing}
    assert others == {f"process {failing} of 3: record 17 is broken"}
    assert time.monotonic() - began < 20


def test_a_bug_in_one_process_is_named_in_the_others_with_code_1() -> None:
    def work(group: ProcessGroup) -> None:
        if group.rank == 1:
            raise ValueError("seven")
        dist.all_reduce(torch.ones(10))

    main, other = together(2, work)
    assert (main.error, main.code) == ("process 1 of 2: ValueError: seven", 1)
    assert "Traceback" in other.error


def test_a_process_that_is_killed_ends_the_others_with_code_8() -> None:
    def work(group: ProcessGroup) -> None:
        group.gather(None)  # all are connected
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.all_reduce(torch.ones(10))

    main, other = together(2, work)
    assert main.code == 8
    assert "one of the 2 processes" in main.error
    assert other.code == -signal.SIGKILL


def test_a_process_stuck_where_nothing_breaks_off_is_ended_by_what_another_reports(monkeypatch) -> None:
    monkeypatch.setattr("bradley.training.distributed.failures.GRACE_SECONDS", 0.5)
    monkeypatch.setattr("bradley.training.distributed.failures.POLL_SECONDS", 0.1)

    def work(group: ProcessGroup) -> None:
        if group.rank == 1:
            raise DiskError("full")
        time.sleep(50)

    main, _ = together(2, work)
    assert main.code == 7


def test_an_error_stays_what_it_is_where_who_kept_the_store_is_gone() -> None:
    class Gone:
        def compare_set(self, *_: str) -> None:
            raise dist.DistNetworkError("Broken pipe")

    with pytest.raises(DataError, match="row 3"), ProcessGroup(Rank(1, 2), None, Gone()).first_cause():
        raise DataError("row 3 is broken", "")


def test_a_process_lost_before_all_are_connected_ends_the_others_with_code_8(monkeypatch) -> None:
    def refused(**given: object) -> None:
        raise RuntimeError("Gloo connectFullMesh failed with [pair.cc:553] Connection closed by peer [127.0.0.1]:9413")

    monkeypatch.setattr(dist, "new_group", refused)
    results = together(2, lambda group: None)
    assert [result.code for result in results] == [8, 8]
    assert "one of the 2 processes" in results[0].error


def test_a_process_that_never_connects_is_waited_for_no_longer_than_the_timeout() -> None:
    def member(rank: int, init: str) -> None:
        if rank:
            return
        with open_group(Parallel(timeout_seconds=2), "cpu", Rank(rank, 2, rank, 2), init):
            raise AssertionError("connected to a process that never came")

    main = fork(2, member, seconds=20)[0]
    assert (main.code, "one of the 2 processes" in main.error) == (8, True)


@pytest.mark.parametrize("exchange", ["settle", "agree"])
def test_an_own_error_outlives_an_exchange_broken_by_a_lost_process(exchange: str) -> None:
    def work(group: ProcessGroup) -> None:
        group.gather(None)  # all are connected
        if group.rank:
            os._exit(1)
        getattr(group, exchange)(DataError("a broken line"))

    survivor = together(2, work)[0]
    assert (survivor.error, survivor.code) == ("a broken line", 3)


@pytest.mark.parametrize("exchange", ["settle", "agree"])
def test_without_an_own_error_the_lost_process_is_the_error(exchange: str) -> None:
    def work(group: ProcessGroup) -> None:
        group.gather(None)  # all are connected
        if group.rank:
            os._exit(1)
        getattr(group, exchange)(None)

    assert together(2, work)[0].code == 8
