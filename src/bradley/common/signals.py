"""Stop requests: a signal or a time limit sets a flag, and long work tests the flag at safe points.

The flag belongs to the whole process, as signal handlers do. No work is interrupted: a caller of `check` chooses the
safe points.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from ..errors import Preempted
from .processes import is_main_process

TRAINING = ("train", "launch")
"""Commands whose stop is a preemption: a scheduler starts the same command line again."""
TERMINATED = 128 + signal.SIGTERM
"""Exit code of every other command ended by SIGTERM, as shells count."""
INTERRUPTED = 128 + signal.SIGINT
"""Exit code of every other command ended by Ctrl-C."""

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
        # Set before the earlier handlers return: by now the run has its result, and `leave_when_asked` must not
        # give the run another exit code.
        ended()
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


def leave_when_asked(command: str) -> None:
    """Let stop signals end this process with the right exit code and one line, from the first moment of a command.

    - A training that has neither finished nor failed ends with the exit code of `Preempted`, at any moment: until the
      run listens itself, no work can be lost. Once the run has ended, a signal changes nothing.
    - Any other command ends with 143 on SIGTERM, and with 130 on SIGINT. Files left behind are temporary: the next
      command that owns the place removes these files. Child processes end with their parent.

    Handlers set by other code stay in place. Only an entry point may call this function: the process is ended.

    Args:
        command: name of the command, such as `train`; '' for none.
    """
    training = command in TRAINING
    for number in signals() if training else (signal.SIGTERM, signal.SIGINT):
        found = signal.getsignal(number)
        if found in (signal.SIG_DFL, signal.default_int_handler) or (found is signal.SIG_IGN and training):
            signal.signal(number, _leave_training if training else _leave_command)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` inside the block: a command can then remove temporary files.

    Outside of the block, `leave_when_asked` ends the process at once: nothing would catch an interrupt.
    """
    ours = signal.getsignal(signal.SIGINT) is _leave_command
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, _leave_command)


def ended() -> None:
    """Note that the training of this process has its result: a later signal does not change the exit code."""
    _Flag.over = True


def _leave_training(number: int, _frame: FrameType | None) -> None:
    if not _Flag.over:
        _leave(Preempted.exit_code, lambda: say_early(number))


def _leave_command(number: int, _frame: FrameType | None) -> None:
    what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    _leave(128 + number, lambda: _say_at_once(f"error: {what}\n"))


def _leave(code: int, say: Callable[[], None]) -> None:
    # Signals may come in numbers, and each interrupts the handler of the signal before: only the first one speaks.
    if not _Flag.leaving:
        _Flag.leaving = True
        say()
        # An exception raised here would surface in the middle of any import, where a library may swallow it.
        os._exit(code)


def say_early(number: int) -> None:
    """Report a signal ending this process before the run, from a signal handler of the main process."""
    if is_main_process():
        _say_at_once(f"error: stopped by {signal.Signals(number).name} before the run had begun\n")


def _say_at_once(text: str) -> None:
    """Write a text to stderr from a signal handler; a closed or full stderr must not keep the process from ending."""
    # A handler may interrupt a `print` at any byte: `os.write` avoids the stream's buffer and lock.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


class _Flag:
    """Reason of the stop request ('' without a request), and the end of the time limit on the monotonic clock.

    `leaving` is True once a signal is ending this process, and `over` once a run of this process has ended.
    """

    reason = ""
    deadline = float("inf")
    leaving = False
    over = False


def _note(number: int, _frame: FrameType | None) -> None:
    """Record the name of the first signal."""
    _Flag.reason = _Flag.reason or signal.Signals(number).name
