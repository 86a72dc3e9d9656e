"""A watchdog over what the processes of a run do together."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ...errors import RankError
from ...status import write_status
from ..watchdog import Watchdog
from .failures import report
from .team import Team


@contextlib.contextmanager
def watched(team: Team, folder: Path, seconds: float) -> Iterator[None]:
    """End this process where the block makes no progress, see `Watchdog`; a process alone waits for nobody.

    The others, and `status.json` of the run folder, are told why.
    """
    group = team.group
    log = folder / "logs" / f"rank-{group.rank}.log"

    def tell(what: str) -> None:
        hint = f"the stacks of its threads are in {log}; with --resume the run goes on from its last checkpoint"
        error = RankError(f"process {group.rank} of {group.size}: {what}", hint)
        write_status(folder, "failed", error.exit_code, error.message, error.hint)
        report(group.store, error, group.rank)

    with Watchdog(seconds if group.size > 1 else 0, log, tell) as team.watchdog:
        yield
