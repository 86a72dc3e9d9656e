"""A thread that ends a process of a run which makes no progress: one that waits for another that will never answer.

A collective operation with a process that hangs waits for as long as PyTorch lets it, which is minutes to for ever, and
the GPUs of a whole job with it. Where each process ends itself, the launcher can go on from the last checkpoint.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from ...common.disk import FOLDER_MODE
from ...common.files import opener
from ...errors import RankError

STEPS = 50
"""Steps that the median is of."""
FEWEST_STEPS = 3
"""Steps that have to be known before a run counts as warm."""
TIMES_MEDIAN = 5.0
"""How many times the median step is too long."""
SLOW_FACTOR = 10.0
"""How much longer the first steps may take, and the work of `Watchdog.slow`."""
STDERR = 2
LAST_WORDS_SECONDS = 10.0
"""What is left for saying why, before the process ends in any case."""


class Watchdog:
    """Ends this process with the exit code of `RankError` after too long without a `heartbeat`.

    Too long is `seconds`, or `TIMES_MEDIAN` times the median of the last `STEPS` steps where that is more; a run that
    is not warm yet may take longer. The stacks of all threads go to the log and to stderr first. It waits for the first
    beat, and sleeps while the process itself is stopped: a job that a scheduler suspends and wakes again is not ended.

    Args:
        seconds: 0 turns it off.
        log: file that the stacks are added to; its folder is made where it is missing.
        on_hang: takes what happened, in one line, before the process ends.
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
        """Say that there is progress: after every micro-batch, in training and in evaluation."""
        self._last_beat = time.monotonic()

    def step(self) -> None:
        """Say that an optimizer step is done. It counts from the step before, without what else came between."""
        self.heartbeat()
        if self._last_step is not None and self._last_beat is not None:
            self._steps.append(self._last_beat - self._last_step)
        self._last_step = self._last_beat

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        """Around work without beats that may take longer than a step, such as saving: it is no part of the next one."""
        self.heartbeat()
        self._factor = SLOW_FACTOR
        try:
            yield
        finally:
            self.heartbeat()
            self._factor, self._last_step = 1.0, self._last_beat

    @property
    def limit(self) -> float:
        """Seconds without a beat after which the process ends."""
        if len(self._steps) < FEWEST_STEPS:
            return SLOW_FACTOR * self.seconds
        return self._factor * max(self.seconds, TIMES_MEDIAN * median(self._steps))

    def _watch(self) -> None:
        pause = min(1.0, self.seconds / 10)
        while not self._done.is_set():
            before = time.monotonic()
            self._done.wait(pause)
            now = time.monotonic()
            if self._last_beat is None:
                continue
            if now - before > pause + self.seconds / 2:  # this process was stopped, so nothing could beat
                self.heartbeat()
            elif now - self._last_beat > self.limit:
                self._end(now - self._last_beat)
                return

    def _end(self, silent: float) -> None:
        # A full or lost disk may hold up what follows; this thread of faulthandler's ends the process all the same.
        faulthandler.dump_traceback_later(LAST_WORDS_SECONDS, exit=True)
        what = f"no progress for {silent:.0f} seconds, more than the limit of {self.limit:.0f}"
        print(f"error: {what}; this is what every thread was at:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=STDERR)
        try:
            self._note(what)
            self.on_hang(what)
        finally:
            self.leave(RankError.exit_code)
            faulthandler.cancel_dump_traceback_later()

    def _note(self, what: str) -> None:
        self.log.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        with open(self.log, "a", encoding="utf-8", opener=opener) as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()}: {what}\n")
            file.flush()
            faulthandler.dump_traceback(file=file)
