"""Time limit of a call waiting for another machine: the only way of bradley to wait for a network."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from . import signals

T = TypeVar("T")
POLL_SECONDS = 0.1
NOTICE_SECONDS = 2.0
"""Seconds of waiting before the wait is reported."""


class TooLong(ValueError):
    """Answer of more bytes than allowed."""


def within(seconds: float, call: Callable[[], T], notice: Callable[[], object] = lambda: None) -> T:
    """Return the result of a call, or give up after a number of seconds; a stop request ends the wait at once.

    The timeouts of HTTP clients bound the pause between two bytes, and a server sending a byte now and then would never
    end. The call runs in a thread of its own, and continues in vain after the limit.

    Args:
        seconds: limit; infinity for none.
        call: any function; an exception is raised here.
        notice: called once if the call takes longer than `NOTICE_SECONDS`.

    Raises:
        TimeoutError: no result within the limit.
        StopRequested: this process was asked to stop.
    """
    made: list[T] = []
    raised: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            made.append(call())
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    # A daemon thread does not keep the process from ending.
    threading.Thread(target=work, name="waiting for a network", daemon=True).start()
    began, told = time.monotonic(), False
    while not ended.wait(POLL_SECONDS):
        signals.check()
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"no answer within {seconds:.0f} seconds")
        if waited > NOTICE_SECONDS and not told:
            notice()
            told = True
    if raised:
        raise raised[0]
    return made[0]


def read_all(read: Callable[[int], bytes], most: int) -> bytes:
    """Read an answer to the end, in parts.

    Args:
        read: returns at most the given number of bytes, and nothing at the end.
        most: largest number of bytes.

    Raises:
        TooLong: the answer is longer.
    """
    parts: list[bytes] = []
    left = most
    while part := read(2**16):
        left -= len(part)
        if left < 0:
            raise TooLong(f"the answer holds more than {most:,} bytes")
        parts.append(part)
    return b"".join(parts)
