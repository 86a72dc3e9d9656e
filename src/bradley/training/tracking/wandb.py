"""The tracker `wandb`: Weights & Biases, in the mode that the variable WANDB_MODE names."""

import sys
from pathlib import Path
from typing import Any

from ...common.files import share_rights
from ...common.text import one_line
from ...errors import UserError
from ..metrics import Event
from .tensorboard import scalars


class WeightsAndBiases:
    """Scalars by step, the configuration, the samples as tables, the scores as histograms.

    Args:
        folder: the run folder; its name is the run's, and wandb keeps its files in `wandb/` below it.
        project: where the run is filed.
        at: the id of a run that goes on.

    Raises:
        UserError: wandb cannot start, for want of a key or of a network.
    """

    def __init__(self, folder: Path, project: str, at: str | None = None) -> None:
        import wandb

        self._files = folder / "wandb"
        # What is printed stays out of it, because lines of other trackers and of the console are not wandb's to keep,
        # and so does what it would note of the machine: command line, user, paths.
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
        """Log one event of any kind."""
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
        """The id of the run, by which it goes on."""
        return str(self._run.id)

    def close(self) -> None:
        """Finish the run; as failed, if an exception is on its way."""
        self._run.finish(exit_code=int(sys.exc_info()[0] is not None))
        if self._files.is_dir():  # a run that is disabled has no files
            share_rights(self._files)
