"""Whole runs by several processes against the run of one: the same bytes, or the same but for rounding."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bradley.cli.main import complain
from bradley.common import signals
from bradley.errors import RankError, UserError
from tests.faults.results import record
from tests.model.adapted import base_model
from tests.training.distributed.runs import (
    FIXED,
    SHORT,
    TEST,
    TRAIN,
    alike,
    lines,
    must_train,
    stop_after,
    train_together,
)
from tests.training.interrupted import SETTINGS, rows, run

POISONED = 7
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory, quick) -> Path:
    """The run of `FIXED` by one process."""
    folder = tmp_path_factory.mktemp("fixed") / "one"
    run(folder, FIXED, **TEST)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_model(tmp_path_factory.mktemp("base") / "gpt2", SETTINGS["model"]["config"])


def with_adapter(base: Path) -> dict[str, Any]:
    """Settings that train an adapter, with dropout."""
    return {"model": {"path": str(base), "dropout": True, "adapter": {"kind": "lora", "rank": 4, "dropout": 0.1}}}


def scores(folder: Path, name: str) -> np.ndarray:
    found = [json.loads(line)["scores"] for line in (folder / "eval" / name).read_text().splitlines()]
    return np.array([score for row in found for score in row])


@pytest.mark.parametrize("kind", ["full", pytest.param("lora", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("size", [2, *(pytest.param(size, marks=pytest.mark.nightly) for size in (3, 4, 8))])
def test_a_canonical_run_gives_the_bytes_of_one_process(tmp_path, base, short, kind: str, size: int) -> None:
    settings = {**SHORT, **with_adapter(base)} if kind == "lora" else SHORT
    single = tmp_path / "one" if kind == "lora" else short
    if kind == "lora":
        run(single, settings, **TEST)
    must_train(size, tmp_path / "many", settings, **TEST)
    one, many = alike(single), alike(tmp_path / "many")
    assert one == many
    assert {"metrics.jsonl", "model/bradley.json", "eval/test-best.jsonl", "eval/valid-last.jsonl"} <= one.keys()
    environments = [json.loads((path / "environment.json").read_text()) for path in (single, tmp_path / "many")]
    assert [each["processes"] for each in environments] == [1, size]


@pytest.mark.nightly  # by day test_ddp_fsdp.py follows single steps, and the run over shards below its evaluations
@pytest.mark.parametrize(
    "parallel",
    [
        {"canonical": "off"},
        {"mode": "shard_optimizer_and_gradients"},
        {"mode": "shard_all"},
        {"mode": "hybrid", "processes_per_copy": 1},
    ],
    ids=lambda settings: settings.get("mode", "ddp"),
)
def test_every_mode_follows_one_process_over_30_steps(tmp_path, fixed, parallel: dict[str, Any]) -> None:
    must_train(2, tmp_path / "many", {**FIXED, "parallel": parallel}, **TEST)
    one, many = lines(fixed, "train"), lines(tmp_path / "many", "train")
    assert len(one) == len(many) == 30
    for expected, found in zip(one, many, strict=True):
        assert found["train/rm/loss"] == pytest.approx(expected["train/rm/loss"], rel=1e-5)
        assert found["train/rm/accuracy"] == expected["train/rm/accuracy"]
    for expected, found in zip(lines(fixed, "eval"), lines(tmp_path / "many", "eval"), strict=True):
        name = expected["set"]
        for figure in ("accuracy", "judgments"):
            assert found[f"eval/{name}/rm/{figure}"] == expected[f"eval/{name}/rm/{figure}"]
        assert found[f"eval/{name}/rm/nll"] == pytest.approx(expected[f"eval/{name}/rm/nll"], rel=1e-5)
    for name in ("valid-best.jsonl", "test-best.jsonl", "valid-step-0.jsonl"):
        expected, found = scores(fixed, name), scores(tmp_path / "many", name)
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    sha = [json.loads((path / "model" / "bradley.json").read_text()) for path in (fixed, tmp_path / "many")]
    assert len(sha[1]["parity"]["rows"]) == len(sha[0]["parity"]["rows"]) > 0


@pytest.mark.nightly
@pytest.mark.parametrize("sizes", [(4, 2, 1), (1, 3, 2), (2, 8)])
def test_a_run_that_changes_its_number_of_processes_ends_with_the_same_bytes_nightly(tmp_path, short, sizes) -> None:
    resumed_over(sizes, short, tmp_path / "many")


def test_a_run_that_changes_its_number_of_processes_ends_with_the_same_bytes(tmp_path, short) -> None:
    resumed_over((2, 1), short, tmp_path / "many")


def resumed_over(sizes: tuple[int, ...], single: Path, folder: Path) -> None:
    """Stop after some steps, and go on by another number of processes."""
    for place, size in enumerate(sizes):
        stop = stop_after(3 * (place + 1)) if place < len(sizes) - 1 else (lambda rank: None)
        results = train_together(size, folder, SHORT, stop, **TEST)
        wanted = 75 if place < len(sizes) - 1 else 0
        assert [result.code for result in results] == [wanted] * size, results
    one, many = alike(single), alike(folder)
    assert one.items() <= many.items()  # which also keeps the checkpoint where it was last stopped
    starts = json.loads((folder / "run.json").read_text())["starts"]
    assert [start["changed"] for start in starts] == [{}] * len(sizes)
    assert [start["step"] for start in starts] == [0, *(3 * (k + 1) for k in range(len(sizes) - 1))]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_two_processes_go_on_from_ten_places_to_the_same_bytes(tmp_path, base, kind: str) -> None:
    settings = {
        **SETTINGS,
        "log": {**SETTINGS["log"], "trackers": ""},
        **(with_adapter(base) if kind == "lora" else {}),
    }
    must_train(2, tmp_path / "whole", settings, **TEST)
    wanted, places = alike(tmp_path / "whole"), [1, 2, 3, 5, 6, 8, 9, 11, 12, 14]
    for step in places:
        folder = tmp_path / f"after-{step}"
        results = train_together(2, folder, settings, stop_after(step), **TEST)
        assert [result.code for result in results] == [75, 75], results
        must_train(2, folder, settings, **TEST)
        assert alike(folder) == wanted, step
    goal = "weights, optimizer and metrics.jsonl equal, byte for byte"
    record("G4", f"two processes, {kind}, dropout on, 3 epochs", goal, f"{len(places)} of {len(places)} places")


SHARDED = [
    (2, "shard_all", "shard_all over 2"),
    (3, "shard_optimizer_and_gradients", "shard_optimizer_and_gradients over 3"),
    (1, "replicate", "canonical, up to 8 parts"),
]
"""Number of processes, mode, and the order of sums in the record."""


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        ("full", [SHARDED[0], SHARDED[2]]),
        pytest.param("full", SHARDED, marks=pytest.mark.nightly),
        pytest.param("lora", SHARDED, marks=pytest.mark.nightly),
    ],
    ids=["full", "full over shards", "lora over shards"],
)
def test_shards_go_on_as_copies_or_shards_of_another_number_and_the_record_says_so(
    tmp_path, base, kind, stages
) -> None:
    adapter = {"path": str(base), "adapter": {"kind": "lora", "rank": 4}}
    settings = {**FIXED, "train": {**TRAIN, "max_steps": 8}, "eval": {"every": 4, "train_probe": 8}}
    settings = {**settings, "model": adapter} if kind == "lora" else settings
    run(tmp_path / "one", settings)
    orders = [order for _, _, order in stages]
    for place, (size, mode, _) in enumerate(stages):
        last = place == len(stages) - 1
        stop = (lambda rank: None) if last else stop_after(3 * (place + 1))
        results = train_together(size, tmp_path / "many", {**settings, "parallel": {"mode": mode}}, stop)
        assert [result.code for result in results] == [0 if last else 75] * size, results
        known = json.loads((tmp_path / "many" / "run.json").read_text())
        assert known["identity"]["sums"]["order"] == orders[place]
        changed = {"sums.order": orders[place - 1 : place + 1]} if place else {}
        assert known["starts"][-1]["changed"] == changed
    for expected, found in zip(lines(tmp_path / "one", "train"), lines(tmp_path / "many", "train"), strict=True):
        assert found["train/rm/loss"] == pytest.approx(expected["train/rm/loss"], rel=1e-5)
    for expected, found in zip(lines(tmp_path / "one", "eval"), lines(tmp_path / "many", "eval"), strict=True):
        name = f"eval/{expected['set']}/rm/nll"
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


WAYS = [{}, *(pytest.param(way, marks=pytest.mark.nightly) for way in ({"canonical": "off"}, {"mode": "shard_all"}))]
"""By day one way to sum: signals and culprits are agreed on before any; test_sharded_saves.py stops shards by day."""


@pytest.mark.parametrize("parallel", WAYS, ids=["canonical", "ddp", "fsdp"])
def test_a_signal_to_one_process_stops_all_with_one_checkpoint_and_code_75(tmp_path, parallel) -> None:
    settings = {**SHORT, "parallel": parallel, "eval": {"every": 50, "train_probe": 8}}
    results = train_together(2, tmp_path / "run", settings, stop_after(3, rank=1))
    assert [result.code for result in results] == [75, 75], results
    assert all("stopped by SIGTERM after step 3 of 8" in result.error for result in results)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert names == ["step-000000", "step-000003"]
    assert json.loads((tmp_path / "run" / "status.json").read_text())["code"] == 75


def test_a_signal_to_one_process_within_an_evaluation_stops_all(tmp_path, short) -> None:
    def before(rank: int) -> None:
        looks = 0
        requested = signals.requested

        def looked() -> str:
            nonlocal looks
            looks += 1
            if looks == 2 and rank == 1:
                os.kill(os.getpid(), signal.SIGUSR1)
            return requested()

        signals.requested = looked

    results = train_together(2, tmp_path / "run", SHORT, before, **TEST)
    assert [result.code for result in results] == [75, 75], results
    must_train(2, tmp_path / "run", SHORT, **TEST)
    assert alike(short) == alike(tmp_path / "run")


def test_a_bit_that_flips_in_one_process_is_named_at_the_next_checkpoint(tmp_path) -> None:
    def before(rank: int) -> None:
        from bradley.training.distributed.strategy import Strategy

        reduce = Strategy.reduce

        def flipping(strategy: Strategy) -> Any:
            if rank == 1:
                strategy.model.network.score.weight.data.view(-1)[0] *= -1
            return reduce(strategy)

        Strategy.reduce = flipping

    results = train_together(2, tmp_path / "run", SHORT, before)
    assert [result.code for result in results] == [5, 5]
    assert "weights of processes 0 and 1 of 2 differ" in results[0].error
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-000000"]


@pytest.mark.nightly  # by day test_sharded_saves.py fills the disk of a process, faults/test_disk_full.py of a run
def test_a_full_disk_of_the_main_process_ends_all_with_code_7_and_nothing_is_committed(tmp_path, short) -> None:
    def before(rank: int) -> None:
        import errno

        from bradley.training.checkpoints import state

        copyfile = shutil.copyfile

        def failing(source: Path, target: Path) -> None:
            if "step-000000" not in str(target):
                raise OSError(errno.ENOSPC, "No space left on device")
            copyfile(source, target)

        state.shutil = SimpleNamespace(copyfile=failing)

    results = train_together(2, tmp_path / "run", SHORT, before, **TEST)
    assert [result.code for result in results] == [7, 7], results
    assert results[1].error.startswith("process 0 of 2: ")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-000000"]
    must_train(2, tmp_path / "run", SHORT, **TEST)
    assert alike(short) == alike(tmp_path / "run")


@pytest.mark.parametrize("what", ["seed", "code", "data"])
def test_a_process_with_other_settings_code_or_data_ends_all_with_code_2(tmp_path, what: str, monkeypatch) -> None:
    def before(rank: int) -> None:
        if rank == 0:
            return
        from bradley.training import run as module

        if what == "seed":
            with_sanity = module.check_same
            module.check_same = lambda group, facts: with_sanity(group, {**facts, "configuration": 1})
        elif what == "code":
            module.code_hash = lambda: "other"
        else:
            from bradley.training import checks

            checks.trained_on = lambda store: "other"

    results = train_together(2, tmp_path / "run", SHORT, before)
    assert [result.code for result in results] == [2, 2], results
    assert "process 1 of 2 has another" in results[0].error
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_other_processes_say_is_in_their_logs(tmp_path) -> None:
    def before(rank: int) -> None:
        from bradley.training.progress import Position

        move = Position.move

        def speaking(place: Position, *args: Any) -> None:
            move(place, *args)
            os.write(1, f"step {place.step}\n".encode())

        if rank:
            Position.move = speaking

    must_train(2, tmp_path / "run", SHORT, before=before)
    assert (tmp_path / "run" / "logs" / "rank-1.log").read_text().splitlines()[-1] == "step 8"
    assert not (tmp_path / "run" / "logs" / "rank-0.log").exists()


@pytest.mark.parametrize("parallel", WAYS, ids=["tree", "ddp", "fsdp"])
def test_a_comparison_that_is_not_finite_stops_all_before_the_update_and_is_named(tmp_path, parallel) -> None:
    def before(rank: int) -> None:
        from dataclasses import replace

        from bradley.training import loop
        from bradley.training.guards import culprits

        collate = loop.collate

        def poisoned(store: Any, chosen: np.ndarray, weights: np.ndarray) -> Any:
            batch = collate(store, chosen, weights)
            if POISONED not in chosen:
                return batch
            return replace(batch, targets=replace(batch.targets, weight=batch.targets.weight * float("nan")))

        loop.collate = culprits.collate = poisoned

    settings = {**SHORT, "parallel": parallel}
    results = train_together(2, tmp_path / "run", settings, before)
    assert [result.code for result in results] == [5, 5], results
    for result in results:
        assert "the optimizer has not moved" in result.error
        _, line = result.error.splitlines()
        assert line.startswith("process ") and "loss nan, " in line and f"comparisons: {POISONED} (" in line
    assert results[0].error == results[1].error
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "diverged"


def test_a_process_that_runs_out_of_memory_ends_all_with_its_error(tmp_path) -> None:
    def before(rank: int) -> None:
        from bradley.training.distributed.strategy import Strategy

        def starved(strategy: Strategy, batch: Any) -> Any:
            raise MemoryError("17 GiB")

        if rank == 1:
            Strategy.forward = starved

    results = train_together(2, tmp_path / "run", SHORT, before)
    assert [result.code for result in results] == [2, 2]
    assert results[0].error.startswith("process 1 of 2: out of memory in micro-batch")


@pytest.mark.nightly
def test_torchrun_starts_a_run_that_speaks_with_one_voice(tmp_path) -> None:
    data = {}
    for name, count in (("train", 40), ("valid", 12)):
        data[name] = tmp_path / f"{name}.jsonl"
        data[name].write_text("".join(json.dumps(row) + "\n" for row in rows(count, name[0])))
    (tmp_path / "config.toml").write_text(
        f'[data]\ntrain = "{data["train"]}"\nvalid = "{data["valid"]}"\n'
        '[model]\ntokenizer = "train"\nvocab_size = 320\n[model.config]\nmodel_type = "llama"\nhidden_size = 32\n'
        "num_hidden_layers = 1\nnum_attention_heads = 2\nintermediate_size = 32\nmax_position_embeddings = 256\n"
        "[render]\nmax_tokens = 128\n[train]\nmax_steps = 2\nbatch_size = 8\n"
    )
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "bradley"]
    command = [*start, "train", str(tmp_path / "config.toml"), "--output", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2


def test_of_several_processes_the_main_one_complains_and_others_only_where_it_is_lost(monkeypatch, capsys) -> None:
    for rank, error, said in [("0", UserError("x"), True), ("1", UserError("x"), False), ("1", RankError("x"), True)]:
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")  # without a size, the environment is broken, and every process speaks
        assert complain(error) == error.exit_code
        assert ("error: x" in capsys.readouterr().err) == said
