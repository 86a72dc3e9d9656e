"""End a process of a run that makes no progress, from a thread: for example a process waiting for a dead process.

A collective operation with a hanging process waits until PyTorch's timeout, from minutes to for ever, and blocks all
GPUs of the job. If each process ends early, the launcher can resume from the last checkpoint.
"""

import contextlib
import faulthandler
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from ...common.console import to_stderr
from ...common.disk import FOLDER_MODE
from ...common.files import opener
from ...common.text import message_line
from ...errors import RankError

STEPS = 50
"""Number of recent steps in the median."""
FEWEST_STEPS = 3
"""Measured steps before a run counts as warm."""
TIMES_MEDIAN = 5.0
"""Multiple of the median step time that counts as too long."""
SLOW_FACTOR = 10.0
"""Factor on the limit for the first steps, and for the work inside `Watchdog.slow`."""
STDERR = 2
"""File descriptor of stderr, also if `sys.stderr` is replaced."""
LAST_WORDS_SECONDS = 10.0
"""Seconds left for the report before the process ends in any case."""


class Watchdog:
    """Timer that ends this process, with the exit code of `RankError`, after too long a time without `heartbeat`.

    The limit is the larger of `seconds` and `TIMES_MEDIAN` times the median of the last `STEPS` steps. A run that is
    not warm yet may take longer. Before the end, the stacks of all threads go to the log and to stderr. The timer
    starts with the first heartbeat, and pauses while the process is suspended: a job suspended and woken by a scheduler
    is not ended.

    Args:
        seconds: least limit; 0 turns the watchdog off.
        log: file to append the stacks to; a missing folder is made.
        on_hang: called with a line about the cause, before the process ends.
        leave: ends the process.
    """

    def __init__(
        self,
        seconds: float,
        log: Path = Path(os.devnull),
        on_hang: Callable[[str], object] = lambda what: None,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self.seconds = seconds
        self.log = log
        self.on_hang = on_hang
        self.leave = leave
        self._steps: deque[float] = deque(maxlen=STEPS)
        self._last_beat: float | None = None
        self._last_step: float | None = None
        self._factor = 1.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self.seconds:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def heartbeat(self) -> None:
        """Report progress: after every micro-batch, in training and in evaluation."""
        self._last_beat = time.monotonic()

    def step(self) -> None:
        """Report the end of an optimizer step, and measure the time since the step before, without slow work in
        between."""
        self.heartbeat()
        if self._last_step is not None and self._last_beat is not None:
            self._steps.append(self._last_beat - self._last_step)
        self._last_step = self._last_beat

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        """Allow a longer silence inside the block, for work such as saving; the block's time counts for no step."""
        self.heartbeat()
        self._factor = SLOW_FACTOR
        try:
            yield
        finally:
            self.heartbeat()
            self._factor, self._last_step = 1.0, self._last_beat

    @property
    def limit(self) -> float:
        """Seconds without heartbeat before the process ends."""
        # The first steps compile kernels and fill caches, and a median of so few says little.
        if len(self._steps) < FEWEST_STEPS:
            return SLOW_FACTOR * self.seconds
        return self._factor * max(self.seconds, TIMES_MEDIAN * median(self._steps))

    def _watch(self) -> None:
        # Short pauses keep the end within a tenth of the limit, and let the thread stop with the block.
        pause = min(1.0, self.seconds / 10)
        while not self._done.is_set():
            before = time.monotonic()
            self._done.wait(pause)
            now = time.monotonic()
            if self._last_beat is None:
                continue
            # A wait much longer than `pause` means that this process was suspended and could not beat.
            if now - before > pause + self.seconds / 2:
                self.heartbeat()
            elif now - self._last_beat > self.limit:
                self._end(now - self._last_beat)
                return

    def _end(self, silent: float) -> None:
        # A full or lost disk may block the lines below. This thread of faulthandler ends the process all the same.
        faulthandler.dump_traceback_later(LAST_WORDS_SECONDS, exit=True)
        what = f"no progress for {silent:.0f} seconds, more than the limit of {self.limit:.0f}"
        to_stderr(f"error: {what}; this is what every thread was at:")
        faulthandler.dump_traceback(file=STDERR)
        try:
            # stderr comes first: the log may lie on a disk that is the very cause of the hang.
            self._note(what)
            self.on_hang(what)
        finally:
            self.leave(RankError.exit_code)
            faulthandler.cancel_dump_traceback_later()

    def _note(self, what: str) -> None:
        self.log.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        with open(self.log, "a", encoding="utf-8", opener=opener) as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()}: {message_line(what)}\n")
            file.flush()
            faulthandler.dump_traceback(file=file)
