"""A few forked processes that form a group, for tests: each runs a function and sends back what it returns."""

import multiprocessing
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from bradley.config import Parallel
from bradley.errors import BradleyError
from bradley.training.parallel.group import Group, Place, open_group

SECONDS = 60


class Result(NamedTuple):
    """What became of one process: what it returned, or its error with the exit code of that."""

    value: Any = None
    error: str = ""
    code: int = 0


def together(size: int, work: Callable[[Group], Any], settings: Parallel | None = None) -> list[Result]:
    """Run `work` in so many processes, and give back what became of each; none may take longer than `SECONDS`."""
    torch.set_num_threads(1)
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        init = f"file://{folder}/store"
        pipes = [fork.Pipe(duplex=False) for _ in range(size)]
        children = [
            fork.Process(target=_run, args=(Place(rank, size, rank, size), init, work, settings or Parallel(), sender))
            for rank, (_, sender) in enumerate(pipes)
        ]
        for child in children:
            child.start()
        for _, sender in pipes:
            sender.close()
        try:
            return [_received(receiver, child) for (receiver, _), child in zip(pipes, children, strict=True)]
        finally:
            for child in children:
                child.kill()
                child.join()


def values(size: int, work: Callable[[Group], Any], settings: Parallel | None = None) -> list[Any]:
    """The same where nothing may go wrong."""
    results = together(size, work, settings)
    assert [result.error for result in results] == [""] * size, "\n".join(result.error for result in results)
    return [result.value for result in results]


def _received(receiver: Any, child: Any) -> Result:
    try:
        if receiver.poll(SECONDS):
            return pickle.loads(receiver.recv_bytes())
    except EOFError:
        child.join()
        return Result(error=f"ended with {child.exitcode}", code=child.exitcode)
    return Result(error=f"no answer in {SECONDS} seconds", code=-1)


def _run(place: Place, init: str, work: Callable[[Group], Any], settings: Parallel, sender: Any) -> None:
    try:
        with open_group(settings, "cpu", place, init) as group:
            result = Result(work(group))
    except BradleyError as error:
        result = Result(None, error.message, error.exit_code)
    except BaseException:
        result = Result(None, traceback.format_exc(), 1)
    sender.send_bytes(pickle.dumps(result))  # whole, where `send` would share the memory of tensors
    sender.close()
    os._exit(result.code)
