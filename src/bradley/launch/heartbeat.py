"""Heartbeats: a rank touches a file, and the launcher ends a silent rank.

The watchdog of training looks at steps, from the first step on. A heartbeat covers the whole life of a rank: imports,
connecting, loading, publishing, and the end. A thread beats: long work is no silence. A silent process is
suspended, or held by the system or by a call without return to Python.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

from ..common.files import write_text
from ..common.processes import parent_of

RANK, ENDED, BEAT = "rank-", "ended-", "beat-"
"""Files of a rank in the launcher's folder: process id, process id after an orderly end, and limit of silence."""
BEAT_SECONDS = 1.0
HANG_SECONDS = 60.0
"""Limit before a rank has read the configuration; the default of `parallel.hang_seconds`."""
FEWEST_SECONDS = 30.0
"""Least limit: a busy machine may hold a thread for many seconds."""
FACTOR = 2.0
"""The watchdog of training knows more about a hang than the launcher, and ends a run first."""
START_SECONDS = 300.0
"""Limit for the start of all ranks, in which each imports Python's own modules alone."""
ASLEEP_SECONDS = 10.0
"""A longer pause between two looks means that the launcher was suspended, and the ranks with it."""


class Heartbeat:
    """File that holds the limit of silence of a rank, touched once in `BEAT_SECONDS` while the process lives.

    Args:
        path: the file; made now.

    Attributes:
        current: heartbeat of this process; None without a launcher.
    """

    current: "Heartbeat | None" = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_limit(HANG_SECONDS)
        Heartbeat.current = self
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def set_limit(self, hang_seconds: float) -> None:
        """Replace the limit, see `limit_of`."""
        write_text(self.path, str(limit_of(hang_seconds)))

    def _beat(self) -> None:
        # The launcher removes the folder at its end.
        with contextlib.suppress(FileNotFoundError):
            while True:
                time.sleep(BEAT_SECONDS)
                os.utime(self.path)


def limit_of(hang_seconds: float) -> float:
    """Seconds of silence before the launcher ends a rank; infinity for `parallel.hang_seconds = 0`."""
    return max(FEWEST_SECONDS, FACTOR * hang_seconds) if hang_seconds else float("inf")


def set_limit(hang_seconds: float) -> None:
    """Set the limit of this process from `parallel.hang_seconds`; without a launcher nothing happens."""
    if Heartbeat.current is not None:
        Heartbeat.current.set_limit(hang_seconds)


class Silence:
    """Search for ranks of this machine that stand still, at the start, under way, or at the end.

    Args:
        folder: the launcher's folder.
        processes: number of ranks on this machine.
        agent: process id of torchrun.
        start_seconds: limit for the start of all ranks.
    """

    def __init__(self, folder: Path, processes: int, agent: int, start_seconds: float = START_SECONDS) -> None:
        self.folder, self.processes, self.agent, self.start_seconds = folder, processes, agent, start_seconds
        self._looked = self._began = time.monotonic()
        self._beats: dict[str, tuple[int, float]] = {}
        self._first_end = float("inf")

    def look(self) -> tuple[str, list[int]]:
        """Return the reason for ending the run, '' for none, and the process ids of the ranks that stand still."""
        now = time.monotonic()
        if now - self._looked > ASLEEP_SECONDS:
            self._sleep(now - self._looked)
        self._looked = now
        living, ended = self._ranks(RANK), self._ranks(ENDED)
        begun = {*living, *ended}
        if len(begun) < self.processes and now - self._began > self.start_seconds:
            waited = f"{now - self._began:.0f} seconds"
            return f"{len(begun)} of {self.processes} processes of this machine have begun within {waited}", []
        # An ended rank may hang at the exit of Python. Another process may have the number of a rank that is gone.
        alive = {number: pid for number, pid in (ended | living).items() if parent_of(pid) == self.agent}
        if ended:
            self._first_end = min(self._first_end, now)
        for number, pid in alive.items():
            silent, limit = self._silence(number, now)
            if silent > limit:
                return f"rank {number} of this machine (process {pid}) stands still for {silent:.0f} seconds", [pid]
            if now - self._first_end > limit:
                waited = f"{now - self._first_end:.0f} seconds after another"
                return f"rank {number} of this machine (process {pid}) has not ended {waited}", [pid]
        if len(ended) == self.processes and not alive and now - self._first_end > self.start_seconds:
            return f"torchrun has not ended {now - self._first_end:.0f} seconds after the first of its processes", []
        return "", []

    def _sleep(self, seconds: float) -> None:
        """Move every time of an event by a pause in which nobody could act."""
        self._began += seconds
        self._first_end += seconds
        self._beats = {number: (stamp, seen + seconds) for number, (stamp, seen) in self._beats.items()}

    def _ranks(self, kind: str) -> dict[str, int]:
        """Process ids by local rank, of the files of a kind."""
        found = {}
        for path in self.folder.glob(f"{kind}*"):
            with contextlib.suppress(FileNotFoundError):  # renamed since the folder was listed
                found[path.name.removeprefix(kind)] = int(path.read_text())
        return found

    def _silence(self, number: str, now: float) -> tuple[float, float]:
        """Seconds since the last beat of a rank by the clock of the launcher, and the limit."""
        path = self.folder / f"{BEAT}{number}"
        try:
            stamp, limit = path.stat().st_mtime_ns, float(path.read_text())
        except FileNotFoundError:  # not begun, or removed by a cleaner of temporary files
            return 0.0, float("inf")
        if self._beats.get(number, (0, now))[0] != stamp:
            self._beats[number] = (stamp, now)
        return now - self._beats[number][1], limit
