"""Runs whose sums come out as they may, resumed by another number of processes: the same comparisons, and a record of
what has changed.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bradley.training.guards.nonfinite import Guard
from tests.training.distributed.runs import FIXED, TRAIN, lines, stop_after, train_together
from tests.training.interrupted import run

pytestmark = pytest.mark.usefixtures("quick")
FAST = {**FIXED, "train": {**TRAIN, "max_steps": 9}, "eval": {"every": 9}, "parallel": {"canonical": "off"}}
SIZES = [2, 3, 1]
ORDERS = ["replicate over 2", "replicate over 3", "one after another"]


def noting(file: Path, also: Callable[[int], object] = lambda rank: None) -> Callable[[int], None]:
    """What has every process write down which comparisons it runs in which step."""

    def before(rank: int) -> None:
        also(rank)
        enter = Guard.enter

        def entered(guard: Guard, step: Any, piece: int, chosen: Any) -> None:
            with file.open("a") as open_file:
                open_file.write(json.dumps([step.number, chosen.tolist()]) + "\n")
            enter(guard, step, piece, chosen)

        Guard.enter = entered

    return before


def steps(file: Path) -> dict[int, list[int]]:
    """The comparisons of each step, those that were run twice named twice."""
    found = defaultdict(list)
    for number, chosen in map(json.loads, file.read_text().splitlines()):
        found[number] += chosen
    return {number: sorted(chosen) for number, chosen in found.items()}


def test_copies_go_on_as_another_number_with_the_same_comparisons_and_the_record_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Guard, "enter", Guard.enter)
    for place, size in enumerate(SIZES):
        stop = stop_after(3 * (place + 1)) if place < 2 else (lambda rank: None)
        results = train_together(size, tmp_path / "many", FAST, noting(tmp_path / "seen", stop))
        assert [result.code for result in results] == [75 if place < 2 else 0] * size, results
        known = json.loads((tmp_path / "many" / "run.json").read_text())
        assert known["identity"]["sums"]["order"] == ORDERS[place]
        changed = {"sums.order": ORDERS[place - 1 : place + 1]} if place else {}
        assert known["starts"][-1]["changed"] == changed
        assert known["starts"][-1]["step"] == 3 * place
    noting(tmp_path / "expected")(0)
    run(tmp_path / "one", {**FAST, "parallel": {}})
    assert steps(tmp_path / "seen") == steps(tmp_path / "expected")
    assert [len(chosen) for chosen in steps(tmp_path / "seen").values()] == [TRAIN["batch_size"]] * 9
    for expected, found in zip(lines(tmp_path / "one", "train"), lines(tmp_path / "many", "train"), strict=True):
        assert found["train/rm/loss"] == pytest.approx(expected["train/rm/loss"], rel=1e-5)
