"""Checkpoints: whole folders, each with the hashes of its files, and a small index of which is best and which is last.

A checkpoint is a model folder, beside it in `training/` what is needed to go on, and `manifest.json`. It exists from
the rename that gives it its name; older ones go only after that, so at every instant there is a whole one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...common import disk
from ...common.console import to_stderr
from ...common.files import (
    OLD,
    begin_folder,
    commit_folder,
    copy_folder,
    discard_folder,
    disk_errors,
    free_bytes,
    make_folder,
    recover,
    remove_folder,
    replace_folder,
    sync,
    write_text,
)
from ...common.files import sweep as sweep_below
from ...data.render import Renderer
from ...errors import CheckpointError, DiskFullError
from ...model.folder.save_load import write_model
from ...model.reward import ScoreModel
from ...runs.checkpoints import BAD, leftovers, steps_in
from ...runs.layout import INDEX, MANIFEST, STATE, step_folder
from ...runs.lock import RunLock
from ...runs.manifest import DamagedError, read_manifest, size_of, verify, write_manifest
from .identity import Provenance


class Found(NamedTuple):
    """A checkpoint every file of which was read again and is whole."""

    step: int
    folder: Path
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """A checkpoint that is being written.

    Attributes:
        folder: draft folder, renamed when everything is in the folder.
        facts: figures of the evaluation at this step.
        index: the index with this checkpoint.
        digests: SHA-256 of the weight files by name.
    """

    step: int
    folder: Path
    facts: dict[str, Any]
    index: dict[str, dict[str, Any]]
    digests: dict[str, str]


class Checkpoints:
    """The `checkpoints/` folder of a run: `step-NNNNNN/` for some steps, and `index.json`.

    Index and manifests hold step numbers, not paths, so a moved run folder still reads.

    Args:
        provenance: what every model of the run says of its origin.
        keep: so many of the newest are kept, and with each of them the best one that it names.
        say: prints a line for every checkpoint that is not used, with the reason.
        lock: of the run folder, checked before each save.

    Attributes:
        index: `last` and `best`, each a step and the facts of its evaluation.
        draft: the checkpoint that is being written.
    """

    def __init__(
        self,
        folder: Path,
        provenance: Provenance | None = None,
        keep: int = 2,
        say: Callable[[str], None] = to_stderr,
        lock: RunLock | None = None,
    ) -> None:
        self.folder = folder
        self.provenance = provenance or Provenance({}, [])
        self.keep = keep
        self.say = say
        self.lock = lock
        self.draft: Draft | None = None
        self.index: dict[str, dict[str, Any]] = {}
        self._bytes = 0

    def begin(
        self,
        step: int,
        model: ScoreModel,
        renderer: Renderer,
        facts: dict[str, Any],
        *,
        best: bool,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Path:
        """Write the model of a checkpoint into a draft folder; `commit` or `discard` ends the draft.

        Args:
            facts: figures of the evaluation at this step, as plain JSON values.
            best: True if this checkpoint is the best so far; the first one always is.
            weights: as for `write_model`, of a model in shards; the card then has no sample of scores.

        Returns:
            The empty folder `training/` of the draft, for the state of the run.

        Raises:
            DiskError: the model cannot be written; nothing is left of the draft.
            RunFolderError: another process has taken the run folder over.
        """
        if self.lock is not None:
            self.lock.check()
        last = {"step": step, **facts}
        index = {"last": last, "best": last if best else self.index.get("best", last)}
        known, sample = self.provenance
        folder, digests = begin_folder(self.path(step)), dict[str, str]()
        self.draft = Draft(step, folder, facts, index, digests)
        try:
            with disk_errors(self.path(step)):
                scored = sample if weights is None else ()
                card = {"step": step, "evaluation": facts, **known}
                digests.update(write_model(folder, model, renderer, card, scored, weights))
                make_folder(folder / STATE)
        except BaseException:
            self.discard()
            raise
        return folder / STATE

    def commit(self) -> None:
        """Make the draft a checkpoint, the last one of the index.

        Raises:
            DiskError: the draft cannot be completed. Earlier checkpoints are whole, and the draft is still there.
        """
        draft = self.draft
        assert draft is not None
        # The manifest comes last: a folder without one is no checkpoint, however far a crash let the others get.
        with disk_errors(self.path(draft.step)):
            write_manifest(draft.folder, draft.step, draft.index["best"]["step"], draft.facts, draft.digests)
        self._bytes = max(self._bytes, bytes_in(draft.folder))
        commit_folder(draft.folder, self.path(draft.step))
        self.draft, self.index = None, draft.index
        self._write_index()

    def rotate(self) -> None:
        """Remove checkpoints that need not be kept."""
        self._rotate(self.keep)

    def discard(self) -> None:
        """Remove the draft, if there is one."""
        if self.draft is not None:
            self._bytes = max(self._bytes, bytes_in(self.draft.folder))
            discard_folder(self.draft.folder)
            self.draft = None

    def make_room(self) -> bool:
        """Remove every checkpoint but the newest and the best that the newest names; True if one was removed."""
        return self._rotate(1)

    def refuse_size(self, step: int) -> None:
        """Raise `DiskFullError` for a checkpoint that did not fit on the disk."""
        raise DiskFullError(
            f"the checkpoint of step {step} does not fit on the disk of {self.folder}: it needs {self._bytes:,} bytes "
            f"or more, and {free_bytes(self.folder):,} are free; those before it are whole",
            "free some space, then go on with --resume",
        )

    def _write_index(self) -> None:
        path, text = self.folder / INDEX, json.dumps(self.index, indent=2) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            write_text(path, text)

    def _rotate(self, keep: int) -> bool:
        """Remove what is neither of the newest `keep` nor the best of one of them; says whether there was anything."""
        steps = self._steps()
        newest = steps[-keep:]
        old = set(steps) - {*newest, *map(self._best_of, newest)}
        for step in sorted(old):
            remove_folder(self.path(step))
        return bool(old)

    def _best_of(self, step: int) -> int:
        try:
            return int(read_manifest(self.path(step))["best"])
        except DamagedError:  # then nobody will go on from it, and nothing is kept for its sake
            return step

    def _steps(self) -> list[int]:
        return steps_in(self.folder)

    def path(self, step: int) -> Path:
        """The folder of one step."""
        return self.folder / step_folder(step)

    def newest(self) -> Found | None:
        """The newest checkpoint that is whole, as is the best one that it names; None where there never was one.

        The order is that of the steps in the manifests; clocks and times of files mean nothing. Every file is read and
        hashed. A checkpoint that is not whole is said, and set aside under the name `.bad-step-NNNNNN`. The index is
        made anew from the manifests.

        Raises:
            CheckpointError: there were checkpoints, and none is whole, or none of which the best one is too; or a later
                bradley wrote them.
            DiskError: they may not be read, or not be set aside.
        """
        for old in sorted(self.folder.glob(f"{OLD}step-*")):
            recover(self.path(int(old.name.rpartition("-")[2])))
        without_best: list[tuple[int, DamagedError]] = []
        for step in reversed(self._steps()):
            try:
                manifest = verify(self.path(step), step)
            except DamagedError as error:
                self._set_aside(step, error)
                continue
            try:
                best = manifest if manifest["best"] == step else verify(self.path(manifest["best"]), manifest["best"])
            except DamagedError as error:
                without_best.append((step, error))
                continue
            for newer, fault in without_best:
                self._set_aside(newer, fault)
            return self._taken(manifest, best)
        if leftovers(self.folder):
            raise self._none_whole(without_best)
        return None

    def _none_whole(self, without_best: list[tuple[int, DamagedError]]) -> CheckpointError:
        for step, error in without_best:
            return CheckpointError(
                f"{self.path(step)} is whole, and the best checkpoint so far is not: {error.message}",
                f"put that file back, or train anew from these weights: --model.path {self.path(step)}",
            )
        return CheckpointError(
            f"{self.folder} holds no checkpoint that is whole; the damaged ones are called {BAD}step-*",
            "put a whole copy of one there as step-NNNNNN, or start again with another --output",
        )

    def _taken(self, manifest: dict[str, Any], best: dict[str, Any]) -> Found:
        self.index = {"last": _entry(manifest), "best": _entry(best)}
        self._bytes = size_of(manifest)
        self._write_index()
        self._rotate(self.keep)  # which a crash may have cut short
        return Found(manifest["step"], self.path(manifest["step"]), manifest)

    def _set_aside(self, step: int, error: DamagedError) -> None:
        with disk_errors(self.folder):
            place = self.folder / f"{BAD}{self.path(step).name}"
            number = 1
            while place.exists():
                number += 1
                place = self.folder / f"{BAD}{self.path(step).name}-{number}"
            disk.rename(self.path(step), place)
            sync(self.folder)
        self.say(f"the checkpoint of step {step} is not used and is now called {place.name}: {error.message}")

    def sweep(self) -> None:
        """Remove what a killed process left half-written or half-removed; the caller holds the lock of the run."""
        sweep_below(self.folder)

    def publish(self, folder: Path) -> Path:
        """Make `folder` the best checkpoint's model (hard links where the disk has them).

        Raises:
            CheckpointError: the best checkpoint is no longer what was written.
        """
        step = self.index["best"]["step"]
        verify(self.path(step), step)
        replace_folder(folder, lambda target: copy_folder(self.path(step), target, (STATE, MANIFEST)))
        return folder


def bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _entry(manifest: dict[str, Any]) -> dict[str, Any]:
    return {"step": manifest["step"], **manifest["facts"]}
