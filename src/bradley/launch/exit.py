"""First cause of a failed run of several processes, and the matching exit code."""

import json
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import EXIT_CODES, BradleyError, Preempted, RankError
from ..runs.layout import STATUS

CONSEQUENCES = (RankError.exit_code, Preempted.exit_code)
"""Exit codes of a rank that may follow from the earlier loss of another rank."""
LOOK = "see its messages above, and logs/ of the run folder"
GO_ON = f"{LOOK}; with --resume the run goes on from its last checkpoint"


class RunError(BradleyError):
    """Failure of a launched run, with the exit code of the first cause."""

    def __init__(self, code: int, message: str | Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint)
        self.exit_code = code


class Failure(NamedTuple):
    """Rank that ended with an exit code other than 0.

    Attributes:
        rank: global rank.
        pid: process id.
        code: exit code; minus the signal number for a rank killed by a signal.
    """

    rank: int
    pid: int
    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"rank {self.rank} (process {self.pid}) was killed by {signal.Signals(-self.code).name}"
        meaning = EXIT_CODES.get(self.code, "a bug")
        return f"rank {self.rank} (process {self.pid}) ended with exit code {self.code}: {meaning}"


class Ending(NamedTuple):
    """End of a run.

    Attributes:
        code: exit code (`errors.EXIT_CODES`, and 1 for a bug).
        what: first cause in words.
        fix: next step for the user.
        told: True if the main process of the run has already printed the cause. The main process cannot know of a lost
            process, nor of a bug.
    """

    code: int
    what: str = ""
    fix: str = ""
    told: bool = False


def first_cause(status: dict[str, Any], failures: list[Failure], ours: Collection[int]) -> Ending:
    """Find the first cause of a failed run, after torchrun ended with an error.

    A cause reported by the run itself comes first. A killed rank comes second, because the reports of the other ranks
    follow from the kill. A report of a lost rank or of a stop request comes last.

    Args:
        status: final status of the run, see `fresh_status`.
        failures: failed ranks, in the order in which torchrun saw the failures.
        ours: process ids killed by the launcher itself, after the first failure.
    """
    code = int(status.get("code", 1))
    reported = Ending(code, str(status.get("what", "")), str(status.get("fix", "")), can_be_told(code))
    if status and reported.code not in CONSEQUENCES:
        return reported
    # torchrun ends the remaining ranks by SIGTERM, and the launcher kills the rest: neither kill is a cause.
    killed = [one for one in failures if one.code < 0 and one.code != -signal.SIGTERM and one.pid not in ours]
    if killed:
        return Ending(RankError.exit_code, str(killed[0]), GO_ON)
    if status:
        return reported
    if not failures:
        return Ending(RankError.exit_code, "torchrun ended before it could say how its processes did", GO_ON)
    # A rank that noticed the loss of another rank may be listed first; any other exit code is closer to the cause.
    first = next((one for one in failures if one.code not in CONSEQUENCES), failures[0])
    code = RankError.exit_code if first.code < 0 else first.code if first.code in EXIT_CODES else 1
    return Ending(code, str(first), LOOK, can_be_told(code))


def can_be_told(code: int) -> bool:
    """Return True if the main process itself reports the cause of this exit code."""
    return code in EXIT_CODES and code != RankError.exit_code


class Stamp(NamedTuple):
    """Version of a status file. The file is always replaced, so a new version has a new inode or time.

    Attributes:
        inode: inode number.
        written_ns: modification time in nanoseconds.
    """

    inode: int = 0
    written_ns: int = 0


def stamp(run: Path) -> Stamp:
    """Stamp of a run's status file; zeros without a file."""
    path = run / STATUS
    if not path.is_file():
        return Stamp()
    found = path.stat()
    return Stamp(found.st_ino, found.st_mtime_ns)


def fresh_status(run: Path, before: Stamp) -> dict[str, Any]:
    """Read a final status written by the run since `before`.

    Returns:
        The content of `status.json`, or {} if the run has written no final status since.
    """
    if stamp(run) in (before, Stamp()):
        return {}
    try:
        status = dict(json.loads((run / STATUS).read_text(encoding="utf-8")))
    except (ValueError, TypeError):  # not a status of bradley, which is whole or absent
        return {}
    return status if status.get("state") in ("preempted", "failed", "diverged") else {}
