"""How the processes of a run ended: the first cause, and the exit code that says it."""

import json
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import EXIT_CODES, BradleyError, Preempted, RankError

STATUS = "status.json"
"""Where a run says how it stands."""
CONSEQUENCES = (RankError.exit_code, Preempted.exit_code)
"""Codes that a rank may end with because another one was lost first."""
LOOK = "see its messages above, and logs/ of the run folder"
GO_ON = f"{LOOK}; with --resume the run goes on from its last checkpoint"


class RunError(BradleyError):
    """A run in processes of its own has failed, with their exit code."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.exit_code = code


class Failure(NamedTuple):
    """A rank that ended with a code other than 0; minus the signal that killed it, if one did."""

    rank: int
    pid: int
    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"rank {self.rank} (process {self.pid}) was killed by {signal.Signals(-self.code).name}"
        meaning = EXIT_CODES.get(self.code, "a bug")
        return f"rank {self.rank} (process {self.pid}) ended with exit code {self.code}: {meaning}"


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
        code: the exit code (`errors.EXIT_CODES`, and 1 for a bug).
        what: its first cause in words; `fix`, what to type.
        told: whether the main process of the run has said so itself: it cannot know of a lost one, nor of a bug.
    """

    code: int
    what: str = ""
    fix: str = ""
    told: bool = False


class Stamp(NamedTuple):
    """Which version of a status file this is: it is replaced whole, so another one has another inode or time."""

    inode: int = 0
    written_ns: int = 0


def stamp(run: Path) -> Stamp:
    """The stamp of a run's status; zeros where there is none."""
    path = run / STATUS
    if not path.is_file():
        return Stamp()
    found = path.stat()
    return Stamp(found.st_ino, found.st_mtime_ns)


def fresh_status(run: Path, before: Stamp) -> dict[str, Any]:
    """What a run has said of its end since `before`; nothing where it is silent, or not at its end."""
    if stamp(run) in (before, Stamp()):
        return {}
    try:
        status = dict(json.loads((run / STATUS).read_text(encoding="utf-8")))
    except (ValueError, TypeError):  # by other hands: ours is whole or absent
        return {}
    return status if status.get("state") in ("preempted", "failed", "diverged") else {}


def first_cause(status: dict[str, Any], failures: list[Failure], ours: Collection[int]) -> Ending:
    """Why a run ended whose torchrun ended with an error.

    A run that says what is wrong with it is believed first. Then comes a rank that was killed: whatever the others say
    followed from that. A rank's word that another one is lost, or that it was asked to stop, counts last.

    Args:
        failures: the ranks that failed, in the order in which they were seen to.
        ours: process ids that the launcher killed itself, after the first failure.
    """
    code = int(status.get("code", 1))
    said = Ending(code, str(status.get("what", "")), str(status.get("fix", "")), can_be_told(code))
    if status and said.code not in CONSEQUENCES:
        return said
    # SIGTERM is how torchrun ends the ranks that are left.
    killed = [one for one in failures if one.code < 0 and one.code != -signal.SIGTERM and one.pid not in ours]
    if killed:
        return Ending(RankError.exit_code, str(killed[0]), GO_ON)
    if status:
        return said
    if not failures:
        return Ending(RankError.exit_code, "torchrun ended before it could say how its processes did", GO_ON)
    first = next((one for one in failures if one.code not in CONSEQUENCES), failures[0])
    code = RankError.exit_code if first.code < 0 else first.code if first.code in EXIT_CODES else 1
    return Ending(code, str(first), LOOK, can_be_told(code))


def can_be_told(code: int) -> bool:
    """Whether the main process says by itself that the run ends with this exit code, and why."""
    return code in EXIT_CODES and code != RankError.exit_code
