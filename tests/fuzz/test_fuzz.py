"""Damaged inputs of five classes end in words and an exit code of the table: a few of each here, 2,500 in the night."""

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import child, json_places, model_folders, run_folders
from tests.fuzz.campaign import CLASSES, Found, run_cases
from tests.fuzz.case import Case, snapshot
from tests.fuzz.good import Good
from tests.fuzz.oracle import complaints
from tests.fuzz.values import ways

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and measures time and memory as Linux tells them"),
    pytest.mark.slow,
]
NIGHTLY, BLOCK = 2500, 250
CI = {**dict.fromkeys(CLASSES, 8), "data_files": 20}
"""Cases of each class by day; the first eight of `data_files` are all refused, with one exit code."""
LEAST_CODES = 2
"""Least number of different exit codes of a class: fewer would mean that the damage never reaches the readers."""


def explained(failed: list[Found]) -> str:
    """Describe the failed cases, the first ten in full."""
    return "\n".join(["", *map(str, failed[:10]), *(f"{found.name} {found.number}" for found in failed[10:])])


def check(name: str, numbers: range, good: Good, worlds: Path) -> Counter[int]:
    """Run cases, and fail with all complaints."""
    failed, codes = run_cases(name, numbers, good, worlds)
    assert not failed, f"{len(failed)} of {len(numbers)} cases{explained(failed)}"
    assert len(codes) >= LEAST_CODES, codes
    return codes


@pytest.mark.parametrize("name", CLASSES)
def test_the_first_cases_of_a_class(name: str, good: Good, worlds: Path) -> None:
    check(name, range(CI[name]), good, worlds)


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(0, NIGHTLY, BLOCK))
@pytest.mark.parametrize("name", CLASSES)
def test_every_case_of_a_class(
    name: str, first: int, good: Good, worlds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = check(name, range(first, first + BLOCK), good, worlds)
    with capsys.disabled():
        print(f"\n{name} {first} to {first + BLOCK - 1}: exit codes {dict(sorted(codes.items()))}")


def test_every_key_that_is_read_back_has_its_turn_in_a_night(good: Good) -> None:
    turns = {
        "model_folders": {model_folders.key(good.models, n // 2) for n in range(0, NIGHTLY, 2)},
        "run_folders": {run_folders.key(good.folder, n - n // 4 - 1) for n in range(NIGHTLY) if n % 4},
    }
    runs = [(kind, place) for kind in run_folders.KINDS for place in run_folders.keys_of(good.folder, kind)]
    assert turns["model_folders"] == set(model_folders.every_key(good.models))
    assert turns["run_folders"] == set(runs)
    files = {Path(place.file).name for _, place in (*turns["model_folders"], *turns["run_folders"])}
    read_back = {"bradley.json", "config.json", "tokenizer.json", "tokenizer_config.json", "adapter_config.json"}
    read_back |= {"run.json", "status.json", "results.json", "index.json", "manifest.json", "state.json", "ledger.json"}
    assert read_back <= files


def undamaged(name: str, world: Path, good: Good) -> Case:
    """A case of a command that judges compare, without damage."""
    if name in ("score", "tokens", "train"):
        good.model("full", world)
        wanted = {"score": "score", "tokens": "data --tokens", "train": "train from it"}[name]
        cases = (model_folders.command(random.Random(k), good, "full", "none") for k in range(1000))
    else:
        kind, wanted = name.split(": ")
        file = "model/x" if wanted == "score" else "results.json"
        run_folders.copied(kind, world, good)
        cases = (run_folders.command(random.Random(k), good, kind, file, "none") for k in range(1000))
    return next(case for case in cases if case.what.endswith(f"; {wanted}"))


COMPARED = [
    *("score", "tokens", "train", "finished: plot", "finished: train --resume", "finished: score"),
    *("interrupted: train --resume", "parts: score", "cache: train"),
]


@pytest.mark.parametrize("name", COMPARED)
def test_undamaged_inputs_pass_the_judges(name: str, good: Good, tmp_path: Path) -> None:
    """Otherwise a complaint of a judge would mean nothing."""
    world = good.world(tmp_path / "world")
    case = undamaged(name, world, good)
    before = snapshot(world)
    ended = child.run(case, world)
    assert ended.code == 0 and not complaints(case, ended, before, snapshot(world), world)


def test_a_number_makes_the_same_case_again(good: Good, tmp_path: Path) -> None:
    for name, damage in CLASSES.items():
        cases = [damage(random.Random(f"{name} 7"), 7, good.world(tmp_path / f"{name}-{k}"), good) for k in range(2)]
        assert cases[0].args == cases[1].args and cases[0].what == cases[1].what


def test_a_long_object_is_sampled_and_lists_count_by_their_ends() -> None:
    assert len(json_places.short({str(k): k for k in range(10_000)})) < 100
    assert list(ways({"a": [1, 2, 3]})) == [(), ("a",), ("a", 0), ("a", 2)]
