"""The writers of the run folder: JSON lines, and a table with the column names of older systems."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from ...errors import CheckpointError, DiskError
from ..metrics import Event


class Appended:
    """A text file that grows, flushed after each entry, so that a plot can be made of a run that is under way.

    Args:
        at: bytes of it that count, as `position` gave them, for a run that goes on: what was written after that is cut
            off. None begins a new file.

    Raises:
        CheckpointError: a file that lacks what is to count.
    """

    def __init__(self, path: Path, at: int | None = None) -> None:
        if at is not None and (not path.is_file() or path.stat().st_size < at):
            raise CheckpointError(
                f"{path} is shorter than the {at} bytes that the checkpoint knows of it", "copy the whole run folder"
            )
        self._file = path.open("x" if at is None else "r+", encoding="utf-8", newline="")
        if at is not None:
            self._file.truncate(at)
            self._file.seek(at)

    def write(self, text: str) -> None:
        """Append a text.

        Raises:
            DiskError: it could not be written; training must not go on unlogged.
        """
        with flushed(self._file):
            self._file.write(text)

    def position(self) -> int:
        """Bytes of the file, all of them on the disk."""
        with flushed(self._file):
            os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLines(Appended):
    """A file of one JSON object per line.

    Args:
        kinds: the kinds of events that it takes; an event without a kind is always taken.
    """

    def __init__(self, path: Path, kinds: Sequence[str] = (), at: int | None = None) -> None:
        super().__init__(path, at)
        self._kinds = kinds

    def event(self, event: Event) -> None:
        """Append one event.

        Raises:
            DiskError: the line could not be written; training must not go on unlogged.
        """
        if event.get("kind") in (*self._kinds, None):
            self.write(json.dumps(event) + "\n")


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


class CsvTable(Appended):
    """`metrics.csv`: one row per train line and per evaluated set, blank where an event has no value.

    The columns are known before the first event, numbers are written in full, and each row is flushed. Rows of
    evaluations have the set's name in `set`; those with `valid` are what the older systems wrote.
    """

    def __init__(self, path: Path, at: int | None = None) -> None:
        super().__init__(path, at)
        if at is None:
            self.write(_row(list(COLUMNS)))

    def event(self, event: Event) -> None:
        """Append a row.

        Raises:
            DiskError: it could not be written.
        """
        if event["kind"] in ("train", "eval"):
            self.write(_row([_cell(event.get(key.format(set=event.get("set")))) for key in COLUMNS.values()]))


def _row(cells: list[Any]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


@contextlib.contextmanager
def flushed(file: TextIO) -> Iterator[None]:
    """What the block writes to `file` is on disk after it, or a `DiskError` says that it is not."""
    try:
        yield
        file.flush()
    except OSError as error:
        raise DiskError(f"{file.name} could not be written: {error.strerror}", "free some space") from error
