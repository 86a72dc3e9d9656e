"""Messages, warnings and progress of a running command, always on stderr, so that stdout holds results alone."""

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

from ..errors import UserError

LAUNCHED = "BRADLEY_LAUNCHED"
"""Environment variable set in processes of a launcher; the launcher itself reports a lost process."""
MODES = ("bar", "quiet", "json")
SECONDS_BETWEEN_EVENTS = 1.0


class Bar(Protocol):
    """Progress of a task."""

    def advance(self, n: int = 1, **fields: float) -> None:
        """Count `n` more finished units and show `fields` beside the bar."""

    def update(self, **fields: float) -> None:
        """Show `fields` without progress."""


class Console:
    """Messages and progress bars on stderr.

    Args:
        mode: `bar` prints lines and a progress bar, `json` prints an object per event, `quiet` prints warnings only.

    Raises:
        UserError: unknown mode.
    """

    def __init__(self, mode: str = "bar") -> None:
        if mode not in MODES:
            raise UserError(f"progress = {mode!r}, wanted bar, quiet or json", 'use progress="bar"')
        self.mode = mode
        self._rich: Any = None

    def say(self, text: str) -> None:
        """Print a message, above a running bar."""
        if self.mode == "json":
            write_event("message", text=text)
        elif self.mode == "bar":
            # Paths and texts of the data may hold [brackets], which Rich would otherwise read as markup and drop.
            self._screen().print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print an important message, under `quiet` too."""
        if self.mode == "quiet":
            to_stderr(text)
        else:
            self.say(text)

    @contextlib.contextmanager
    def progress(self, total: int | None, description: str) -> Iterator[Bar]:
        """Show a bar over `total` units of work (None: unknown), with rate and time left."""
        if self.mode == "quiet":
            yield Silent()
        elif self.mode == "json":
            yield Events(total, description)
        else:
            with screen_progress(self._screen()) as progress:
                yield Drawn(progress, progress.add_task(description, total=total, fields=""))

    def _screen(self) -> Any:
        """Rich's console on the current stderr; Rich honours NO_COLOR and plain terminals."""
        if self._rich is None:
            # Imported on first use: commands without progress start faster without Rich.
            from rich.console import Console as Screen

            self._rich = Screen(stderr=True)
        return self._rich


class Silent:
    """Bar without output, for `quiet`."""

    def advance(self, n: int = 1, **fields: float) -> None:
        """Do nothing."""

    def update(self, **fields: float) -> None:
        """Do nothing."""


class Events:
    """Bar as JSON lines: at most a line per second, and a last line at the end."""

    def __init__(self, total: int | None, description: str) -> None:
        self.total, self.description, self.done = total, description, 0
        self.next_event = 0.0

    def advance(self, n: int = 1, **fields: float) -> None:
        """Count `n` units, and write an event if the last event is more than a second ago."""
        self.done += n
        # The last unit always gets an event: a program watching the lines would otherwise never see 100 %.
        if (self.total is not None and self.done >= self.total) or time.monotonic() >= self.next_event:
            self.update(**fields)

    def update(self, **fields: float) -> None:
        """Write an event immediately."""
        self.next_event = time.monotonic() + SECONDS_BETWEEN_EVENTS
        write_event("progress", description=self.description, done=self.done, total=self.total, **fields)


class Drawn:
    """Bar on a terminal."""

    def __init__(self, progress: Any, task: Any) -> None:
        self.progress, self.task = progress, task

    def advance(self, n: int = 1, **fields: float) -> None:
        """Move the bar by `n` units."""
        self.progress.update(self.task, advance=n, **_shown(fields))

    def update(self, **fields: float) -> None:
        """Change the fields beside the bar."""
        self.progress.update(self.task, **_shown(fields))


def _shown(fields: dict[str, float]) -> dict[str, str]:
    """Format fields for Rich; without fields the last text stays."""
    return {"fields": "  ".join(f"{name} {value:.4g}" for name, value in fields.items())} if fields else {}


def screen_progress(screen: Any) -> Any:
    """Build Rich's progress display with finished units, rate, time left and free fields."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units per second."""

        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.2f}/s" if speed else "-/s")

    columns = (BarColumn(30), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, TextColumn("{task.fields[fields]}"), console=screen)


GONE = (errno.EIO, errno.EPIPE)
"""Error numbers of a write to a closed terminal, or to a pipe without a reader."""


class Lasting:
    """Stream that survives a closed terminal, so that a run continues after the terminal has gone.

    After the first failed write, all output of this process to the same file descriptor is discarded.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Forward every other attribute to the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or discard the text after the terminal has gone."""
        with self._heard():
            return int(self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or discard the buffer after the terminal has gone."""
        with self._heard():
            self._stream.flush()

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        """Redirect the file descriptor to nowhere after a write to a closed terminal."""
        try:
            yield
        except OSError as error:
            if error.errno not in GONE:
                raise
            # Redirecting the descriptor, not only this object, also discards buffered text and output of C libraries;
            # otherwise the interpreter's last flush would fail again and change the exit code.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def to_stderr(text: str) -> None:
    """Print a line on stderr, for callers without a console."""
    print(text, file=sys.stderr, flush=True)


def write_event(event: str, **fields: Any) -> None:
    """Print an event as a JSON object on a line of stderr."""
    print(json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)
