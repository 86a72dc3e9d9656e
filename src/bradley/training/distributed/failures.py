"""How an error of one process becomes an error of all: the first cause is what everyone says."""

import contextlib
import json
import os
import sys
import threading
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ... import errors
from ...common.secrets import redact
from ...common.signals import StopRequested
from ...common.text import one_line
from ...errors import BradleyError, Preempted, RankError

CAUSE = "bradley/first-failure"
"""Key of the store under which the first process that fails says why."""
WAIT_FOR_CAUSE = timedelta(seconds=2)
"""How long a process that lost another one waits for it to say why."""
GRACE_SECONDS = 10.0
"""How long a process may take to find out by itself that another one has failed."""
POLL_SECONDS = 1.0

Failure = dict[str, Any]
KINDS: dict[str, type[BradleyError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BradleyError)
}


def failure_of(error: BaseException, rank: int) -> Failure:
    """An error as JSON values. The exit code of a bug, which has none, is 1.

    Secrets are left out here, because other machines have other variables and would not know them.
    """
    if isinstance(error, BradleyError):
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS)
        return {"rank": rank, "kind": kind, "message": redact(error.message), "hint": redact(error.hint)}
    if isinstance(error, StopRequested):
        return {"rank": rank, "kind": Preempted.__name__, "message": f"stopped by {error}", "hint": ""}
    message = f"{type(error).__name__}: {one_line(error) or 'no message'}"  # type: ignore[arg-type]
    hint = f"its traceback is in logs/rank-{rank}.log" if rank else "its traceback is on the screen of process 0"
    return {"rank": rank, "kind": BradleyError.__name__, "message": message, "hint": hint}


def error_of(failure: Failure, size: int) -> BradleyError:
    """What every other process raises: an error of the same class, so that all end with one exit code."""
    return KINDS[failure["kind"]](f"process {failure['rank']} of {size}: {failure['message']}", failure["hint"])


def is_lost(error: BaseException) -> bool:
    """Whether an error says that an exchange with the other processes broke off or took too long."""
    text = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "Gloo", "NCCL", "Connection closed"))
    )


def report(store: Any, error: BaseException, rank: int) -> None:
    """Leave a cause for the others, unless another process was first, or who kept the store is gone: then all others
    find out as this one has.
    """
    with contextlib.suppress(RuntimeError):
        store.compare_set(CAUSE, "", json.dumps(failure_of(error, rank)))


def cause(store: Any, wait: timedelta = WAIT_FOR_CAUSE) -> Failure | None:
    """What the process that failed first has said, waiting for it a little; None where it fell silent."""
    try:
        store.wait([CAUSE], wait)
        found: Failure = json.loads(store.get(CAUSE))
    except RuntimeError:  # nothing came in time, or who kept the store is gone
        return None
    return found


def lost(size: int) -> RankError:
    """The error where a process is gone and nobody knows why."""
    return RankError(
        f"one of the {size} processes of the run is gone, or has not answered in time",
        "its log may say why: logs/rank-N.log in the run folder; with --resume it goes on from its last checkpoint",
    )


class Listener:
    """Ends this process where another one has failed and this one waits for it in vain, as it may inside NCCL."""

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
                return  # who kept the store is gone, which the next exchange will find
            found = cause(self.store)
            if found is None or found["rank"] == self.rank or self.closed.wait(GRACE_SECONDS):
                return
            error = error_of(found, self.size)
            print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr, flush=True)
            os._exit(error.exit_code)

    def close(self) -> None:
        """Stop listening."""
        self.closed.set()
        self.thread.join()
