"""A comparison of one process whose loss or gradient is not finite stops, or skips, the step of all, and is named."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bradley.training import loop
from bradley.training.guards import culprits
from bradley.training.guards.nonfinite import SHOWN
from tests.training.distributed.runs import SHORT, TEST, alike, lines, must_train, train_together
from tests.training.interrupted import run

pytestmark = pytest.mark.usefixtures("quick")

MANY = {**SHORT, "train": {**SHORT["train"], "batch_size": 30, "micro_batch_tokens": 900, "max_steps": 8}}
"""More comparisons to a micro-batch than a message names."""
ONE_SHARD, SHARDS = {"mode": "hybrid", "processes_per_copy": 1}, {"mode": "shard_optimizer_and_gradients"}
NAMED = 7


def poison(how: str, spoils: Callable[[Any, Any], bool]) -> None:
    """Spoil the loss, or the gradient alone, of the micro-batches that `spoils(store, chosen)` is true of."""
    collate, share = loop.collate, loop.share_of_step
    spoilt = [False]

    def collated(store: Any, chosen: Any, weights: Any) -> Any:
        spoilt[0] = spoils(store, chosen)
        if not spoilt[0] or how == "gradient":
            return collate(store, chosen, weights)
        return collate(store, chosen, weights * math.nan)

    def shared(terms: Any, totals: Any) -> Tensor:
        part = share(terms, totals)
        slope_of_infinity = (part - part.detach()).abs().sqrt()
        return part + slope_of_infinity if spoilt[0] and how == "gradient" else part

    loop.collate = culprits.collate = collated
    loop.share_of_step = culprits.share_of_step = shared


def night(*row: Any) -> Any:
    return pytest.param(*row, marks=pytest.mark.nightly)


@pytest.mark.parametrize(
    ("parallel", "how", "culprit", "precision"),
    [
        ({}, "gradient", 0, "float32"),
        night({}, "gradient", 1, "float32"),
        ({"canonical": "off"}, "gradient", 1, "float32"),
        ({"mode": "shard_all"}, "loss", 1, "bfloat16"),
        night({"mode": "shard_all"}, "gradient", 0, "float32"),
        night({"mode": "shard_all"}, "loss", 0, "float32"),
        night({"mode": "shard_all"}, "gradient", 1, "bfloat16"),
        *[
            night(mode, how, rank, precision)
            for mode in (ONE_SHARD, SHARDS)
            for how in ("loss", "gradient")
            for rank in (0, 1)
            for precision in ("float32", "bfloat16")
        ],
    ],
    ids=lambda value: value.get("mode", value.get("canonical", "canonical")) if isinstance(value, dict) else str(value),
)
def test_it_alone_is_named_by_its_process_whichever_that_is(
    tmp_path, parallel, how: str, culprit: int, precision: str
) -> None:
    def before(rank: int) -> None:
        found: list[int] = []

        def spoils(store: Any, chosen: Any) -> bool:
            if rank == culprit and len(chosen) > SHOWN + 1 and not found:
                found.append(int(chosen[-1]))  # the last of many
                (tmp_path / "culprit").write_text(store.info[found[0]].id)
            return bool(set(found) & set(map(int, chosen)))

        poison(how, spoils)

    model = {**MANY["model"], "precision": precision}
    results = train_together(2, tmp_path / "run", {**MANY, "model": model, "parallel": parallel}, before)
    assert [result.code for result in results] == [5, 5], results
    assert results[0].error.removeprefix(f"process {culprit} of 2: ") == results[1].error or not culprit
    first, line = results[culprit].error.split("\n")
    assert re.match(rf"the {how} of step 1 is (nan|inf); the optimizer has not moved", first.rpartition(" of 2: ")[2])
    name = re.escape((tmp_path / "culprit").read_text())
    figures = r"loss nan, gradient norm (nan|inf)" if how == "loss" else r"loss [\d.]+, gradient norm (nan|inf)"
    assert re.fullmatch(rf"process {culprit}, micro-batch \d+: {figures}; comparisons: {name} \([^()]*\)", line), line
    names = [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")]
    assert names == ["step-000000"]


@pytest.mark.parametrize("how", [night("loss"), "gradient"])
def test_a_step_that_two_processes_skip_leaves_the_bytes_that_one_leaves(tmp_path, monkeypatch, how: str) -> None:
    for name in ("collate", "share_of_step"):
        for module in (loop, culprits):
            monkeypatch.setattr(module, name, getattr(module, name))
    poison(how, lambda store, chosen: NAMED in chosen)
    settings = {**SHORT, "optim": {**SHORT["optim"], "skip_nonfinite": True}, "log": {**SHORT["log"], "every": 1}}
    run(tmp_path / "one", settings, **TEST)
    must_train(2, tmp_path / "two", settings, **TEST)
    one, two = (skipped(tmp_path / name) for name in ("one", "two"))
    assert all(f"comparisons: {NAMED} (" in cause for entry in one for (cause,) in [entry["causes"]]) and one
    assert any(cause.startswith("process 1, ") for entry in two for cause in entry["causes"])
    trained = {line["step"] for line in lines(tmp_path / "two", "train")}
    assert trained == set(range(1, 9)) - {entry["step"] for entry in two}
    for path in (tmp_path / "two").rglob("*.json"):  # who ran it is the one thing that may differ
        path.write_text(path.read_text().replace("process 1, micro-batch", "process 0, micro-batch"))
    assert skipped(tmp_path / "two") == one
    assert alike(tmp_path / "one") == alike(tmp_path / "two")


def skipped(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["skipped_steps"]
    return found
