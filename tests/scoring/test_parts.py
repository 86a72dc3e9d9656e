"""Parts beside an output: whose they are, when they are joined, and what is said of other processes."""

import threading
import time
from collections import Counter

import pytest

from bradley.errors import DataError, DiskError, RankError, UserError
from bradley.scoring.parts import Counts, Parts

MADE_FROM = {"input": {"sha256": "1"}, "model": {"m": "2"}, "best_of": False}


@pytest.fixture
def parts(tmp_path):
    made = Parts(tmp_path / "out.jsonl")
    made.claim(MADE_FROM, restart=False)
    return made


def add(parts, number, text="x\n", **numbers):
    parts.add(number, text.encode(), Counts(Counter(rows=1, **numbers), f"row {number}"))


def test_parts_join_in_order_and_leave_nothing(parts, tmp_path):
    for number in (2, 0, 1):
        add(parts, number, f"{number}\n", tokens=number)
    assert parts.missing(5) == [3, 4]
    counts = parts.join(3)
    assert (tmp_path / "out.jsonl").read_text() == "0\n1\n2\n"
    assert counts == Counts(Counter(rows=3, tokens=3), "row 0")
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_part_without_its_counts_is_never_there(parts, monkeypatch):
    def full(*_):
        raise DiskError("disk full")

    monkeypatch.setattr("bradley.scoring.parts.write_text", full)
    with pytest.raises(DiskError):
        add(parts, 0)
    assert parts.missing(1) == [0]


def test_the_same_work_goes_on_and_other_work_is_refused(parts):
    add(parts, 0)
    parts.claim(MADE_FROM, restart=False)
    assert parts.missing(1) == []
    other = {**MADE_FROM, "best_of": True, "model": {"m": "3"}}
    with pytest.raises(UserError, match=r"out.jsonl.parts holds parts of other work: model, best_of differ") as caught:
        parts.claim(other, restart=False)
    assert "--restart" in caught.value.hint
    parts.claim(other, restart=True)
    assert parts.missing(1) == [0]
    parts.claim(MADE_FROM, restart=False)  # nothing is finished, so nothing is lost
    add(parts, 0)
    (parts.folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        parts.claim(other, restart=False)


def test_what_holds_no_finished_part_is_not_left_behind(parts):
    parts.remove_if_empty()
    assert not parts.folder.exists()
    parts.claim(MADE_FROM, restart=False)
    add(parts, 4)
    parts.remove_if_empty()
    assert parts.missing(5) == [0, 1, 2, 3]


def test_an_output_that_exists_is_replaced_only_when_asked(parts, tmp_path):
    parts.remove()
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(UserError, match=r"out\.jsonl exists"):
        parts.claim(MADE_FROM, restart=False)
    parts.claim(MADE_FROM, restart=True)
    assert (tmp_path / "out.jsonl").read_text() == "old"
    add(parts, 0, "new")
    parts.join(1)
    assert (tmp_path / "out.jsonl").read_text() == "new"


def test_waiting_ends_with_the_last_part_a_failure_or_silence(parts):
    add(parts, 0)
    later = threading.Thread(target=lambda: (time.sleep(0.3), add(parts, 1)))
    later.start()
    parts.wait(2, patience=5)
    later.join()
    with pytest.raises(RankError, match=r"part 2 and 0 more did not come, and nothing did for 0.1 s"):
        parts.wait(3, patience=0.1)
    parts.fail(3, "out of memory")
    with pytest.raises(RankError, match="process 3 failed: out of memory") as caught:
        parts.wait(3, patience=5)
    assert caught.value.exit_code == 8
    parts.forget_failures()
    with pytest.raises(RankError, match="did not come"):
        parts.wait(3, patience=0.1)
