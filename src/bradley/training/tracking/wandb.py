"""Tracker `wandb`: Weights & Biases, in the mode of the variable WANDB_MODE."""

import sys
from pathlib import Path
from typing import Any

from ...common.text import one_line
from ...common.trees import share_rights
from ...errors import UserError
from ..metrics import Event
from .tensorboard import scalars


class WeightsAndBiases:
    """Writer of scalars by step, the configuration, samples as tables, and scores as histograms.

    Args:
        folder: the run folder. The folder's name is the run's name, and wandb keeps files in `wandb/` inside.
        project: of the run.
        at: wandb's id of a resumed run.

    Raises:
        UserError: wandb cannot start, for lack of a key or of a network.
    """

    def __init__(self, folder: Path, project: str, at: str | None = None) -> None:
        import wandb

        self._files = folder / "wandb"
        # wandb would copy the console, with lines of other trackers, and note command line, user and paths of the
        # machine. A tracker on somebody else's server must not get such details.
        settings = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_meta=True)
        try:
            self._run: Any = wandb.init(
                project=project, name=folder.name, dir=folder, settings=settings, id=at, resume="allow" if at else None
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"wandb cannot start: {one_line(error)}", "type `wandb login`, or set WANDB_MODE=offline"
            ) from error

    def event(self, event: Event) -> None:
        """Log an event of any kind."""
        import wandb

        fields: dict[str, Any] = dict(scalars(event))
        if event["kind"] == "start":
            self._run.config.update(event["config"])
        elif event["kind"] == "samples":
            names = list(event["rows"][0])
            table = wandb.Table(columns=names, data=[list(row.values()) for row in event["rows"]])
            fields[f"samples/{event['set']}"] = table
        elif event["kind"] == "scores":
            for side in ("chosen", "rejected"):
                histogram = (event[side]["counts"], event[side]["edges"])
                fields[f"scores/{event['set']}/{side}"] = wandb.Histogram(np_histogram=histogram)
        self._run.log(fields, step=event["step"])

    def sync(self) -> str:
        """Return the id of the run, needed to resume."""
        return str(self._run.id)

    def close(self) -> None:
        """Finish the run, as failed during an exception."""
        # `close` gets no exception as argument; `sys.exc_info` still sees the exception that unwinds the writers.
        self._run.finish(exit_code=int(sys.exc_info()[0] is not None))
        # With WANDB_MODE=disabled wandb writes no files.
        if self._files.is_dir():
            share_rights(self._files)
