"""One stream of events, many writers: files in the run folder always, trackers where they are asked for.

The events are described in `metrics.py`. A writer takes the kinds that it has a place for.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...common.text import nearest
from ...config import Config, Log, as_list
from ...errors import UserError
from ..metrics import Event
from .jsonl_csv import CsvTable, JsonLines
from .log_lines import KeyValue, RmDiag
from .tensorboard import TensorBoard
from .wandb import WeightsAndBiases


class Writer(Protocol):
    """Something that events go to. It is made of the run folder, the configuration and, for a run that goes on, what
    `sync` said when the checkpoint was written; None begins."""

    def event(self, event: Event) -> None:
        """Write one event."""

    def sync(self) -> Any:
        """Bring what was written to the disk, and say how far that is, as a value of JSON."""

    def close(self) -> None:
        """Nothing more will come."""


Factory = Callable[[Path, Config, Any], Writer]
FILES: dict[str, Factory] = {
    "metrics": lambda folder, config, at: JsonLines(folder / "metrics.jsonl", ("train", "eval"), at),
    "table": lambda folder, config, at: CsvTable(folder / "metrics.csv", at),
    "timing": lambda folder, config, at: JsonLines(folder / "timing.jsonl", ("timing",), at),
    "samples": lambda folder, config, at: JsonLines(folder / "eval" / "samples.jsonl", ("samples",), at),
    "distributions": lambda folder, config, at: JsonLines(folder / "eval" / "distributions.jsonl", ("scores",), at),
}
"""The writers of every run."""
TRACKERS: dict[str, Factory] = {
    "tensorboard": lambda folder, config, at: TensorBoard(folder / "tensorboard", at),
    "wandb": lambda folder, config, at: WeightsAndBiases(folder, config.log.project, at),
    "rm_diag": lambda folder, config, at: RmDiag(),
    "key_value": lambda folder, config, at: KeyValue(),
}
"""Every tracker by its name in `log.trackers`."""
PACKAGES = ("tensorboard", "wandb")
"""Trackers that need a package of the same name, which the extra of that name installs."""


def check_trackers(settings: Log) -> None:
    """Raise `UserError` for a tracker that does not exist, is named twice, or whose package is missing."""
    names = as_list(settings.trackers)
    for name in names:
        if name not in TRACKERS:
            guess = nearest(name.lower(), TRACKERS, 0.5)
            raise UserError(
                f"log.trackers = {name!r}, wanted any of {', '.join(TRACKERS)}",
                f"did you mean {guess}?" if guess else "use --log.trackers tensorboard",
            )
        if names.count(name) > 1:
            raise UserError(f"log.trackers names {name} twice", f"leave one {name} out")
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise UserError(
                f"log.trackers names {name}, and the package {name} is not installed",
                f'type `pip install "bradley[{name}]"`',
            )


class Writers:
    """Every writer of a run as one."""

    def __init__(self, writers: dict[str, Writer]) -> None:
        self._writers = writers

    def write(self, event: Event) -> None:
        """Give an event to each of them."""
        for writer in self._writers.values():
            writer.event(event)

    def sync(self) -> dict[str, Any]:
        """Bring all of it to the disk, and say how far each writer is, by its name."""
        return {name: writer.sync() for name, writer in self._writers.items()}


@contextlib.contextmanager
def open_writers(folder: Path, config: Config, positions: Mapping[str, Any] | None = None) -> Iterator[Writers]:
    """The writers of a run; they are closed however the block ends.

    Args:
        positions: for a run that goes on, `Writers.sync` of its checkpoint. A writer that is new begins.

    Raises:
        UserError: a tracker cannot start.
        CheckpointError: a file lacks what the checkpoint knows of it.
        DiskError: a file cannot be written.
    """
    factories = {**FILES, **{name: TRACKERS[name] for name in as_list(config.log.trackers)}}
    known = positions or {}
    with contextlib.ExitStack() as stack:
        yield Writers(
            {
                name: stack.enter_context(contextlib.closing(make(folder, config, known.get(name))))
                for name, make in factories.items()
            }
        )
