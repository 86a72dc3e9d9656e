"""Send a single stream of events to many writers: files in the run folder always, trackers on request.

`metrics.py` describes the events. Each writer takes the kinds of events with a place in the writer's output.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...common.text import nearest
from ...config import Config, Log, as_list
from ...errors import UserError
from ...runs.layout import EVAL, EVAL_DISTRIBUTIONS, EVAL_SAMPLES, METRICS, METRICS_CSV, TENSORBOARD, TIMING
from ..metrics import Event
from .jsonl_csv import CsvTable, JsonLines, digest_kept
from .log_lines import KeyValue, RmDiag
from .tensorboard import TensorBoard
from .wandb import WeightsAndBiases


class Writer(Protocol):
    """Receiver of events.

    A writer is made of the run folder, the configuration and a position. The position is the result of `sync` at the
    checkpoint of a resumed run, or None for a new run.
    """

    def event(self, event: Event) -> None:
        """Write an event, or ignore an event of another kind."""

    def sync(self) -> Any:
        """Bring all output to the disk, and return the position in the output as a JSON value."""

    def close(self) -> None:
        """Release resources; no event follows."""


Factory = Callable[[Path, Config, Any], Writer]
"""Makes a writer of the run folder, the configuration and the position to resume at."""
PLACES = {
    "metrics": METRICS,
    "table": METRICS_CSV,
    "timing": TIMING,
    "samples": f"{EVAL}/{EVAL_SAMPLES}",
    "distributions": f"{EVAL}/{EVAL_DISTRIBUTIONS}",
}
"""Files that only grow, by name of the writer."""
FILES: dict[str, Factory] = {
    "metrics": lambda folder, config, at: JsonLines(folder / PLACES["metrics"], ("train", "eval"), at),
    "table": lambda folder, config, at: CsvTable(folder / PLACES["table"], at),
    "timing": lambda folder, config, at: JsonLines(folder / PLACES["timing"], ("timing",), at),
    "samples": lambda folder, config, at: JsonLines(folder / PLACES["samples"], ("samples",), at),
    "distributions": lambda folder, config, at: JsonLines(folder / PLACES["distributions"], ("scores",), at),
}
"""Writers of every run, by name."""
TRACKERS: dict[str, Factory] = {
    "tensorboard": lambda folder, config, at: TensorBoard(folder / TENSORBOARD, at),
    "wandb": lambda folder, config, at: WeightsAndBiases(folder, config.log.project, at),
    "rm_diag": lambda folder, config, at: RmDiag(),
    "key_value": lambda folder, config, at: KeyValue(),
}
"""Trackers by their name in `log.trackers`."""
PACKAGES = ("tensorboard", "wandb")
"""Trackers in need of a package of the same name; the extra of the same name installs the package."""


class Writers:
    """All writers of a run, used as a single writer.

    Args:
        writers: by name.
    """

    def __init__(self, writers: dict[str, Writer]) -> None:
        self._writers = writers

    def write(self, event: Event) -> None:
        """Pass an event to every writer."""
        for writer in self._writers.values():
            writer.event(event)

    def sync(self) -> dict[str, Any]:
        """Bring all output to the disk, and return the position of each writer by name."""
        return {name: writer.sync() for name, writer in self._writers.items()}


@contextlib.contextmanager
def open_writers(folder: Path, config: Config, positions: Mapping[str, Any] | None = None) -> Iterator[Writers]:
    """Open the writers of a run, and close all of them at the end of the block, also after an error.

    Args:
        folder: the run folder.
        config: of the run.
        positions: result of `Writers.sync` at the checkpoint of a resumed run. A writer without position starts anew.

    Raises:
        UserError: a tracker cannot start.
        CheckpointError: a file does not begin with the lines known to the checkpoint.
        DiskError: a file cannot be written.
    """
    factories = {**FILES, **{name: TRACKERS[name] for name in as_list(config.log.trackers)}}
    known = positions or {}
    # If a later tracker fails to start, the stack still closes the writers opened before.
    with contextlib.ExitStack() as stack:
        yield Writers(
            {
                name: stack.enter_context(contextlib.closing(make(folder, config, known.get(name))))
                for name, make in factories.items()
            }
        )


def check_written(folder: Path, positions: Mapping[str, Any]) -> None:
    """Compare every file that only grows with the position at a checkpoint, before anything is cut.

    Args:
        folder: the run folder.
        positions: as for `open_writers`.

    Raises:
        CheckpointError: a file does not begin with the lines known to the checkpoint.
        RunFolderError: a file is a link.
    """
    for name, place in PLACES.items():
        if positions.get(name) is not None:
            digest_kept(folder / place, positions[name])


def check_trackers(settings: Log) -> None:
    """Check the names in `log.trackers` before a run starts.

    Raises:
        UserError: a tracker does not exist or is named twice, or a tracker's package is missing.
    """
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
        # The package is only looked up here: an import takes seconds, and this check runs before everything else.
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise UserError(
                f"log.trackers names {name}, and the package {name} is not installed",
                f'type `pip install "bradley[{name}]"`',
            )
