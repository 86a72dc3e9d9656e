"""Measure seconds per phase, token rates and peak memory. Figures of time are never reproducible, hence kept out of the
metrics."""

import contextlib
import re
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...common.text import GIB
from ...data.micro_batches import Sizes
from .gpu import GpuMeter

STATUS = Path("/proc/self/status")
"""Linux' report on this process, with the peak of resident memory."""


class Timer:
    """Sum of seconds by phase and of tokens, between two calls of `read`.

    Args:
        device: of the run.
        gpu_seconds: between two readings of the GPU (0: none).
        before: seconds of the run before a resume.
    """

    def __init__(self, device: torch.device, gpu_seconds: float = 0.0, before: float = 0.0) -> None:
        self.device = device
        self.gpu = GpuMeter(gpu_seconds, device)
        self.began = time.perf_counter() - before
        self._reset()

    def _reset(self) -> None:
        self.seconds: dict[str, float] = {}
        self.marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self.unique_tokens = self.padded_tokens = 0
        self.since = time.perf_counter()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block as part of a phase; on a GPU the time between marks among the kernels of the block."""
        # Kernels run after the call that starts them. Marks are timed by the GPU and read later: a wait for the GPU at
        # the end of every phase would leave the GPU idle while the next micro-batch is made.
        if self.device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            yield
            end.record()
            self.marks.append((name, begin, end))
            return
        started = time.perf_counter()
        yield
        self._add(name, time.perf_counter() - started)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def count(self, sizes: Sizes, micro_batches: Sequence[np.ndarray]) -> None:
        """Count the tokens of a step over all processes: unique tokens, and tokens of padded rows as the plain engine
        runs.

        Args:
            sizes: of all comparisons.
            micro_batches: [G] comparisons of each micro-batch.
        """
        for comparisons in micro_batches:
            self.unique_tokens += int(sizes.tokens[comparisons].sum())
            self.padded_tokens += int(sizes.longest[comparisons].max()) * int(sizes.rows[comparisons].sum())

    def read(self) -> dict[str, Any]:
        """Return the figures since the last call, as fields of a `timing` event; waits for the GPU."""
        if self.marks:
            torch.cuda.synchronize(self.device)
        for name, begin, end in self.marks:
            self._add(name, begin.elapsed_time(end) / 1000)
        elapsed = time.perf_counter() - self.since
        row = {
            "seconds_since_start": time.perf_counter() - self.began,
            "seconds": elapsed,
            **{f"seconds/{name}": value for name, value in self.seconds.items()},
            "unique_tokens_per_second": self.unique_tokens / elapsed,
            "padded_tokens_per_second": self.padded_tokens / elapsed,
            "peak_memory_gib": self._peak_gib(),
            **self.gpu.read(),
        }
        self._reset()
        return row

    def close(self) -> None:
        """End the readings of the GPU."""
        self.gpu.close()

    def _peak_gib(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / GIB
        status = STATUS.read_text(encoding="utf-8") if STATUS.is_file() else ""
        # getrusage also counts memory from before `exec`, such as the memory of a large parent process.
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(found[1]) / 2**20
        # `ru_maxrss` is in bytes on macOS, and in KiB elsewhere.
        unit = 1 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
