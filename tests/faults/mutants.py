"""Programs that are wrong in one way each: a bench that lets one of them pass proves nothing."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bradley.common import disk, files, trees
from bradley.common.signals import StopRequested
from bradley.errors import Preempted
from bradley.runs.shapes import FileEntry
from bradley.training.checkpoints import store
from bradley.training.checkpoints.store import Checkpoints
from bradley.training.saver import Saver
from bradley.training.tracking import jsonl_csv
from bradley.training.tracking.jsonl_csv import JsonLines


def no_sync() -> None:
    """Nothing is ever synced."""
    disk.sync = lambda handle: None


def no_folder_sync() -> None:
    """Content is synced, names are not."""
    real = files.sync
    for module in (files, trees, jsonl_csv):
        module.sync = lambda path: None if path.is_dir() else real(path)


def no_hashes() -> None:
    """A manifest is read, and the files that it names are believed; nothing is synced either."""

    def believe(folder: Path, step: int) -> dict[str, Any]:
        return dict(json.loads((folder / "manifest.json").read_text()))

    store.verify = believe
    no_sync()


def in_place() -> None:
    """A checkpoint is written under its own name, and the one with the highest number is taken."""

    def begin(folder: Path, *marks: Any) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        files.make_folder(folder)
        return folder

    def newest(self: Checkpoints) -> Any:
        steps = self._steps()
        if not steps:
            return None
        folder = self.path(steps[-1])
        self.index = (
            json.loads((self.folder / "index.json").read_text()) if (self.folder / "index.json").exists() else {}
        )
        return store.Found(steps[-1], folder, {})

    store.begin_folder = begin
    store.commit_folder = lambda draft, folder, *marks: None
    Checkpoints.newest = newest  # type: ignore[method-assign]


def rotate_first() -> None:
    """Room is made before the new checkpoint is there."""
    begin = Checkpoints.begin

    def early(self: Checkpoints, step: int, *given: Any, **named: Any) -> Path:
        best = self.index.get("best", {}).get("step")
        for old in self._steps():
            if old != best or named["best"]:
                files.remove_folder(self.path(old), store.OURS)
        return begin(self, step, *given, **named)

    Checkpoints.begin = early  # type: ignore[method-assign]


def metrics_late() -> None:
    """The metrics that a checkpoint counts on are not synced before it."""

    def late(self: JsonLines) -> FileEntry:
        return {"sha256": self._file._digest.hexdigest(), "bytes": self._file._size}

    JsonLines.sync = late  # type: ignore[method-assign]


def unsaved_when_asked() -> None:
    """A request to stop ends the run as it is on the disk."""

    @contextlib.contextmanager
    def ending(self: Saver) -> Iterator[None]:
        try:
            yield
        except StopRequested as asked:
            raise Preempted(f"stopped by {asked}", "") from asked

    Saver.saving_when_asked = ending  # type: ignore[method-assign]


def no_recovery() -> None:
    """A folder that was being replaced stays under its old name."""
    files.recover = lambda folder, marks: None
    store.recover = lambda folder, marks: None


KILLED: dict[str, Callable[[], None]] = {"written in place": in_place, "rotation before the save": rotate_first}
"""Mutants that a kill shows."""
CUT_OFF: dict[str, Callable[[], None]] = {
    **KILLED,
    "no fsync": no_sync,
    "no fsync, no hashes": no_hashes,
    "no fsync of folders": no_folder_sync,
    "metrics synced late": metrics_late,
}
"""Mutants that a power cut shows."""
