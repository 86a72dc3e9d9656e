"""Whole runs in shards whose saves are cut off, fail in one process, or are damaged afterwards."""

import errno
import itertools
import json
import os
import signal
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from torch.distributed.checkpoint.filesystem import FileSystem

from tests.training.distributed.runs import SHORT, lines, must_train, stop_after, train_together
from tests.training.interrupted import TIMES, fingerprint, run

SETTINGS: dict[str, Any] = {**SHORT, "parallel": {"mode": "shard_all"}, "eval": {"every": 2, "train_probe": 8}}
"""Eight steps, saved at 0, where the optimizer has no tensors yet, 2, 4, 6 and 8, by two processes."""
NAMES = [f"shard-{rank:05}-model-00001-of-00001.safetensors" for rank in (1, 2)]
OTHER = {*TIMES, *NAMES, "environment.json", "config.json", "rank-1.log"}
FROM_THIRD = range(2, 100)


@pytest.fixture(autouse=True, scope="module")
def quick(tmp_path_factory):
    """One cache of tokens for all runs, no pages, and what a run imports is imported before any process is forked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRADLEY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        run(tmp_path_factory.mktemp("first") / "run", {**SHORT, "train": {**SHORT["train"], "max_steps": 1}})
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, quick) -> Path:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    must_train(2, folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def whole(uninterrupted: Path) -> dict[str, Any]:
    """What it leaves."""
    return left(uninterrupted)


def left(folder: Path) -> dict[str, Any]:
    """What a run leaves that is the same however it was interrupted; of shards the numbers and where they belong.

    The entries of a header that safetensors writes are in no fixed order.
    """
    last = folder / "checkpoints" / "step-000008" / "training" / "optimizer"
    files = {name: sha for name, sha in fingerprint(folder, OTHER).items() if "/.bad-" not in name}
    return {**files, **{path.name: content(path) for path in sorted(last.iterdir())}}


def content(path: Path) -> dict[str, Any]:
    """The header and the numbers of a file."""
    with safe_open(path, "np") as file:
        numbers = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors = {name: (str(found.dtype), found.shape, found.tobytes()) for name, found in numbers.items()}
        return {**tensors, **file.metadata()}


def goes_on(folder: Path, whole: dict[str, Any]) -> None:
    """The run in a folder ends by itself as if nothing had happened, and leaves nothing half done."""
    must_train(2, folder, SETTINGS)
    assert left(folder) == whole
    assert not list(folder.rglob(".tmp-*"))


def failing(rank: int, saves: Container[int], act: Callable[[], object]) -> Callable[[int], None]:
    """One process does something half-way through its shards, in the saves of these numbers of those with tensors."""

    def before(own: int) -> None:
        number, create = itertools.count(), FileSystem.create_stream

        def cut(self: FileSystem, path: Path, mode: str) -> Any:
            if next(number) in saves:
                Path(path).write_bytes(b"half")
                act()
            return create(self, path, mode)

        if own == rank:
            FileSystem.create_stream = cut

    return before


def failure(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes_from_what_each_process_wrote(tmp_path, whole) -> None:
    results = train_together(2, tmp_path / "run", SETTINGS, stop_after(3))
    assert [result.code for result in results] == [75, 75], results
    newest = tmp_path / "run" / "checkpoints" / "step-000003"
    assert sorted(path.name for path in (newest / "training").iterdir()) == ["eval", "optimizer", "state.json"]
    assert sorted(path.name for path in (newest / "training" / "optimizer").iterdir()) == NAMES
    files = json.loads((newest / "manifest.json").read_text())["files"]
    assert {f"training/optimizer/{name}" for name in NAMES} <= files.keys()
    goes_on(tmp_path / "run", whole)


ALONE = (1, {})
SHARDS = (3, {"mode": "shard_all"})
HYBRID = (4, {"mode": "hybrid", "processes_per_copy": 2})


@pytest.mark.parametrize(
    "modes",
    [(ALONE, HYBRID), pytest.param((ALONE, SHARDS, HYBRID), marks=pytest.mark.nightly)],
    ids=["at once", "over shards"],
)
def test_copies_go_on_as_shards_and_those_as_copies_of_shards(tmp_path, uninterrupted, modes) -> None:
    for place, (size, parallel) in enumerate(modes):
        last = place == len(modes) - 1
        stop = (lambda rank: None) if last else stop_after(3 * (place + 1))
        results = train_together(size, tmp_path / "run", {**SETTINGS, "parallel": parallel}, stop)
        assert [result.code for result in results] == [0 if last else 75] * size, results
    for name in ("model.safetensors", "training/optimizer.safetensors"):
        assert (tmp_path / "run" / "checkpoints" / "step-000008" / name).exists() == name.startswith("model")
    for expected, found in zip(lines(uninterrupted, "train"), lines(tmp_path / "run", "train"), strict=True):
        assert found["train/rm/loss"] == pytest.approx(expected["train/rm/loss"], rel=1e-5)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.nightly), 1])
def test_a_full_disk_of_any_process_ends_all_with_code_7_and_room_lets_them_go_on(tmp_path, whole, rank: int) -> None:
    results = train_together(2, tmp_path / "run", SETTINGS, failing(rank, FROM_THIRD, full))
    assert [result.code for result in results] == [7, 7], results
    assert "the checkpoint of step 6 does not fit on the disk" in results[0].error
    assert checkpoints(tmp_path / "run") == [4]  # the older one had to go, and it did not help
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["code"], status["fix"]) == (7, "free some space, then go on with --resume"), status
    goes_on(tmp_path / "run", whole)


@pytest.mark.nightly  # by day the test above makes a second attempt, for which the older checkpoint had to go
@pytest.mark.parametrize("rank", [0, 1])
def test_a_save_that_does_not_fit_at_first_is_tried_again_by_all(tmp_path, whole, rank: int) -> None:
    said = tmp_path / "said"

    def once() -> None:
        said.touch()
        full()

    results = train_together(2, tmp_path / "run", SETTINGS, failing(rank, [2], once))
    assert [result.code for result in results] == [0, 0], results
    assert said.exists() and left(tmp_path / "run") == whole


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param(
            OSError(errno.EIO, "Input/output error"), 7, "could not be written: Input/output error",
            marks=pytest.mark.nightly,
        ),
        pytest.param(ValueError("seven"), 1, "ValueError: seven", marks=pytest.mark.nightly),
    ],
    ids=["disk", "bug"],
)  # fmt: skip
def test_another_failure_of_one_process_ends_all_and_removes_no_checkpoint(tmp_path, whole, error, code, said) -> None:
    results = train_together(2, tmp_path / "run", SETTINGS, failing(1, FROM_THIRD, failure(error)))
    assert [result.code for result in results] == [code] * 2, results
    assert results[0].error.startswith("process 1 of 2: ") and results[0].error.endswith(said)
    assert checkpoints(tmp_path / "run") == [2, 4] and not list((tmp_path / "run" / "checkpoints").glob(".*"))
    goes_on(tmp_path / "run", whole)


@pytest.mark.nightly  # by day test_lost.py kills a process, and the tests above cut the save of one off
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_while_it_writes_leaves_whole_checkpoints(tmp_path, whole, rank: int) -> None:
    kill = failing(rank, FROM_THIRD, lambda: os.kill(os.getpid(), signal.SIGKILL))
    results = train_together(2, tmp_path / "run", SETTINGS, kill)
    assert [result.code for result in results] == [-signal.SIGKILL if own == rank else 8 for own in (0, 1)], results
    assert checkpoints(tmp_path / "run") == [2, 4]
    goes_on(tmp_path / "run", whole)


@pytest.mark.parametrize(
    "harm", ["flip", *(pytest.param(n, marks=pytest.mark.nightly) for n in ("delete", "cut", "swap"))]
)
def test_a_damaged_shard_is_found_and_the_checkpoint_before_is_taken(tmp_path, whole, harm: str, capfd) -> None:
    train_together(2, tmp_path / "run", SETTINGS, stop_after(5))
    place = tmp_path / "run" / "checkpoints" / "step-000005" / "training" / "optimizer"
    first, second = sorted(place.iterdir())
    content = bytearray(second.read_bytes())
    if harm == "delete":
        second.unlink()
    elif harm == "swap":
        second.write_bytes(first.read_bytes())
    elif harm == "cut":
        second.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        second.write_bytes(content)
    goes_on(tmp_path / "run", whole)
    starts = json.loads((tmp_path / "run" / "run.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 4]
    assert (tmp_path / "run" / "checkpoints" / ".bad-step-000005").is_dir()
    said = capfd.readouterr().err
    assert f"{second}: expected sha256 " in said and ("no such file" in said) == (harm == "delete")


def test_a_process_that_does_not_see_the_run_folder_ends_all_before_the_first_step(tmp_path, monkeypatch) -> None:
    """As on two machines without a disk in common: the same path leads elsewhere."""
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
    results = train_together(2, Path("run"), SETTINGS, lambda rank: os.chdir(homes[rank]))
    assert [result.code for result in results] == [2, 2], results
    assert all("process 1 of 2 does not see the run folder run" in result.error for result in results)
    assert not (homes[1] / "run").exists() and not list((homes[0] / "run").glob(".tmp-*"))
    assert checkpoints(homes[0] / "run") == []


def test_copies_of_the_model_need_no_folder_in_common(tmp_path) -> None:
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
    must_train(2, Path("run"), {**SETTINGS, "parallel": {}}, before=lambda rank: os.chdir(homes[rank]))
    assert checkpoints(homes[0] / "run")[-1] == 8 and not (homes[1] / "run" / "checkpoints").exists()
