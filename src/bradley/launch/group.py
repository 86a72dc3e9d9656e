"""torchrun and the ranks that it started on this machine, from outside: what lives, what is told, what is killed."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .parent import alive
from .rank import ENDED, RANK

POLL_SECONDS = 0.1
GRACE_SECONDS = 8.0
"""How long ranks may take to end by themselves after one of them is lost."""
REPORT_SECONDS = 5.0
"""How long torchrun may take to report once every rank is dead."""


class Group:
    """A running torchrun and its ranks.

    Args:
        folder: where the ranks register, see `rank`.
        agent: torchrun's process.

    Attributes:
        killed: ids of the ranks that were killed from here.
    """

    def __init__(self, folder: Path, agent: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.agent = agent
        self.killed: set[int] = set()
        self._told: set[tuple[int, int]] = set()

    def ranks(self) -> list[int]:
        """Process ids of the ranks that have not ended as they should: at work, or lost."""
        return [int(path.read_text()) for path in self.folder.glob(f"{RANK}*")]

    def started(self) -> bool:
        """Whether a rank has ever begun."""
        return any(self.folder.glob(f"{RANK}*")) or any(self.folder.glob(f"{ENDED}*"))

    def watch(self, signals: Sequence[int]) -> None:
        """Wait for the end of torchrun, pass on `signals` as they come, and end what a lost rank leaves hanging."""
        deadline = float("inf")
        while self.agent.poll() is None:
            time.sleep(POLL_SECONDS)
            self._pass_on(signals)
            now = time.monotonic()
            whole = all(map(alive, self.ranks()))
            deadline = float("inf") if whole else min(deadline, now + GRACE_SECONDS)
            if now > deadline:
                self._kill_ranks()
            if now > deadline + REPORT_SECONDS:
                self.agent.kill()

    def end(self) -> None:
        """Kill whatever is left."""
        self._kill_ranks()
        self.agent.kill()
        self.agent.wait()

    def _pass_on(self, signals: Sequence[int]) -> None:
        """Tell every rank every signal once; where none has begun yet, there is nothing to save, and torchrun ends."""
        for place, number in enumerate(signals):
            for pid in self.ranks():
                if (pid, place) not in self._told:
                    self._told.add((pid, place))
                    send(pid, number)
        if signals and not self.started():
            self.agent.kill()

    def _kill_ranks(self) -> None:
        for pid in filter(alive, self.ranks()):
            self.killed.add(pid)
            send(-pid, signal.SIGKILL)  # torchrun makes each rank the leader of a group: its children go with it


def send(pid: int, number: int) -> None:
    """Send a signal to a process, or to a group by its negative id; nothing happens where it has just gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
