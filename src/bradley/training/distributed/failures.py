"""Turn an error of a single process into an error of all processes, who then report the first cause."""

import contextlib
import json
import os
import threading
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ... import errors
from ...common.console import to_stderr
from ...common.secrets import redact
from ...common.signals import StopRequested
from ...common.text import one_line
from ...errors import BradleyError, Preempted, RankError

CAUSE = "bradley/first-failure"
"""Key of the store for the reason given by the first failing process."""
WAIT_FOR_CAUSE = timedelta(seconds=2)
"""Time for another, lost process to give a reason."""
GRACE_SECONDS = 10.0
"""Time for a process to notice by an exchange of data that another process has failed."""
POLL_SECONDS = 1.0
"""Seconds between two looks at the store."""

Failure = dict[str, Any]
"""An error as JSON values: rank, kind, lines of the message, hint."""
KINDS: dict[str, type[BradleyError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BradleyError)
}
"""Classes of errors by name, to rebuild an error from a `Failure`."""


def failure_of(error: BaseException, rank: int) -> Failure:
    """Return an error as JSON values. A bug has no exit code of its own and gets 1.

    Secrets are removed here: other machines have other variables, and could not recognise the secrets of this process.
    """
    if isinstance(error, BradleyError):
        # Subclasses outside `errors`, such as a plugin's, are no key of `KINDS`; the nearest base class keeps the exit
        # code.
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS)
        lines = [redact(line) for line in error.lines]
        return {"rank": rank, "kind": kind, "lines": lines, "hint": redact(error.hint)}
    if isinstance(error, StopRequested):
        return {"rank": rank, "kind": Preempted.__name__, "lines": [f"stopped by {error}"], "hint": ""}
    message = f"{type(error).__name__}: {one_line(error) or 'no message'}"  # type: ignore[arg-type]
    hint = f"its traceback is in logs/rank-{rank}.log" if rank else "its traceback is on the screen of process 0"
    return {"rank": rank, "kind": BradleyError.__name__, "lines": [message], "hint": hint}


def error_of(failure: Failure, size: int) -> BradleyError:
    """Return the error for every other process: of the same class, for the same exit code."""
    first, *more = failure["lines"]
    return KINDS[failure["kind"]]([f"process {failure['rank']} of {size}: {first}", *more], failure["hint"])


def is_lost(error: BaseException) -> bool:
    """Return True if an error means that an exchange with other processes broke off or took too long."""
    # gloo and NCCL raise plain RuntimeErrors for a lost process, told from bugs by their text alone.
    text = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and any(word in text for word in ("gloo", "Gloo", "NCCL", "Connection closed", "Wait timeout"))
    )


def report(store: Any, error: BaseException, rank: int) -> None:
    """Leave this process's failure in the store, unless another process was first.

    A lost store is ignored: all other processes then notice the loss as this process has.
    """
    # Only the first value is kept: later failures are mostly consequences of the first.
    with contextlib.suppress(RuntimeError):
        store.compare_set(CAUSE, "", json.dumps(failure_of(error, rank)))


def cause(store: Any, wait: timedelta = WAIT_FOR_CAUSE) -> Failure | None:
    """Return the failure left by the first failing process, after a short wait; None if no process left a reason."""
    try:
        store.wait([CAUSE], wait)
        found: Failure = json.loads(store.get(CAUSE))
    except RuntimeError:  # no reason came in time, or the process holding the store is gone
        return None
    return found


def lost(size: int) -> RankError:
    """Return the error for a missing process without a known reason."""
    return RankError(
        f"one of the {size} processes of the run is gone, or has not answered in time",
        "its log may say why: logs/rank-N.log in the run folder; with --resume it goes on from its last checkpoint",
    )


class Listener:
    """Thread that ends this process if another process has failed and this process waits for the other in vain, for
    example inside NCCL.

    Args:
        store: holds the reason of the first failing process.
        rank: of this process.
        size: number of processes.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._listen, name="failures of other processes", daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while not self.closed.wait(POLL_SECONDS):
            try:
                if not self.store.check([CAUSE]):
                    continue
            except RuntimeError:
                return  # the process holding the store is gone; the next exchange will fail and say so
            # The main thread gets time to fail in order, with closed files. Only a thread stuck in a collective is cut
            # off.
            found = cause(self.store)
            if found is None or found["rank"] == self.rank or self.closed.wait(GRACE_SECONDS):
                return
            error = error_of(found, self.size)
            to_stderr(*(f"error: {line}" for line in error.lines), f"hint: {error.hint}")
            # `sys.exit` would end only this thread; the main thread may hang in NCCL for ever.
            os._exit(error.exit_code)

    def close(self) -> None:
        """Stop listening."""
        self.closed.set()
        self.thread.join()
