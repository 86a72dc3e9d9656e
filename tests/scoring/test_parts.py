"""Parts beside an output: how they are joined, and what is said of other processes. Their owner: `test_claim.py`."""

import threading
import time
from collections import Counter

import pytest

from bradley.errors import DiskError, RankError
from bradley.scoring.parts import Parts
from bradley.scoring.summary import Counts


@pytest.fixture
def parts(tmp_path):
    made = Parts(tmp_path / "out.jsonl")
    made.folder.mkdir()
    made.group, made.work, made.owner = "start", "work", "token"
    made.write_group()
    return made


def add(parts, number, text="x", **numbers):
    parts.add(number, [{"x": text}], ["row"], Counts(Counter(rows=1, **numbers), f"row {number}"))


def test_parts_join_in_order_and_leave_nothing(parts, tmp_path):
    for number in (2, 0, 1):
        add(parts, number, str(number), tokens=number)
    assert parts.missing(5) == [3, 4]
    assert parts.join(4, print) is None and parts.begun
    (parts.folder / "manifest.json").write_text(MANIFEST)
    counts = parts.join(3, print)
    assert (tmp_path / "out.jsonl").read_text() == '{"x": "0"}\n{"x": "1"}\n{"x": "2"}\n'
    assert counts == Counts(Counter(rows=3, tokens=3), "row 0")
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


MANIFEST = """{
  "input": {}, "model": {}, "over_long": "", "token_budget": 0, "normalize": false, "best_of": false, "prefix": "",
  "part_rows": 1, "device": "cpu", "engine": "segments"
}"""


def test_a_part_without_its_counts_is_never_there(parts, monkeypatch):
    def full(*_):
        raise DiskError("disk full")

    monkeypatch.setattr("bradley.scoring.parts.write_text", full)
    with pytest.raises(DiskError):
        add(parts, 0)
    assert parts.missing(1) == [0]


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
