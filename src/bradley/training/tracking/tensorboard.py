"""Tracker `tensorboard`: event files in the run folder."""

import json
from pathlib import Path
from typing import Any

from ...common.trees import share_rights
from ..metrics import Event
from .log_lines import is_number


class TensorBoard:
    """Writer of scalars by step, the configuration and samples as text, and scores as histograms.

    Args:
        folder: of the event files, `RUN/tensorboard`.
        at: last valid step of a resumed run; TensorBoard hides later steps written before.
    """

    def __init__(self, folder: Path, at: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Event files cannot be cut like `metrics.jsonl`. `purge_step` makes readers drop the steps about to be
        # repeated.
        self._writer: Any = SummaryWriter(str(folder), purge_step=None if at is None else at + 1)
        share_rights(folder)
        self._step = at or 0

    def event(self, event: Event) -> None:
        """Write an event of any kind."""
        self._step = step = event["step"]
        for key, value in scalars(event).items():
            self._writer.add_scalar(key, value, step)
        if event["kind"] == "start":
            self._writer.add_text("config", f"```json\n{json.dumps(event['config'], indent=2)}\n```", step)
        elif event["kind"] == "samples":
            self._writer.add_text(f"samples/{event['set']}", markdown_table(event["rows"]), step)
        elif event["kind"] == "scores":
            for side in ("chosen", "rejected"):
                self._histogram(f"scores/{event['set']}/{side}", event[side], step)
        # The default flush every two minutes would lose the newest figures in a crash.
        self._writer.flush()

    def sync(self) -> int:
        """Return the last written step."""
        return self._step

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()

    def _histogram(self, tag: str, scores: dict[str, Any], step: int) -> None:
        n, mean, std = scores["n"], scores["mean"], scores["std"]
        self._writer.add_histogram_raw(
            tag,
            min=scores["min"],
            max=scores["max"],
            num=n,
            sum=n * mean,
            sum_squares=n * (std**2 + mean**2),
            bucket_limits=scores["edges"][1:],
            bucket_counts=scores["counts"],
            global_step=step,
        )


def scalars(event: Event) -> dict[str, float]:
    """Return the numbers of an event, except `step`."""
    return {key: value for key, value in event.items() if key != "step" and is_number(value)}


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Return samples as a Markdown table, a row each."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: Any) -> str:
    # A bar or a line break in a text would end the cell.
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")
