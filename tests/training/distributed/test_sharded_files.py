"""An optimizer's tensors in shards on disk: written by any processes, read by any others, the same bits."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint.hf_storage  # now, or each forked process would import it
from safetensors import safe_open
from safetensors.torch import save_file

from bradley.config import Parallel
from bradley.errors import CheckpointError, DiskError
from bradley.model.folder.safety import check_intruders
from bradley.training.distributed import sharded_files
from bradley.training.distributed.build import BY_ELEMENT
from bradley.training.distributed.fsdp import FSDP
from bradley.training.distributed.full_tensors import full_tensor, load_optimizer, local, optimizer_state
from bradley.training.distributed.process_group import ProcessGroup
from bradley.training.distributed.sharded_files import (
    SHARDS,
    WHOLE,
    check_shards,
    forms_in_shards,
    forms_in_whole,
    read_shards,
)
from bradley.training.distributed.strategy import Strategy
from bradley.training.optim import make_optimizer
from tests.helpers import LLAMA, tiny_model
from tests.training.distributed.processes import together, values
from tests.training.jobs import TOKENIZER, config

OPTIMIZERS: dict[str, dict[str, Any]] = {**{name: {} for name in BY_ELEMENT}, "AdamW": {"amsgrad": True}}
BY_DAY = ("AdamW", "NAdam", "SGD")
"""One with many tensors, one with a single number beside the step, one without any."""
MODES = {
    "one process": (1, Parallel()),
    "two copies": (2, Parallel()),
    "shard_all over 2": (2, Parallel(mode="shard_all")),
    "shard_all over 3": (3, Parallel(mode="shard_all")),
    "shard_optimizer_and_gradients over 3": (3, Parallel(mode="shard_optimizer_and_gradients")),
    "hybrid over 2 times 2": (4, Parallel(mode="hybrid", processes_per_copy=2)),
}
DIRECTIONS = {"two copies": ["shard_all over 2"], "shard_all over 2": ["one process"]}
"""From the mode that writes to those that read by day."""


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What a model needs is imported once, and not in each process."""
    tiny_model(LLAMA, TOKENIZER)


def made(group: ProcessGroup, settings: Parallel, name: str, seed: int = 0) -> tuple[Strategy, torch.optim.Optimizer]:
    """A model in a mode, and its optimizer after two steps along gradients that differ from number to number."""
    model = tiny_model(LLAMA, TOKENIZER, seed)
    in_shards = settings.mode != "replicate" and group.size > 1
    strategy = FSDP(group, model, settings, torch.device("cpu")) if in_shards else Strategy(group, model)
    optimizer = make_optimizer(model, config(optim={"name": name, "options": OPTIMIZERS[name]}).optim)
    for _ in range(2):
        for weight in model.parameters():
            weight.grad = weight.detach() ** 2 + weight.detach()
        optimizer.step()
    return strategy, optimizer


def save(
    group: ProcessGroup, settings: Parallel, folder: Path, name: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Save a state into a folder; what it says of itself, and its tensors in full."""
    strategy, optimizer = made(group, settings, name)
    state, tensors = optimizer_state(strategy.model, optimizer)

    group.on_main(lambda: folder.mkdir(parents=True))
    state.update(json.loads(json.dumps(strategy.save_optimizer(folder, tensors))))
    return state, {place: full_tensor(tensor).clone() for place, tensor in tensors.items()}


def is_read(group: ProcessGroup, settings: Parallel, folder: Path, name: str, saved: Any) -> bool:
    """Whether an optimizer of another beginning takes exactly what was saved, and goes on with it."""
    state, expected = saved
    strategy, optimizer = made(group, settings, name, seed=1)
    forms = state.get("shards", None) or forms_in_whole(folder / WHOLE) if expected else {}
    load_optimizer(
        strategy.model,
        optimizer,
        {**state, "tensors": forms},
        lambda tensors: strategy.load_optimizer(folder, tensors) if tensors else 0,
    )
    again, found = optimizer_state(strategy.model, optimizer)
    pairs = [(full_tensor(tensor), expected[place]) for place, tensor in found.items()]
    same = all(
        one.dtype == other.dtype and one.shape == other.shape and bits(one) == bits(other) for one, other in pairs
    )
    optimizer.step()
    return same and found.keys() == expected.keys() and again["state"] == state["state"]


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


def goes_over(folder: Path, writer: str, readers: Sequence[str], names: Sequence[str]) -> None:
    """The states of some optimizers, written by the processes of one mode, are read by those of others."""
    size, settings = MODES[writer]
    saved = values(size, lambda group: {name: save(group, settings, folder / name, name) for name in names})[0]
    for reader in readers:
        number, other = MODES[reader]

        def wrong(group: ProcessGroup, other: Parallel = other) -> list[str]:
            return [name for name in names if not is_read(group, other, folder / name, name, saved[name])]

        assert values(number, wrong) == [[]] * number, reader


@pytest.mark.parametrize("writer", DIRECTIONS)
def test_what_some_processes_write_others_read_bit_for_bit(tmp_path, writer: str) -> None:
    goes_over(tmp_path, writer, DIRECTIONS[writer], BY_DAY)


@pytest.mark.nightly
@pytest.mark.parametrize("writer", MODES)
def test_what_any_processes_write_any_others_read_bit_for_bit(tmp_path, writer: str) -> None:
    goes_over(tmp_path, writer, list(MODES), list(OPTIMIZERS))


def test_every_process_writes_its_own_shards_and_of_copies_the_first_does(tmp_path) -> None:
    """Empty shards and such of different sizes are among them, and single numbers."""
    for name in ("shard_all over 3", "hybrid over 2 times 2"):
        size, settings = MODES[name]

        def work(
            group: ProcessGroup, settings: Parallel = settings, folder: Path = tmp_path / name
        ) -> dict[str, torch.Tensor]:
            strategy, optimizer = made(group, settings, "AdamW")
            tensors = optimizer_state(strategy.model, optimizer)[1]
            group.on_main(folder.mkdir)
            strategy.save_optimizer(folder, tensors)
            return {place: local(tensor).clone() for place, tensor in tensors.items()}

        kept = values(size, work)
        sizes = {len(each["network.model.embed_tokens.weight/exp_avg"]) for each in kept}
        assert any(not each["network.score.weight/exp_avg"].numel() for each in kept)
        assert len(sizes) == (1 if len(TOKENIZER) % len(kept) == 0 else 2)
        assert kept[0]["network.score.weight/step"].shape == ()
        files = sorted((tmp_path / name / SHARDS).iterdir())
        writers = size // 2 if settings.mode == "hybrid" else size
        assert [path.name for path in files] == [
            f"shard-{rank + 1:05}-model-00001-of-00001.safetensors" for rank in range(writers)
        ]
        for rank, path in enumerate(files):
            with safe_open(path, "pt") as file:
                found = {place: file.get_tensor(place) for place in kept[rank] if place in file.keys()}  # noqa: SIM118
            expected = {p: t for p, t in kept[rank].items() if rank == 0 or not p.endswith("/step")}
            assert found.keys() == expected.keys()
            assert all(bits(found[place]) == bits(tensor) for place, tensor in expected.items())
        check_intruders(tmp_path / name)


def test_a_process_writes_many_small_files_and_not_one_large_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sharded_files, "FILE_BYTES", 4000)
    settings = Parallel(mode="shard_all")
    saved = values(2, lambda group: save(group, settings, tmp_path / "a", "AdamW"))[0]
    files = [path.stat().st_size for path in (tmp_path / "a" / SHARDS).iterdir()]
    largest = max(tensor.nbytes for tensor in saved[1].values()) // 2
    assert len(files) > 10 and max(files) < 4000 + largest + 4000  # and a header
    assert values(3, lambda group: is_read(group, settings, tmp_path / "a", "AdamW", saved)) == [True] * 3


def test_a_reader_opens_what_it_keeps_alone(tmp_path, monkeypatch) -> None:
    settings = Parallel(mode="shard_all")
    saved = values(2, lambda group: save(group, settings, tmp_path / "a", "AdamW"))[0]

    def work(group: ProcessGroup) -> tuple[int, int]:
        from torch.distributed.checkpoint import default_planner

        read = 0
        commit = default_planner.DefaultLoadPlanner.commit_tensor

        def counted(self: Any, item: Any, tensor: torch.Tensor) -> None:
            nonlocal read
            read += tensor.nbytes
            commit(self, item, tensor)

        default_planner.DefaultLoadPlanner.commit_tensor = counted
        assert is_read(group, settings, tmp_path / "a", "AdamW", saved)
        strategy, optimizer = made(group, settings, "AdamW")
        return read, sum(local(tensor).nbytes for tensor in optimizer_state(strategy.model, optimizer)[1].values())

    for read, kept in values(3, work):
        assert read == kept


def shard(folder: Path, name: str, tensor: torch.Tensor, info: Any) -> None:
    """A file as DCP lays it out, with whatever is said to be the place of its tensor."""
    text = info if isinstance(info, str) else json.dumps(info)
    save_file({"w": tensor}, folder / f"{name}.safetensors", metadata={"DCP_SHARDING_INFO": text})


def test_shards_are_one_tensor_and_their_form_is_that_of_the_whole(tmp_path) -> None:
    for rank in (0, 1):
        shard(tmp_path, str(rank), torch.full((2, 3), float(rank)), {"w": {"saved_offsets": [2 * rank, 0]}})
    assert forms_in_shards(tmp_path) == {"w": {"shape": [4, 3], "dtype": "float32"}}
    target = torch.zeros(4, 3)
    read_shards(tmp_path, {"w": target})
    assert target.tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2


@pytest.mark.parametrize(
    "info",
    [
        {"w": {"saved_offsets": [3, 0]}},
        {"w": {"saved_offsets": [1, 0]}},
        {"w": {"saved_offsets": [2]}},
        {"w": {"saved_offsets": ["2", 0]}},
        {"w": {"saved_offsets": None}},
        {"w": {}},
        {"v": {"saved_offsets": [2, 0]}},
        [],
        "not JSON",
        "[" * 100_000,
    ],
    ids=["gap", "overlap", "short", "text", "null", "nothing", "other name", "list", "no JSON", "deep"],
)
def test_shards_that_leave_gaps_or_lie_about_their_place_are_refused(tmp_path, info: Any) -> None:
    shard(tmp_path, "0", torch.zeros(2, 3), {"w": {"saved_offsets": [0, 0]}})
    shard(tmp_path, "1", torch.ones(2, 3), info)
    with pytest.raises(CheckpointError):
        forms_in_shards(tmp_path)


NO_SAFETENSORS = {
    "empty": b"",
    "a header that never ends": b"\xff" * 100,
    "a pickle": pickle.dumps({"w": 1}),
    "a header that is no JSON": b"\x10" + b"\0" * 7 + b"{" * 16,
}


@pytest.mark.parametrize("kind", NO_SAFETENSORS)
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, kind: str) -> None:
    (tmp_path / "0.safetensors").write_bytes(NO_SAFETENSORS[kind])
    with pytest.raises(CheckpointError, match="cannot be read"):
        forms_in_shards(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        forms_in_whole(tmp_path / "0.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_shards(tmp_path, {"w": torch.zeros(2)})


def test_tensors_that_are_not_there_in_full_are_no_save(tmp_path) -> None:
    shard(tmp_path, "0", torch.zeros(2, 3), {"w": {"saved_offsets": [0, 0]}})
    check_shards(tmp_path, {"w": torch.zeros(2, 3)})
    for tensors in ({"w": torch.zeros(4, 3)}, {"w": torch.zeros(2, 3), "v": torch.zeros(1)}, {}):
        with pytest.raises(DiskError, match="not all there"):
            check_shards(tmp_path, tensors)
    shard(tmp_path, "1", torch.zeros(2, 3), {"w": {"saved_offsets": [6, 0]}})
    with pytest.raises(DiskError, match="lacks a part of w"):
        check_shards(tmp_path, {"w": torch.zeros(8, 3)})


def test_processes_that_write_into_different_folders_save_nothing(tmp_path, monkeypatch) -> None:
    """As where a path leads to another disk on another machine."""
    write = sharded_files.write_shards

    def elsewhere(folder: Path, tensors: Any, group: ProcessGroup) -> None:
        other = tmp_path / f"disk-{group.rank}"
        other.mkdir()
        write(folder if group.is_main else other, tensors, group)

    monkeypatch.setattr("bradley.training.distributed.fsdp.write_shards", elsewhere)
    results = together(2, lambda group: save(group, Parallel(mode="shard_all"), tmp_path / "a", "AdamW"))
    assert [result.code for result in results] == [DiskError.exit_code] * 2, results
    assert "not all there" in results[0].error


def test_a_process_that_cannot_read_its_part_ends_all_with_its_error(tmp_path) -> None:
    def work(group: ProcessGroup) -> None:
        strategy, _ = made(group, Parallel(mode="shard_all"), "SGD")
        (tmp_path / str(group.rank)).mkdir()
        if group.is_main:
            save_file({"w": torch.zeros(2)}, tmp_path / "0" / WHOLE)
        strategy.load_optimizer(tmp_path / str(group.rank), {"w": torch.zeros(2)})

    results = together(2, work)
    assert [result.code for result in results] == [CheckpointError.exit_code] * 2, results
    assert results[0].error.startswith("process 1 of 2: ") and "cannot be read" in results[0].error
