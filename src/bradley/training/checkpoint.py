"""Checkpoints: whole model folders, and one small file that says which of them is best and which is last."""

import json
import shutil
from pathlib import Path
from typing import Any

from ..data.render import Renderer
from ..files import copy_folder, replace_folder, write_text
from ..model.reward import ScoreModel
from ..model.store import save_model
from .provenance import Provenance


class Checkpoints:
    """The `checkpoints/` folder of a run: `step-NNNNNN/` for the best and the last step, and `index.json`.

    The index holds step numbers, not paths, so a moved run folder still reads. A folder is removed only after the index
    that no longer names it is on disk.

    Args:
        provenance: what every model of the run says of its origin.
    """

    def __init__(self, folder: Path, provenance: Provenance | None = None) -> None:
        self.folder = folder
        self.provenance = provenance or Provenance({}, [])
        self.index: dict[str, dict[str, Any]] = {}

    def save(self, step: int, model: ScoreModel, renderer: Renderer, facts: dict[str, Any], *, best: bool) -> None:
        """Write the model as the last checkpoint, and as the best one where `best` says so."""
        known, sample = self.provenance
        save_model(self.path(step), model, renderer, {"step": step, "evaluation": facts, **known}, sample)
        self.index["last"] = {"step": step, **facts}
        if best:
            self.index["best"] = {"step": step, **facts}
        write_text(self.folder / "index.json", json.dumps(self.index, indent=2) + "\n")
        named = {self.path(entry["step"]) for entry in self.index.values()}
        for old in set(self.folder.glob("step-*")) - named:
            shutil.rmtree(old)

    def path(self, step: int) -> Path:
        """The folder of one step."""
        return self.folder / f"step-{step:06d}"

    def publish(self, folder: Path) -> Path:
        """Make `folder` the best checkpoint's model (hard links where the disk has them)."""
        replace_folder(folder, lambda target: copy_folder(self.path(self.index["best"]["step"]), target))
        return folder
