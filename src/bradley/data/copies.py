"""Run a function over many items on several cores: copies of the process take items, and results come in order.

Python holds the lock of the interpreter while rows are rendered and laid out, so that threads would take turns. A copy
shares the memory of this process until either writes, and starts in milliseconds; see `common.processes.forked`.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..common.processes import Forked, forked
from .encoder import on_one_core

T = TypeVar("T")
R = TypeVar("R")
MOST_COPIES = 3
"""Most copies: the process that takes the results keeps up with three."""
LEAST_ITEMS = 4
"""Items from which copies are started: fewer are done sooner than processes start."""
AHEAD = 2
"""Items given to a copy at a time, so that no copy waits for the next."""


@dataclass(eq=False, slots=True)
class _Job(Generic[T, R]):
    """Item at work; `results` holds the result once known."""

    item: T
    results: list[R]


@dataclass(eq=False, slots=True)
class _Copy(Generic[T, R]):
    """Process at work, with its jobs, the oldest first."""

    process: Forked
    jobs: deque[_Job[T, R]]


def cores() -> int:
    """Return the number of cores that this process may use; 1 where a copy of the process may not go on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def in_order(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield the result of a function for each item, in order; copies of this process do a part of the work.

    Args:
        work: changes nothing that a later call reads; results can be pickled. An item is given to this process again if
            the function fails in a copy, and raises its error here.
        items: can be pickled.

    Example:
        list(in_order(lambda n: n * n, range(5)))  # [0, 1, 4, 9, 16]
    """
    count = min(cores() - 1, MOST_COPIES) if len(items) >= LEAST_ITEMS else 0
    with ExitStack() as stack:
        copies: list[_Copy[T, R]] = []
        if count:
            stack.enter_context(on_one_core())
        # No further process may be allowed: the others then do everything.
        with suppress(OSError):
            for _ in range(count):
                copies.append(_Copy(forked(lambda pipe: _serve(pipe, work)), deque()))
                stack.callback(copies[-1].process.end)
        waiting: deque[_Job[T, R]] = deque()
        for item in items:
            for copy in copies:
                while copy.jobs and _ready(copy):
                    _receive(copy, work)
            job = _Job[T, R](item, [])
            waiting.append(job)
            idle = min(copies, key=lambda copy: len(copy.jobs), default=None)
            if idle is None or len(idle.jobs) >= AHEAD:
                job.results.append(work(item))
            else:
                _send(idle, job)
            # Memory does not grow with the items, and what is ready goes out at once.
            while waiting and (waiting[0].results or len(waiting) > AHEAD * (len(copies) + 1)):
                yield _result(waiting.popleft(), copies, work)
        while waiting:
            yield _result(waiting.popleft(), copies, work)


def _serve(pipe: Any, work: Callable[[Any], Any]) -> None:
    """Do the items of a pipe in a copy; nothing is sent back for an item that fails."""
    with suppress(EOFError, OSError), ThreadPoolExecutor(1) as sender:
        while True:
            item = pipe.recv()
            try:
                found = [work(item)]
            # The parent does the item again, and meets the same error.
            except Exception:
                found = []
            # A result larger than the buffer of the pipe waits until the parent reads; the next item does not.
            sender.submit(_reply, pipe, found)


def _reply(pipe: Any, found: list[Any]) -> None:
    """Send the result of an item; nothing for a result that cannot be sent, which the parent then makes."""
    # The parent may be gone.
    with suppress(OSError):
        try:
            pipe.send(found)
        except OSError:
            raise
        # Whatever a type raises that cannot be pickled: no byte has been sent by then.
        except Exception:
            pipe.send([])


def _send(copy: _Copy[T, R], job: _Job[T, R]) -> None:
    """Give an item to a copy."""
    copy.jobs.append(job)
    # A copy that was killed is noticed where its result is missing.
    with suppress(OSError):
        copy.process.pipe.send(job.item)


def _ready(copy: _Copy[T, R]) -> bool:
    """Return True if a copy has a result, or is gone."""
    try:
        return bool(copy.process.pipe.poll())
    except OSError:
        return True


def _receive(copy: _Copy[T, R], work: Callable[[T], R]) -> None:
    """Wait for the next result of a copy; without a result, do the item here."""
    job = copy.jobs.popleft()
    # A copy that was killed, as by a lack of memory, gives nothing; its other items fail here too.
    with suppress(EOFError, OSError):
        job.results += copy.process.pipe.recv()
    if not job.results:
        job.results.append(work(job.item))


def _result(job: _Job[T, R], copies: Sequence[_Copy[T, R]], work: Callable[[T], R]) -> R:
    """Return the result of a job, once received."""
    while not job.results:
        _receive(next(copy for copy in copies if job in copy.jobs), work)
    return job.results[0]
