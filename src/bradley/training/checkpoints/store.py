"""Checkpoints of a run: whole folders with hashes of all files, and a small index of the best and the last checkpoint.

A checkpoint is a model folder with two additions: the training state in `training/`, and `manifest.json`. A checkpoint
exists from the rename of the finished draft; older checkpoints are removed only afterwards. Hence at every instant
after the first save, a whole checkpoint is on disk.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...common.console import to_stderr
from ...common.files import (
    OLD,
    begin_folder,
    commit_folder,
    discard_folder,
    disk_errors,
    make_folder,
    recover,
    remove_folder,
    replace_folder,
    set_aside,
    write_text,
)
from ...common.files import sweep as sweep_below
from ...common.lock import FolderLock
from ...common.ownership import is_ours
from ...common.signatures import unlike_saved
from ...common.space import NO_INODES, free_bytes, out_of_inodes
from ...common.text import and_more
from ...common.trees import copy_folder
from ...data.render import Renderer
from ...errors import CheckpointError, DiskFullError
from ...model.folder.card import MODEL_MARK
from ...model.folder.save_load import write_model
from ...model.reward import ScoreModel
from ...runs.checkpoints import BAD, leftovers, steps_in
from ...runs.layout import CHECKPOINT_MARK, INDEX, MANIFEST, RUN_MARKS, STATE, step_folder
from ...runs.manifest import DamagedError, added, read_manifest, size_of, verify, write_manifest
from .identity import Provenance

OURS = (CHECKPOINT_MARK, MODEL_MARK)
"""Files by which a folder is known as a checkpoint or model of a run."""


class Found(NamedTuple):
    """Whole checkpoint: every file was hashed again and matches the manifest."""

    step: int
    folder: Path
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """Unfinished checkpoint.

    Attributes:
        step: optimizer steps taken.
        folder: draft folder, renamed when complete.
        facts: figures of the evaluation at this step.
        index: next content of the index, with this checkpoint.
        digests: SHA-256 of the weight files by name.
    """

    step: int
    folder: Path
    facts: dict[str, Any]
    index: dict[str, dict[str, Any]]
    digests: dict[str, str]


class Checkpoints:
    """Folder `checkpoints/` of a run: `step-NNNNNN/` for some steps, and `index.json`.

    Index and manifests hold step numbers, not paths: a moved run folder can be resumed.

    Args:
        folder: the folder, existing or not.
        provenance: recorded in the card of every model of the run.
        keep: number of newest checkpoints to keep, each together with the best checkpoint named in the manifest.
        say: prints a line about every unusable checkpoint, with the reason.
        lock: of the run folder, checked before each save.

    Attributes:
        index: `last` and `best`, each with a step and the facts of the evaluation at this step.
        draft: the unfinished checkpoint; None between saves.
    """

    def __init__(
        self,
        folder: Path,
        provenance: Provenance | None = None,
        keep: int = 2,
        say: Callable[[str], None] = to_stderr,
        lock: FolderLock | None = None,
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
            step: optimizer steps taken.
            model: model to save.
            renderer: the tokenizer and chat template of the model.
            facts: figures of the evaluation at this step, as plain JSON values.
            best: True if this checkpoint is the best so far; the first checkpoint always is.
            weights: for a sharded model, full weights as for `write_model`; the card then has no sample of scores.

        Returns:
            The empty folder `training/` of the draft, for the training state.

        Raises:
            DiskError: the model cannot be written; nothing is left of the draft.
            RunFolderError: another process has taken over the run folder.
        """
        # A process paused for minutes may have lost the folder, and would write over the checkpoints of the new owner.
        if self.lock is not None:
            self.lock.check()
        last = {"step": step, **facts}
        index = {"last": last, "best": last if best else self.index.get("best", last)}
        known, sample = self.provenance
        folder, digests = begin_folder(self.path(step), OURS), dict[str, str]()
        self.draft = Draft(step, folder, facts, index, digests)
        try:
            with disk_errors(self.path(step)):
                # Scoring a sharded model needs every process, and only the main process runs this.
                scored = sample if weights is None else ()
                card = {"step": step, "evaluation": facts, **known}
                digests.update(write_model(folder, model, renderer, card, scored, weights))
                make_folder(folder / STATE)
        except BaseException:
            self.discard()
            raise
        return folder / STATE

    def commit(self) -> None:
        """Turn the draft into the last checkpoint of the index.

        Raises:
            DiskError: the draft cannot be completed. Earlier checkpoints are whole, and the draft is still on disk.
        """
        draft = self.draft
        assert draft is not None
        # The manifest comes last: after a crash at any earlier point, the folder is no checkpoint.
        with disk_errors(self.path(draft.step)):
            write_manifest(draft.folder, draft.step, draft.index["best"]["step"], draft.facts, draft.digests)
        self._bytes = max(self._bytes, bytes_in(draft.folder))
        commit_folder(draft.folder, self.path(draft.step), OURS)
        # The index follows the rename: a crash in between is harmless, because `newest` rebuilds it from the manifests.
        self.draft, self.index = None, draft.index
        self._write_index()

    def rotate(self) -> None:
        """Remove every checkpoint but the newest `keep`, and the best checkpoint named by each of these."""
        self._rotate(self.keep)

    def discard(self) -> None:
        """Remove the draft, if any."""
        if self.draft is not None:
            self._bytes = max(self._bytes, bytes_in(self.draft.folder))
            discard_folder(self.draft.folder)
            self.draft = None

    def make_room(self) -> bool:
        """Remove every checkpoint but the newest and the best named there; return True if any was removed."""
        return self._rotate(1)

    def refuse_size(self, step: int) -> None:
        """Raise `DiskFullError` for a checkpoint larger than the free space of the disk.

        Args:
            step: step of the checkpoint, for the message.
        """
        what = f"the checkpoint of step {step} does not fit on the disk of {self.folder}"
        if out_of_inodes(self.folder):
            raise DiskFullError(
                f"{what}: {NO_INODES}; those before it are whole",
                "remove files from that disk, then go on with --resume",
            )
        raise DiskFullError(
            f"{what}: it needs {self._bytes:,} bytes or more, and {free_bytes(self.folder):,} are free; those before "
            "it are whole",
            "free some space, then go on with --resume",
        )

    def _write_index(self) -> None:
        path, text = self.folder / INDEX, json.dumps(self.index, indent=2) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            write_text(path, text)

    def _rotate(self, keep: int) -> bool:
        """Remove old checkpoints as `rotate` does, for any `keep`; return True if any was removed."""
        # Each kept checkpoint needs the best one named there: if the newest is damaged, the one before takes over.
        steps = self._steps()
        newest = steps[-keep:]
        old = set(steps) - {*newest, *map(self._best_of, newest)}
        # A folder that somebody else has put here under such a name is left alone; of a link, the link alone goes.
        old = {step for step in old if self.path(step).is_symlink() or is_ours(self.path(step), OURS)}
        for step in sorted(old):
            if names := added(self.path(step)):
                self._keep_aside(self.path(step), names)
            else:
                remove_folder(self.path(step), OURS)
        return bool(old)

    def _best_of(self, step: int) -> int:
        try:
            return int(read_manifest(self.path(step))["best"])
        # No run will resume from a damaged checkpoint, hence nothing else is kept because of it.
        except DamagedError:
            return step

    def _steps(self) -> list[int]:
        return steps_in(self.folder)

    def path(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.folder / step_folder(step)

    def newest(self) -> Found | None:
        """Find the newest whole checkpoint whose best checkpoint is whole, too; None if no checkpoint was ever written.

        Every file is read and hashed. Steps give the order; clocks and file times mean nothing. A damaged checkpoint is
        reported and renamed to `.bad-step-NNNNNN`. The index is rebuilt from the manifests.

        Raises:
            CheckpointError: checkpoints were written, and no checkpoint is whole together with the best checkpoint
                named there; or a later bradley wrote the checkpoints.
            DiskError: a checkpoint may not be read or renamed.
        """
        # A crash between the two renames of a replacement leaves a whole checkpoint under the `.old-` name.
        for old in sorted(self.folder.glob(f"{OLD}step-*")):
            recover(self.path(int(old.name.rpartition("-")[2])), OURS)
        without_best: list[tuple[int, DamagedError]] = []
        for step in reversed(self._steps()):
            try:
                manifest = verify(self.path(step), step)
            except DamagedError as error:
                self._set_aside(step, error)
                continue
            try:
                best = manifest if manifest["best"] == step else verify(self.path(manifest["best"]), manifest["best"])
            # Set aside only once another checkpoint is usable: otherwise its weights are all that is left of the run.
            except DamagedError as error:
                without_best.append((step, error))
                continue
            for newer, fault in without_best:
                self._set_aside(newer, fault)
            return self._taken(manifest, best)
        # Damaged checkpoints are no reason to begin again at step 0: a person has to decide.
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
        # A crash may have cut short the rotation of the last save.
        self._rotate(self.keep)
        return Found(manifest["step"], self.path(manifest["step"]), manifest)

    def _set_aside(self, step: int, error: DamagedError) -> None:
        # Renamed, not removed: a person may put back the damaged file, or use the files that are whole.
        place = set_aside(self.path(step), f"{BAD}{step_folder(step)}")
        self.say(f"the checkpoint of step {step} is not used and is now called {place.name}: {error.message}")

    def sweep(self) -> None:
        """Remove half-written and half-removed files of a killed process; the caller must hold the lock of the run."""
        sweep_below(self.folder, OURS)

    def publish(self, folder: Path) -> Path:
        """Copy the model of the best checkpoint to `folder`, with hard links for weights if the disk supports them.

        In a recorded run, an existing `folder` without a card of ours, or with files that bradley did not write, is
        renamed, and not removed.

        Raises:
            CheckpointError: a file of the best checkpoint has changed since the save.
            RunFolderError: `folder` holds files and no card of ours, and no run is recorded around.
            DiskError: the copy cannot be written.
        """
        # Hashed again: the best checkpoint may be hours old, and users of `model/` never see the manifest.
        step = self.index["best"]["step"]
        verify(self.path(step), step)
        self._make_way(folder)
        replace_folder(folder, lambda target: copy_folder(self.path(step), target, (STATE, MANIFEST)), OURS)
        return folder

    def _keep_aside(self, folder: Path, names: Sequence[str]) -> None:
        # A person may have put notes or exports inside, or edited a file: removed, the work would be lost.
        place = set_aside(folder, f"{BAD}{folder.name}")
        self.say(f"{folder} holds what bradley did not write ({and_more(names, 3)}), and is now called {place.name}")

    def _make_way(self, folder: Path) -> None:
        if folder.is_symlink() or not folder.exists() or not is_ours(folder.parent, RUN_MARKS):
            return
        if is_ours(folder, OURS):
            if names := unlike_saved(folder):
                self._keep_aside(folder, names)
            return
        # Renamed, not removed: without a card, nobody can tell the run's own damaged model from files of somebody else.
        # Left in place, the folder would end every resume here.
        if folder.is_file() or any(folder.iterdir()):
            place = set_aside(folder, f"{BAD}{folder.name}")
            self.say(f"{folder} holds no usable {MODEL_MARK.name}, is not used, and is now called {place.name}")


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _entry(manifest: dict[str, Any]) -> dict[str, Any]:
    return {"step": manifest["step"], **manifest["facts"]}
