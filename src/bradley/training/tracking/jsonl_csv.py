"""The writers of the run folder: JSON lines, and a table with the column names of older systems."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...common import disk
from ...common.files import disk_errors, sync
from ...errors import CheckpointError
from ..metrics import Event


class JsonLines:
    """A file of one JSON object per line, written at once, so that a plot can be made of a run that is under way.

    Args:
        kinds: the kinds of events that it takes; an event without a kind is always taken.
        keep: bytes of an existing file to go on after; None: a new file.
    """

    def __init__(self, path: Path, kinds: Sequence[str] = (), keep: int | None = None) -> None:
        self._file, self._kinds = AppendFile(path, keep), kinds

    def event(self, event: Event) -> None:
        """Append one event.

        Raises:
            DiskError: the line could not be written; training must not go on unlogged.
        """
        if event.get("kind") in (*self._kinds, None):
            self._file.write(json.dumps(event) + "\n")

    def sync(self) -> int:
        """Bring every line to the disk, and say how many bytes there are."""
        return self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


COLUMNS: dict[str, str] = {
    "step": "step",
    "episode": "episode",
    "epoch": "epoch",
    "set": "set",
    "loss": "train/rm/loss",
    "avg_loss": "train_window/rm/loss",
    "acc": "train/rm/accuracy",
    "avg_acc": "train_window/rm/accuracy",
    "grad_norm": "train/rm/grad_norm",
    "lr": "train/rm/lr",
    "train_loss": "train/rm/loss",
    "train_acc": "train/rm/accuracy",
    "train_margin": "train/rm/reward_margin",
    "eval_loss": "eval/{set}/rm/loss",
    "eval_acc": "eval/{set}/rm/accuracy",
    "eval_margin": "eval/{set}/rm/reward_margin",
    "eval_pairs": "eval/{set}/rm/judgments",
    "eval_ece": "eval/{set}/rm/ece",
    "eval_roc_auc": "eval/{set}/rm/auroc",
    "eval_delta_mean": "eval/{set}/rm/reward_margin",
    "eval_delta_std": "eval/{set}/rm/reward_margin_std",
    "eval_delta_p05": "eval/{set}/rm/reward_margin_p05",
    "eval_delta_p50": "eval/{set}/rm/reward_margin_p50",
    "eval_delta_p95": "eval/{set}/rm/reward_margin_p95",
    "eval_delta_neg_rate": "eval/{set}/rm/negative_share",
    "eval_reward_chosen_mean": "eval/{set}/rm/chosen_rewards",
    "eval_reward_chosen_std": "eval/{set}/rm/chosen_rewards_std",
    "eval_reward_rejected_mean": "eval/{set}/rm/rejected_rewards",
    "eval_reward_rejected_std": "eval/{set}/rm/rejected_rewards_std",
    "eval_reward_abs_max": "eval/{set}/rm/max_abs_score",
    "eval_reward_len_corr": "eval/{set}/rm/length_correlation",
    "eval_delta_len_diff_corr": "eval/{set}/rm/margin_length_correlation",
    "eval_len_diff_mean": "eval/{set}/rm/length_difference",
    "eval_len_diff_std": "eval/{set}/rm/length_difference_std",
    "eval_calib_bins_json": "eval/{set}/rm/calibration_bins",
}
"""Every column of `metrics.csv` and the key of the event that it shows; `{set}` is the event's own set."""


class CsvTable:
    """`metrics.csv`: one row per train line and per evaluated set, blank where an event has no value.

    The columns are known before the first event, numbers are written in full, and each row is there at once. Rows
    of evaluations have the set's name in `set`; those with `valid` are what the older systems wrote.

    Args:
        keep: bytes of an existing file to go on after; None: a new file.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self._file = AppendFile(path, keep)
        if keep is None:
            self._append(list(COLUMNS))

    def event(self, event: Event) -> None:
        """Append a row.

        Raises:
            DiskError: it could not be written.
        """
        if event["kind"] in ("train", "eval"):
            self._append([_cell(event.get(key.format(set=event.get("set")))) for key in COLUMNS.values()])

    def sync(self) -> int:
        """Bring every row to the disk, and say how many bytes there are."""
        return self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, cells: list[Any]) -> None:
        row = io.StringIO()
        csv.writer(row, lineterminator="\n").writerow(cells)
        self._file.write(row.getvalue())


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


class AppendFile:
    """Text, piece after piece; what was written is with the system at once, and on disk after `sync`.

    Args:
        keep: bytes of an existing file to go on after, what follows them is cut off; None: a new file.

    Raises:
        DiskError: it cannot be opened; a new file exists already.
        CheckpointError: the file is shorter than `keep`.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self.path = path
        with disk_errors(path):
            self._handle = disk.create(path) if keep is None else disk.reopen(path)
            if keep is not None:
                self._cut(keep)
            sync(path.parent)  # a synced file without a name is lost as well

    def _cut(self, keep: int) -> None:
        size = os.fstat(self._handle).st_size
        if size < keep:
            self.close()
            raise CheckpointError(
                f"{self.path} has {size} bytes, and {keep} at the checkpoint", "put the file of the run back"
            )
        if size > keep:
            disk.cut(self._handle, keep)

    def write(self, text: str) -> None:
        """Append text, whole or not at all.

        Raises:
            DiskError: it could not be written.
        """
        with disk_errors(self.path):
            before = os.fstat(self._handle).st_size
            try:
                self._append(memoryview(text.encode("utf-8")))
            except OSError:
                with contextlib.suppress(OSError):  # what went wrong first is what has to be told
                    disk.cut(self._handle, before)
                raise

    def _append(self, data: memoryview) -> None:
        while data:
            data = data[disk.write(self._handle, data) :]

    def sync(self) -> int:
        """Bring all of it to the disk, and say how many bytes it has: what `keep` may be.

        Raises:
            DiskError: the disk refuses.
        """
        with disk_errors(self.path):
            disk.sync(self._handle)
            return os.fstat(self._handle).st_size

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
