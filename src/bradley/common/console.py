"""Messages, warnings and progress of a running command, always on stderr, so that stdout holds results alone.

Values of data, arguments and file names are part of messages. Every message therefore passes `message_line`: a control
character is escaped, and a line break inside a value never begins a new line of output.
"""

import contextlib
import errno
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from ..errors import DiskError, UserError
from .text import message_line

LAUNCHED = "BRADLEY_LAUNCHED"
"""Environment variable set in processes of a launcher; the launcher itself reports a lost process."""
MODES = ("bar", "quiet", "json")
SECONDS_BETWEEN_EVENTS = 1.0
SECONDS_BETWEEN_LINES = 30.0
"""Seconds between lines about a long task: with a unit of work of up to 30 seconds, a log gets a line every minute."""
SECONDS_UNTIL_COUNTED = 1.0
"""Seconds before a count is shown."""
SECONDS_BETWEEN_COUNTS = 60.0
"""Seconds between two lines about a count where no bar can move."""
SECONDS_BETWEEN_MOVES = 0.2
ITEMS_BETWEEN_LOOKS = 16
"""Counted items between two looks at the clock."""
Item = TypeVar("Item")


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

    def say(self, *lines: str) -> None:
        """Print a message, above a running bar; each argument is one line."""
        if self.mode == "json":
            write_event("message", text="\n".join(lines))
        elif self.mode == "bar":
            for line in lines:
                # Paths and texts of the data may hold [brackets], which Rich would otherwise read as markup and drop.
                self._screen().print(message_line(line), markup=False, highlight=False, soft_wrap=True)

    def warn(self, *lines: str) -> None:
        """Print an important message, under `quiet` too; each argument is one line."""
        if self.mode == "quiet":
            to_stderr(*lines)
        else:
            self.say(*lines)

    def ticker(self) -> Callable[[str], None]:
        """Return a function that prints a line about a long task if the last line is `SECONDS_BETWEEN_LINES` ago.

        On a terminal the function prints nothing, because a bar shows the work there.
        """
        last = time.monotonic()

        def tell(line: str) -> None:
            nonlocal last
            if time.monotonic() < last + SECONDS_BETWEEN_LINES:
                return
            last = time.monotonic()
            if self.mode == "json" or (self.mode == "bar" and not self._screen().is_terminal):
                self.say(line)

        return tell

    @contextlib.contextmanager
    def progress(self, total: int | None, description: str) -> Iterator[Bar]:
        """Show a bar over `total` units of work (None: unknown), with rate and time left."""
        if self.mode == "quiet":
            yield Silent()
        elif self.mode == "json":
            yield Events(total, description)
        else:
            with screen_progress(self._bar_screen()) as progress:
                yield Drawn(progress, progress.add_task(message_line(description), total=total, fields=""))

    @contextlib.contextmanager
    def counting(self, description: str, unit: str) -> Iterator["Counted"]:
        """Count items of unknown number: silent for a second, then a bar on a terminal, elsewhere a line a minute."""
        with contextlib.ExitStack() as stack:
            counted = Counted(self, description, unit, stack)
            yield counted
            counted.end()

    @property
    def on_terminal(self) -> bool:
        """True if stderr is a terminal, on which a bar can move."""
        return bool(self._screen().is_terminal)

    def _screen(self) -> Any:
        """Rich's console on the current stderr, for plain lines; Rich honours NO_COLOR and plain terminals."""
        if self._rich is None:
            # Imported on first use: commands without progress start faster without Rich.
            from rich.console import Console as Screen

            # In a notebook, Rich would make an output block of every line.
            self._rich = Screen(stderr=True, force_jupyter=False)
        return self._rich

    def _bar_screen(self) -> Any:
        """Rich's console for a bar: of the notebook, if a notebook can move a bar, else the console of the lines."""
        from rich.console import Console as Screen

        screen = Screen(stderr=True)
        # Without ipywidgets, Rich draws no bar in a notebook, and warns at every attempt.
        return screen if screen.is_jupyter and importlib.util.find_spec("ipywidgets") else self._screen()


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


class Counted:
    """Count of items on their way through iterables, see `Console.counting`; call to pass an iterable through."""

    def __init__(self, console: Console, description: str, unit: str, stack: contextlib.ExitStack) -> None:
        self.console, self.description, self.unit, self.done = console, description, unit, 0
        self._stack, self._shown = stack, 0
        self._bar: Bar | None = None
        self._began = time.monotonic()
        # Most inputs are read within a moment, and need neither a bar nor the import of Rich.
        self._next = float("inf") if console.mode == "quiet" else self._began + SECONDS_UNTIL_COUNTED

    def __call__(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, counted."""
        for item in items:
            self.done += 1
            if self.done % ITEMS_BETWEEN_LOOKS == 0 and time.monotonic() >= self._next:
                self._show()
            yield item

    def end(self) -> None:
        """Bring a bar that is shown to the last count."""
        if self._bar is not None:
            self._bar.advance(self.done - self._shown)
            self._bar.update()

    def _show(self) -> None:
        """Move the bar, or write the line of a minute."""
        now = time.monotonic()
        if self.console.mode == "bar" and not self.console.on_terminal:
            if now >= self._began + SECONDS_BETWEEN_COUNTS * (self._shown + 1):
                rate = self.done / (now - self._began)
                self.console.say(f"{self.description}: {self.done:,} {self.unit}, {rate:,.0f} a second")
                self._shown = int((now - self._began) / SECONDS_BETWEEN_COUNTS)
            self._next = self._began + SECONDS_BETWEEN_COUNTS * (self._shown + 1)
            return
        if self._bar is None:
            self._bar = self._stack.enter_context(self.console.progress(None, f"{self.description}, {self.unit}"))
        self._bar.advance(self.done - self._shown)
        self._shown, self._next = self.done, now + SECONDS_BETWEEN_MOVES


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
    about, fields = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[fields]}"))
    return Progress(about, *columns, fields, console=screen)


GONE = (errno.EIO, errno.EPIPE, errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a write to a closed terminal, to a pipe without a reader, or to a file on a full disk."""


class Lasting:
    """Stream of messages that survives a closed terminal or a full disk, so that a run continues without messages.

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
            discard(self._stream)


class ReaderGone(Exception):
    """Reader of stdout that has closed the pipe, as `head` does after the last line it wants."""


class Results:
    """Stream of results, with an error of its own for a failed write: results that nobody gets are a failure.

    Raises:
        ReaderGone: on a write to a pipe without a reader.
        DiskError: on any other failed write, such as a file on a full disk.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        """Forward every other attribute to the stream."""
        return getattr(self._stream, name)

    @property
    def buffer(self) -> "Results":
        """Stream of bytes below, with the same errors."""
        return Results(self._stream.buffer)

    def write(self, content: Any) -> int:
        """Write a text, or bytes if the stream takes bytes."""
        # click tries a stream by an empty text, and a full disk refuses even that.
        if content == "":
            return 0
        with self._checked():
            return int(self._stream.write(content))

    def flush(self) -> None:
        """Flush the stream."""
        with self._checked():
            self._stream.flush()

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        # Again at every later call: a caller may have swallowed the first failure, and the results are gone anyway.
        if self._failure:
            raise self._failure
        try:
            yield
        except OSError as error:
            discard(self._stream)
            said = f"the output cannot be written to stdout: {error.strerror}"
            gone = isinstance(error, BrokenPipeError)
            self._failure = ReaderGone() if gone else DiskError(said, "free some space, or redirect it elsewhere")
            raise self._failure from error


def discard(stream: Any) -> None:
    """Discard all output of this process to the file descriptor of a stream, from here on."""
    # Redirecting the descriptor, not only an object, also discards buffered text and output of C libraries; otherwise
    # the interpreter's last flush would fail again and change the exit code.
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def open_closed_streams() -> None:
    """Open each closed file descriptor of stdin, stdout and stderr to nowhere; call before anything else is opened.

    The next opened file would otherwise get the number of the closed stream, and receive all that is printed.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the closed one, because all lower numbers are open by now.
            os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def to_stderr(*lines: str) -> None:
    """Print lines on stderr, for callers without a console."""
    for line in lines:
        print(message_line(line), file=sys.stderr, flush=True)


def write_event(event: str, **fields: Any) -> None:
    """Print an event as a JSON object on a line of stderr."""
    # JSON leaves DEL alone among the control characters.
    print(json.dumps({"event": event, **fields}).replace("\x7f", "\\u007f"), file=sys.stderr, flush=True)
