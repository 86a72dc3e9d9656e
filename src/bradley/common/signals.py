"""Asked to stop: a signal or a time limit sets a flag, and work that can be cut off looks at it now and then.

The flag belongs to the process, as signals do. Nothing is interrupted: whoever calls `check` decides where it is safe.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""What schedulers and terminals ask with, the last when they are closed. Windows knows neither SIGUSR1 nor SIGHUP."""


class StopRequested(Exception):
    """The process has been asked to stop; the message says by what."""


class _Flag:
    """Why to stop ('' while nobody asked), and when time is up."""

    reason = ""
    deadline = float("inf")


def requested() -> str:
    """Why this process is to stop, or ''."""
    if not _Flag.reason and time.monotonic() >= _Flag.deadline:
        _Flag.reason = "the time limit"
    return _Flag.reason


def check() -> None:
    """Raise `StopRequested` if this process is to stop."""
    if requested():
        raise StopRequested(requested())


def signals() -> list[int]:
    """The signals to listen to: all but one that whoever started the process has it ignore, as `nohup` does. SIGINT
    counts nevertheless: a shell has every job in the background ignore it, and there it is sent on purpose.
    """
    return [each for each in SIGNALS if each == signal.SIGINT or signal.getsignal(each) is not signal.SIG_IGN]


def say_early(number: int) -> None:
    """Say, in a signal handler, that the signal ends this process before its run; the main process alone speaks."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, f"error: stopped by {signal.Signals(number).name} before the run had begun\n".encode())


@contextlib.contextmanager
def listening(minutes: float = 0.0) -> Iterator[None]:
    """Take signals as requests to stop while the block runs, and its end after so many minutes (0: no limit).

    A later signal neither hastens nor delays anything. Only the main thread can listen; elsewhere the time limit alone
    counts.
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


def _note(number: int, _frame: FrameType | None) -> None:
    _Flag.reason = _Flag.reason or signal.Signals(number).name
