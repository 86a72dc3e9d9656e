"""Stop requests: a signal or a time limit sets a flag, and long work tests the flag at safe points.

The flag belongs to the whole process, as signal handlers do. No work is interrupted: a caller of `check` chooses the
safe points.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from .processes import is_main_process

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""Stop signals of schedulers and terminals; SIGHUP means a closed terminal. Windows has neither SIGUSR1 nor SIGHUP."""


class StopRequested(Exception):
    """Stop request to this process; the message names the signal or the time limit."""


@contextlib.contextmanager
def listening(minutes: float = 0.0) -> Iterator[None]:
    """Treat signals and a time limit as stop requests while the block runs.

    A second signal changes nothing. Python handles signals in the main thread only; in another thread the time limit
    alone counts.

    Args:
        minutes: time limit in minutes (0: no limit).
    """
    _Flag.reason, _Flag.deadline = "", time.monotonic() + 60 * minutes if minutes else float("inf")
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, _note) for number in signals()} if main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _Flag.reason, _Flag.deadline = "", float("inf")


def check() -> None:
    """Raise `StopRequested` if this process was asked to stop."""
    if requested():
        raise StopRequested(requested())


def requested() -> str:
    """Return the reason of a stop request to this process, or ''."""
    if not _Flag.reason and time.monotonic() >= _Flag.deadline:
        _Flag.reason = "the time limit"
    return _Flag.reason


def signals() -> list[int]:
    """Signals to listen to: all of `SIGNALS` but the signals ignored since the start of the process, as under `nohup`.

    SIGINT always counts. A shell makes every background job ignore SIGINT, and a SIGINT to such a job is sent on
    purpose.
    """
    return [each for each in SIGNALS if each == signal.SIGINT or signal.getsignal(each) is not signal.SIG_IGN]


def say_early(number: int) -> None:
    """Report a signal ending this process before the run, from a signal handler of the main process."""
    if is_main_process():
        # A handler may interrupt a `print` at any byte: `os.write` avoids the stream's buffer and lock.
        # An error raised in a handler would replace the exit code: stderr may be closed.
        with contextlib.suppress(OSError):
            os.write(2, f"error: stopped by {signal.Signals(number).name} before the run had begun\n".encode())


class _Flag:
    """Reason of the stop request ('' without a request), and the end of the time limit on the monotonic clock."""

    reason = ""
    deadline = float("inf")


def _note(number: int, _frame: FrameType | None) -> None:
    """Record the name of the first signal."""
    _Flag.reason = _Flag.reason or signal.Signals(number).name
