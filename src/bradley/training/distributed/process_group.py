"""The processes of a run: who they are, and what they say to each other beside gradients.

Nothing here is pickled: what processes tell each other is JSON. It goes through a group of its own, on the CPU, whose
exchanges may take as long as the slowest checkpoint, and break off at once where a process dies.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from ...common.processes import Rank, rank_from
from ...config import Parallel
from ...errors import DiskFullError
from ...launch.local import INIT_METHOD
from ...model.device import takes_cuda
from .failures import Listener, cause, error_of, failure_of, is_lost, lost, report

FOREVER = timedelta(days=30)
"""For what one process may do while all others wait: tokenising, writing a checkpoint."""


ALONE = Rank()


class ProcessGroup:
    """The processes of a run; a run of one process exchanges nothing.

    Args:
        control: the process group of `gather`, where there is more than one process.
        store: where the first process that fails says why.
    """

    def __init__(self, process: Rank = ALONE, control: Any = None, store: Any = None) -> None:
        self.process = process
        self.control = control
        self.store = store

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.process.rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.process.size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """What every process gives, JSON values, in the order of the processes."""
        if self.size == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(data)]), group=self.control)
        longest = max(int(size) for size in sizes)
        rows = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(rows, torch.nn.functional.pad(data, (0, longest - len(data))), group=self.control)
        return [json.loads(bytes(row[: int(size)].tolist())) for row, size in zip(rows, sizes, strict=True)]

    def all_of(self, rows: list[Any]) -> list[Any]:
        """The rows of every process, one process after another."""
        return [row for each in self.gather(rows) for row in each]

    def any(self, flag: bool) -> bool:
        """Whether some process says so."""
        if self.size == 1:
            return flag
        found = torch.tensor(int(flag))
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return bool(found)

    def settle(self, error: BaseException | None) -> None:
        """Agree that nobody has failed. Every process calls this, in place of raising what it has caught.

        Raises:
            BradleyError: of the first process that has, in the order of the processes; it raises its own error.
        """
        try:
            failures = self.gather(None if error is None else failure_of(error, self.rank))
        finally:
            if error is not None:
                raise error
        for failure in filter(None, failures):
            raise error_of(failure, self.size)

    def agree(self, error: BaseException | None) -> None:
        """Agree that nobody has failed, or raise an error of one class in every process, so that all react alike.

        A full disk counts least: all processes may try again only if nothing worse happened to any of them.

        Args:
            error: caught by this process, or None.

        Raises:
            BradleyError: the worst failure; a process of the same class of failure raises its own error.
        """
        failures = [found for found in self.gather(None if error is None else failure_of(error, self.rank)) if found]
        if not failures:
            return
        worst = next((found for found in failures if found["kind"] != DiskFullError.__name__), failures[0])
        if error is not None and failure_of(error, self.rank)["kind"] == worst["kind"]:
            raise error
        raise error_of(worst, self.size) from error

    def on_main(self, act: Callable[[], object]) -> None:
        """Have the main process do something while the others wait; where it fails, all fail alike.

        Raises:
            BradleyError: as `settle`.
        """
        self.settle(caught(act) if self.is_main else None)

    def from_main(self, make: Callable[[], Any]) -> Any:
        """What the main process makes, a value of JSON, in all of them.

        Raises:
            BradleyError: as `settle`.
        """
        made: list[Any] = []
        self.on_main(lambda: made.append(make()))
        return self.gather(made[0] if made else None)[0]

    @contextlib.contextmanager
    def first_cause(self) -> Iterator[None]:
        """Turn an exchange that broke off into the error of the process that failed first, and tell the others of an
        error of this one's own.

        Raises:
            RankError: a process is gone, and nobody knows why.
            BradleyError: the first error of another process.
        """
        try:
            yield
        except BaseException as error:
            if self.size == 1:
                raise
            if not is_lost(error):
                report(self.store, error, self.rank)
                raise
            found = cause(self.store)
            raise (error_of(found, self.size) if found else lost(self.size)) from error

    @contextlib.contextmanager
    def one_first(self) -> Iterator[None]:
        """Let one process of each machine run the block before the others do, which then find what it left on disk.

        Raises:
            BradleyError: as `settle`.
        """
        first = self.process.local_rank == 0
        if not first:
            self.settle(None)
        error = None
        try:
            yield
        except BaseException as caught:
            error = caught
        if first:
            self.settle(error)
        self.settle(error)


def caught(act: Callable[..., object], *given: Any) -> BaseException | None:
    """What `act` raises, if it does."""
    try:
        act(*given)
    except BaseException as error:
        return error
    return None


@contextlib.contextmanager
def open_group(
    settings: Parallel, device: str = "auto", process: Rank | None = None, init: str = ""
) -> Iterator[ProcessGroup]:
    """Join the processes of a run for the time of the block; without torchrun there is nothing to join.

    A block that fails ends the others, within seconds, with the same error; the first one to fail says why.

    Args:
        device: `train.device`.
        init: how the processes find each other, as in `torch.distributed` (empty: as the launcher says, or torchrun).

    Raises:
        RankError: a process is gone.
        BradleyError: the first error of another process.
    """
    process = process or rank_from(os.environ)
    if process.size == 1:
        yield ProcessGroup()
        return
    on_cuda = takes_cuda(device)
    init = init or os.environ.get(INIT_METHOD, "env://")
    store = _join(process, timedelta(seconds=settings.timeout_seconds), init, on_cuda)
    group = ProcessGroup(process, dist.new_group(backend="gloo", timeout=FOREVER), store)
    listener = Listener(store, process.rank, process.size)
    try:
        with group.first_cause():
            yield group
    finally:
        listener.close()
        dist.destroy_process_group()


def _join(process: Rank, timeout: timedelta, init: str, on_cuda: bool) -> Any:
    """Join the process group, and return the store that all processes see."""
    if on_cuda:
        torch.cuda.set_device(process.local_rank)
    store, _, _ = next(iter(rendezvous(init, process.rank, process.size, timeout=timeout)))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_cuda else "gloo",
        store=store,
        rank=process.rank,
        world_size=process.size,
        timeout=timeout,
    )
    return store
