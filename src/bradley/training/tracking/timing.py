"""Where the time goes: seconds per phase, token rates, peak memory. Never reproducible, so kept out of the metrics."""

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

from ...data.micro_batches import Sizes
from .gpu import GpuMeter

STATUS = Path("/proc/self/status")
"""Where Linux says what a process has held at most."""


class Timer:
    """Adds up seconds by phase and tokens, from one reading to the next.

    Args:
        gpu_seconds: between two readings of the GPU (0: none).
        before: seconds that the run has taken already.
    """

    def __init__(self, device: torch.device, gpu_seconds: float = 0.0, before: float = 0.0) -> None:
        self.device = device
        self.gpu = GpuMeter(gpu_seconds, device)
        self.began = time.perf_counter() - before
        self._reset()

    def _reset(self) -> None:
        self.seconds: dict[str, float] = {}
        self.unique_tokens = self.padded_tokens = 0
        self.since = time.perf_counter()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # kernels run behind the clock otherwise
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def count(self, sizes: Sizes, micro_batches: Sequence[np.ndarray]) -> None:
        """Count the tokens of a step, of all processes: once, and as the padded rows of the plain engine."""
        for chosen in micro_batches:
            self.unique_tokens += int(sizes.tokens[chosen].sum())
            self.padded_tokens += int(sizes.longest[chosen].max()) * int(sizes.rows[chosen].sum())

    def read(self) -> dict[str, Any]:
        """Figures since the last reading, as the fields of a `timing` event."""
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
            return torch.cuda.max_memory_allocated() / 2**30
        status = STATUS.read_text(encoding="utf-8") if STATUS.is_file() else ""
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):  # getrusage counts the process before this program, too
            return int(found[1]) / 2**20
        unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
