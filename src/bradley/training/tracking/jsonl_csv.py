"""Write the figures of a run folder: JSON lines, and a table with the column names of older systems."""

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...common import disk
from ...common.files import disk_errors
from ...common.ownership import refuse_link
from ...common.trees import sync
from ...errors import CheckpointError
from ...runs.shapes import FileEntry
from ..metrics import Event

Kept = FileEntry | int
"""Beginning of a file known to a checkpoint: size and SHA-256, or only the size in checkpoints of earlier versions."""
BLOCK = 2**20
"""Bytes read at a time: the lines of a long run may need more memory than is free."""
PUT_BACK = (
    "put the file of the run back, or begin anew with another --output; with --model.path "
    "RUN/checkpoints/step-NNNNNN the new run begins with these weights"
)


class JsonLines:
    """File with a JSON object per line, written at once: a plot of a running run needs every line.

    Args:
        path: of the file.
        kinds: kinds of events to write; an event without kind is always written.
        keep: beginning of an existing file to continue after; None: a new file.
    """

    def __init__(self, path: Path, kinds: Sequence[str] = (), keep: Kept | None = None) -> None:
        self._file, self._kinds = AppendFile(path, keep), kinds

    def event(self, event: Event) -> None:
        """Append an event.

        Raises:
            DiskError: the line could not be written; training must not continue unlogged.
        """
        if event.get("kind") in (*self._kinds, None):
            self._file.write(json.dumps(event) + "\n")

    def sync(self) -> FileEntry:
        """Bring every line to the disk, and return size and SHA-256 of the file."""
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
        keep: beginning of an existing file to continue after; None: a new file.
    """

    def __init__(self, path: Path, keep: Kept | None = None) -> None:
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

    def sync(self) -> FileEntry:
        """Bring every row to the disk, and return size and SHA-256 of the file."""
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


def digest_kept(path: Path, keep: Kept) -> "hashlib._Hash":
    """Compare the beginning of a file with a checkpoint, and return the SHA-256 of the beginning, to be continued.

    The rule: a resume continues only after lines that the run wrote; changed lines never become results.

    Args:
        path: of the file.
        keep: beginning known to the checkpoint.

    Raises:
        CheckpointError: the file is missing, shorter, or begins with other bytes.
        RunFolderError: the file is a link.
        DiskError: the file may not be read.
    """
    size, expected = (keep, "") if isinstance(keep, int) else (keep["bytes"], keep["sha256"])
    refuse_link(path)
    digest, read, last = hashlib.sha256(), 0, b"\n"
    with disk_errors(path, "read"):
        # A pipe would block.
        if not path.is_file():
            raise CheckpointError(f"{path} {'is no file' if path.exists() else 'is missing'}", PUT_BACK)
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            while block := file.read(min(BLOCK, size - read)):
                digest.update(block)
                read, last = read + len(block), block[-1:]
    if read < size:
        raise CheckpointError(f"{path} has {found} bytes, and {size} at the checkpoint", PUT_BACK)
    # Without a hash, half a line is still a sign of a change: a checkpoint knows only whole lines.
    if last != b"\n" or expected not in ("", digest.hexdigest()):
        raise CheckpointError(
            f"{path} was changed: the first {size} bytes are not the bytes that the run had written at the checkpoint",
            PUT_BACK,
        )
    return digest


class AppendFile:
    """Text file that only grows. The system holds a text after `write`; the disk holds the text after `sync`.

    Args:
        path: of the file.
        keep: beginning of an existing file to continue after, with the rest cut off; None: a new file.

    Raises:
        DiskError: the file cannot be opened, or a new file exists already.
        CheckpointError, RunFolderError: as `digest_kept`; nothing is cut.
    """

    def __init__(self, path: Path, keep: Kept | None = None) -> None:
        self.path = path
        refuse_link(path)
        # Hashed while written: reading the file again would believe whatever the file holds by then.
        self._digest = hashlib.sha256() if keep is None else digest_kept(path, keep)
        self._size = 0 if keep is None else keep if isinstance(keep, int) else keep["bytes"]
        with disk_errors(path):
            self._handle = disk.create(path) if keep is None else disk.reopen(path)
            # Lines after the checkpoint belong to steps about to be repeated. Kept lines would appear twice after a
            # resume.
            if os.fstat(self._handle).st_size > self._size:
                disk.cut(self._handle, self._size)
            # Syncing a file does not sync the file's name. Without the folder's sync, a power cut loses both.
            sync(path.parent)

    def write(self, text: str) -> None:
        """Append text, whole or not at all.

        Raises:
            DiskError: the text could not be written.
        """
        data = text.encode("utf-8")
        with disk_errors(self.path):
            before = os.fstat(self._handle).st_size
            try:
                self._append(memoryview(data))
            except OSError:
                # A full disk may take half of a line, and half a line is no JSON. The first error is the one to report.
                with contextlib.suppress(OSError):
                    disk.cut(self._handle, before)
                raise
        self._digest.update(data)
        self._size += len(data)

    def _append(self, data: memoryview) -> None:
        # The system may take fewer bytes than given, for example just before a disk is full.
        while data:
            data = data[disk.write(self._handle, data) :]

    def sync(self) -> FileEntry:
        """Bring all text to the disk, and return size and SHA-256 of everything written, a valid `keep`.

        Raises:
            DiskError: the disk refuses.
        """
        with disk_errors(self.path):
            disk.sync(self._handle)
        return {"sha256": self._digest.hexdigest(), "bytes": self._size}

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
