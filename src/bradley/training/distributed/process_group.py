"""Processes of a run, and exchanges between the processes beside gradients.

Messages are JSON, never pickles: a pickle can run code on the receiver. Messages travel through a separate gloo group
on the CPU. An exchange may take as long as the slowest checkpoint, and breaks off at once if a process dies.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout
from torch.distributed.rendezvous import rendezvous

from ...common.processes import Rank, rank_from
from ...config import Parallel
from ...errors import DiskFullError
from ...launch.local import INIT_METHOD
from ...model.device import takes_cuda
from .failures import Listener, cause, error_of, failure_of, is_lost, lost, report

FOREVER = timedelta(days=30)
"""Timeout of exchanges during the work of a single process, such as tokenising or writing a checkpoint."""
ALONE = Rank()
"""Rank of a single process."""


class ProcessGroup:
    """Processes of a run; a run of a single process exchanges nothing.

    All processes must call the exchanging methods, in the same order.

    Args:
        process: place of this process.
        control: gloo group of `gather`; None for a single process.
        store: key-value store of all processes, for the reason of the first failure.
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
        """True in the process that writes files and prints messages."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of the processes.

        Args:
            value: a JSON value.
        """
        if self.size == 1:
            return [value]
        # Collectives take tensors of equal size: sizes are exchanged first, then all texts are padded to the longest.
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(data)]), group=self.control)
        longest = max(int(size) for size in sizes)
        rows = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(rows, torch.nn.functional.pad(data, (0, longest - len(data))), group=self.control)
        return [json.loads(bytes(row[: int(size)].tolist())) for row, size in zip(rows, sizes, strict=True)]

    def all_of(self, rows: list[Any]) -> list[Any]:
        """Return the rows of all processes as a single list, in the order of the processes."""
        return [row for each in self.gather(rows) for row in each]

    def any(self, flag: bool) -> bool:
        """Return True if the flag of any process is True."""
        if self.size == 1:
            return flag
        # A single collective of one number: DDP and FSDP2 ask before every round of micro-batches.
        found = torch.tensor(int(flag))
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return bool(found)

    def settle(self, error: BaseException | None) -> None:
        """Raise in every process if any process has failed. Call with a caught error, instead of raising directly.

        Args:
            error: caught by this process; None for success.

        Raises:
            BradleyError: the failure of the first failed process, in the order of the processes. Failed processes raise
                their own errors.
        """
        # A process raising alone would leave the others waiting in their next exchange.
        try:
            failures = self.gather(None if error is None else failure_of(error, self.rank))
        finally:
            # In `finally`: a broken exchange must not hide the error of this process.
            if error is not None:
                raise error
        for failure in filter(None, failures):
            raise error_of(failure, self.size)

    def agree(self, error: BaseException | None) -> None:
        """Raise an error of the same class in every process if any process has failed: all then react alike.

        A full disk is the mildest failure: all processes may try again only if no process has a worse failure.

        Args:
            error: caught by this process; None for success.

        Raises:
            BradleyError: the worst failure. Processes with a failure of the same class raise their own errors.
        """
        try:
            found = self.gather(None if error is None else failure_of(error, self.rank))
        except BaseException:
            # Another process is gone: an own error says more than the broken exchange.
            if error is not None:
                raise error from None
            raise
        failures = [failure for failure in found if failure]
        if not failures:
            return
        worst = next((found for found in failures if found["kind"] != DiskFullError.__name__), failures[0])
        # The own error keeps its traceback; a process with a milder or no failure gets a copy of the worst.
        if error is not None and failure_of(error, self.rank)["kind"] == worst["kind"]:
            raise error
        raise error_of(worst, self.size) from error

    def on_main(self, act: Callable[[], object]) -> None:
        """Run a function on the main process, while the others wait; a failure is raised in every process.

        Raises:
            BradleyError: as for `settle`.
        """
        self.settle(caught(act) if self.is_main else None)

    def from_main(self, make: Callable[[], Any]) -> Any:
        """Return the main process's result in every process.

        Args:
            make: called on the main process only; returns a JSON value.

        Raises:
            BradleyError: as for `settle`.
        """
        made: list[Any] = []
        self.on_main(lambda: made.append(make()))
        return self.gather(made[0] if made else None)[0]

    @contextlib.contextmanager
    def first_cause(self) -> Iterator[None]:
        """Turn a broken exchange into the error of the first failed process, and report own errors to the others.

        Raises:
            RankError: a process is gone, and the reason is unknown.
            BradleyError: the first error of another process.
        """
        try:
            yield
        except BaseException as error:
            if self.size == 1:
                raise
            # An own error may be the first cause. A broken exchange is only the consequence of a failure elsewhere.
            if not is_lost(error):
                report(self.store, error, self.rank)
                raise
            found = cause(self.store)
            raise (error_of(found, self.size) if found else lost(self.size)) from error

    @contextlib.contextmanager
    def one_first(self) -> Iterator[None]:
        """Run the block in a single process of each machine first; the others then find the results on disk.

        Raises:
            BradleyError: as for `settle`.
        """
        # Two calls of `settle` in every process. First processes run the block before both calls, the others between.
        first = self.process.local_rank == 0
        if not first:
            self.settle(None)
        error = None
        # Every error is held back until both calls are done: a missing call would leave the others waiting.
        try:
            yield
        except BaseException as caught:
            error = caught
        if first:
            self.settle(error)
        self.settle(error)


@contextlib.contextmanager
def open_group(
    settings: Parallel, device: str = "auto", process: Rank | None = None, init: str = ""
) -> Iterator[ProcessGroup]:
    """Join the processes of a run while the block runs; without torchrun the group is a single process.

    A failed block ends the other processes within seconds, with the error of the first failed process.

    Args:
        settings: section `parallel` of the configuration, for the timeout.
        device: `train.device`.
        process: place of this process; None reads the variables set by torchrun.
        init: `init_method` of `torch.distributed`; empty for the launcher's, otherwise torchrun's.

    Yields:
        The joined processes.

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
    timeout = timedelta(seconds=settings.timeout_seconds)
    try:
        store = _join(process, timeout, init, on_cuda)
        group = ProcessGroup(process, _control_group(timeout), store)
    except Exception as error:
        # A process may die before all are connected; nobody can have reported a first cause yet.
        if is_lost(error):
            raise lost(process.size) from error
        raise
    # gloo breaks off when a process dies, but NCCL may wait for ever. The listener ends a process stuck like this.
    listener = Listener(store, process.rank, process.size)
    try:
        with group.first_cause():
            yield group
    finally:
        listener.close()
        dist.destroy_process_group()


def _join(process: Rank, timeout: timedelta, init: str, on_cuda: bool) -> Any:
    """Join the default process group, and return the store shared by all processes."""
    # Before the first collective: NCCL takes the current device, and all ranks of a machine would share GPU 0.
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


def _control_group(timeout: timedelta) -> Any:
    """Connect all processes within the timeout, in a group whose exchanges may take for ever."""
    # A group beside the default group: the timeout of gradients is too short for a wait during a checkpoint. Only the
    # connecting is bounded: a process may be killed before the others know its address.
    group = dist.new_group(backend="gloo", timeout=timeout)
    _set_pg_timeout(FOREVER, group)
    return group


def caught(act: Callable[..., object], *given: Any) -> BaseException | None:
    """Call a function and return the raised exception, or None."""
    try:
        act(*given)
    except BaseException as error:
        return error
    return None
