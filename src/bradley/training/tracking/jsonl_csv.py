"""Write the figures of a run folder: JSON lines, and a table with the column names of older systems."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...common import disk
from ...common.files import disk_errors
from ...common.trees import sync
from ...errors import CheckpointError
from ..metrics import Event


class JsonLines:
    """File with a JSON object per line, written at once: a plot of a running run needs every line.

    Args:
        path: of the file.
        kinds: kinds of events to write; an event without kind is always written.
        keep: bytes of an existing file to continue after; None: a new file.
    """

    def __init__(self, path: Path, kinds: Sequence[str] = (), keep: int | None = None) -> None:
        self._file, self._kinds = AppendFile(path, keep), kinds

    def event(self, event: Event) -> None:
        """Append an event.

        Raises:
            DiskError: the line could not be written; training must not continue unlogged.
        """
        if event.get("kind") in (*self._kinds, None):
            self._file.write(json.dumps(event) + "\n")

    def sync(self) -> int:
        """Bring every line to the disk, and return the size of the file in bytes."""
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
"""Columns of `metrics.csv`, and the event's key for each; `{set}` is the event's own set."""


class CsvTable:
    """`metrics.csv`: a row per train line and per evaluated set, blank for missing values.

    The columns are known before the first event. Numbers are written in full, and each row is written at once. Rows of
    evaluations have the set's name in `set`; rows with `valid` are the rows of the older systems.

    Args:
        path: of the file.
        keep: bytes of an existing file to continue after; None: a new file.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self._file = AppendFile(path, keep)
        if keep is None:
            # A resumed table has its header already.
            self._append(list(COLUMNS))

    def event(self, event: Event) -> None:
        """Append a row.

        Raises:
            DiskError: the row could not be written.
        """
        if event["kind"] in ("train", "eval"):
            self._append([_cell(event.get(key.format(set=event.get("set")))) for key in COLUMNS.values()])

    def sync(self) -> int:
        """Bring every row to the disk, and return the size of the file in bytes."""
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
    """Text file that only grows. The system holds a text after `write`; the disk holds the text after `sync`.

    Args:
        path: of the file.
        keep: bytes of an existing file to continue after, with the rest cut off; None: a new file.

    Raises:
        DiskError: the file cannot be opened, or a new file exists already.
        CheckpointError: the file is shorter than `keep`.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self.path = path
        with disk_errors(path):
            self._handle = disk.create(path) if keep is None else disk.reopen(path)
            if keep is not None:
                self._cut(keep)
            # Syncing a file does not sync the file's name. Without the folder's sync, a power cut loses both.
            sync(path.parent)

    def _cut(self, keep: int) -> None:
        # Lines after the checkpoint belong to steps about to be repeated. Kept lines would appear twice after a resume.
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
            DiskError: the text could not be written.
        """
        with disk_errors(self.path):
            before = os.fstat(self._handle).st_size
            try:
                self._append(memoryview(text.encode("utf-8")))
            except OSError:
                # A full disk may take half of a line, and half a line is no JSON. The first error is the one to report.
                with contextlib.suppress(OSError):
                    disk.cut(self._handle, before)
                raise

    def _append(self, data: memoryview) -> None:
        # The system may take fewer bytes than given, for example just before a disk is full.
        while data:
            data = data[disk.write(self._handle, data) :]

    def sync(self) -> int:
        """Bring all text to the disk, and return the size in bytes, a valid `keep`.

        Raises:
            DiskError: the disk refuses.
        """
        with disk_errors(self.path):
            disk.sync(self._handle)
            return os.fstat(self._handle).st_size

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
