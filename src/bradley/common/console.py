"""What a command says while it works, always on stderr, so that stdout holds results alone."""

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
"""Variable of the processes that a launcher has started, which says itself which of them was lost."""
MODES = ("bar", "quiet", "json")
SECONDS_BETWEEN_EVENTS = 1.0


class Bar(Protocol):
    """Progress of one piece of work."""

    def advance(self, n: int = 1, **fields: float) -> None:
        """`n` more units are done; `fields` are shown beside the bar."""

    def update(self, **fields: float) -> None:
        """Show `fields` without progress."""


class Console:
    """Talk on stderr.

    Args:
        mode: `bar` prints lines and a progress bar, `json` one object per event, `quiet` nothing.

    Raises:
        UserError: another mode.
    """

    def __init__(self, mode: str = "bar") -> None:
        if mode not in MODES:
            raise UserError(f"progress = {mode!r}, wanted bar, quiet or json", 'use progress="bar"')
        self.mode = mode
        self._rich: Any = None

    def say(self, text: str) -> None:
        """One message; above the bar where one is running."""
        if self.mode == "json":
            write_event("message", text=text)
        elif self.mode == "bar":
            self._screen().print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One message that nobody should miss: said under `quiet` too."""
        if self.mode == "quiet":
            to_stderr(text)
        else:
            self.say(text)

    @contextlib.contextmanager
    def progress(self, total: int | None, description: str) -> Iterator[Bar]:
        """A bar over `total` units of work (None: nobody knows), with their rate and the time left."""
        if self.mode == "quiet":
            yield Silent()
        elif self.mode == "json":
            yield Events(total, description)
        else:
            with screen_progress(self._screen()) as progress:
                yield Drawn(progress, progress.add_task(description, total=total, fields=""))

    def _screen(self) -> Any:
        """Rich's console on the present stderr; it honours NO_COLOR and plain terminals."""
        if self._rich is None:
            from rich.console import Console as Screen

            self._rich = Screen(stderr=True)
        return self._rich


class Silent:
    """A bar that nobody sees."""

    def advance(self, n: int = 1, **fields: float) -> None:
        """Nothing to show."""

    def update(self, **fields: float) -> None:
        """Nothing to show."""


class Events:
    """A bar as JSON lines: at most one a second, and one at the end."""

    def __init__(self, total: int | None, description: str) -> None:
        self.total, self.description, self.done = total, description, 0
        self.next_event = 0.0

    def advance(self, n: int = 1, **fields: float) -> None:
        """Count, and write an event if the last one is long enough ago."""
        self.done += n
        if (self.total is not None and self.done >= self.total) or time.monotonic() >= self.next_event:
            self.update(**fields)

    def update(self, **fields: float) -> None:
        """Write an event now."""
        self.next_event = time.monotonic() + SECONDS_BETWEEN_EVENTS
        write_event("progress", description=self.description, done=self.done, total=self.total, **fields)


class Drawn:
    """A bar on a terminal."""

    def __init__(self, progress: Any, task: Any) -> None:
        self.progress, self.task = progress, task

    def advance(self, n: int = 1, **fields: float) -> None:
        """Move the bar."""
        self.progress.update(self.task, advance=n, **_shown(fields))

    def update(self, **fields: float) -> None:
        """Change what stands beside it."""
        self.progress.update(self.task, **_shown(fields))


def _shown(fields: dict[str, float]) -> dict[str, str]:
    return {"fields": "  ".join(f"{name} {value:.4g}" for name, value in fields.items())} if fields else {}


def screen_progress(screen: Any) -> Any:
    """Rich's progress with units done, rate, time left and free fields."""
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
"""What writing to a terminal that was closed, or into a pipe that nobody reads, ends with."""


class Lasting:
    """A stream that goes on when nobody is there any more: work does not end because its terminal has.

    From then on what is written goes nowhere, from this whole process.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if anybody is there."""
        with self._heard():
            return int(self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if anybody is there."""
        with self._heard():
            self._stream.flush()

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in GONE:
                raise
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())  # takes what is still buffered, too


def to_stderr(text: str) -> None:
    """Say one line, where no console is given."""
    print(text, file=sys.stderr, flush=True)


def write_event(event: str, **fields: Any) -> None:
    """One JSON object on one line of stderr."""
    print(json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)
