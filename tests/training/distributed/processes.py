"""A few forked processes that form a group, for tests: each runs a function and sends back what it returns."""

import functools
import multiprocessing
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from bradley.config import Parallel
from bradley.errors import BradleyError
from bradley.training.distributed.process_group import ProcessGroup, Rank, open_group

SECONDS = 60


class Result(NamedTuple):
    """What became of one process: what it returned, or its error with the exit code of that."""

    value: Any = None
    error: str = ""
    code: int = 0


def fork(size: int, work: Callable[[int, str], Any], seconds: float = SECONDS) -> list[Result]:
    """Run `work(rank, init)` in so many processes, with a place for them to meet, and give back what became of each."""
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(size)]
        children = [
            context.Process(target=_run, args=(functools.partial(work, rank, f"file://{folder}/store"), sender))
            for rank, (_, sender) in enumerate(pipes)
        ]
        for child in children:
            child.start()
        for _, sender in pipes:
            sender.close()
        try:
            return [_received(receiver, child, seconds) for (receiver, _), child in zip(pipes, children, strict=True)]
        finally:
            for child in children:
                child.kill()
                child.join()


def together(size: int, work: Callable[[ProcessGroup], Any], settings: Parallel | None = None) -> list[Result]:
    """Run `work(group)` in so many processes that form a group."""

    def member(rank: int, init: str) -> Any:
        with open_group(settings or Parallel(), "cpu", Rank(rank, size, rank, size), init) as group:
            return work(group)

    return fork(size, member)


def values(size: int, work: Callable[[ProcessGroup], Any], settings: Parallel | None = None) -> list[Any]:
    """The same where nothing may go wrong."""
    results = together(size, work, settings)
    assert [result.error for result in results] == [""] * size, "\n".join(result.error for result in results)
    return [result.value for result in results]


def _received(receiver: Any, child: Any, seconds: float) -> Result:
    try:
        if receiver.poll(seconds):
            return pickle.loads(receiver.recv_bytes())
    except EOFError:
        child.join()
        return Result(error=f"ended with {child.exitcode}", code=child.exitcode)
    return Result(error=f"no answer in {seconds} seconds", code=-1)


def _run(work: Callable[[], Any], sender: Any) -> None:
    try:
        result = Result(work())
    except BradleyError as error:
        result = Result(None, error.message, error.exit_code)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # as the interpreter would, into the log of the process if it has one
        result = Result(None, traceback.format_exc(), 1)
    sender.send_bytes(pickle.dumps(result))  # whole, where `send` would share the memory of tensors
    sender.close()
    os._exit(result.code)
