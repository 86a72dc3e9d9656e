"""Entry point of each rank under torchrun: `python -m bradley.launch.rank FOLDER COMMAND`.

COMMAND holds the arguments of Python, and runs in this same process. FOLDER shows the launcher the state of each rank:
`rank-N` holds the process id of local rank N, and is renamed to `ended-N` at an orderly end. A rank ending without the
rename has failed or was lost.
"""

import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..common.console import LAUNCHED
from ..common.processes import die_with_parent, running
from ..common.signals import say_early, signals
from ..errors import Preempted

AGENT, RANK, ENDED = "agent", "rank-", "ended-"
"""File names in the folder: process id of torchrun, process id of a rank, and a rank after an orderly end."""
SPEAK_SECONDS = 5.0
"""Seconds a failed rank waits for rank 0 to report the cause."""
ORDERLY = (None, 0, Preempted.exit_code)
"""Exit codes of an orderly end, after which the other ranks may take more time."""


def main() -> None:
    """Run a rank."""
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    os.environ[LAUNCHED] = "1"
    die_with_parent(int((folder / AGENT).read_text()))
    number = os.environ["LOCAL_RANK"]
    mark, ended = folder / f"{RANK}{number}", folder / f"{ENDED}{number}"
    # torchrun restarts all ranks when a lost machine returns; the second start has to resume the run.
    if mark.exists() or ended.exists():
        command = resumed(command)
    register(mark)

    def stop_early(asked: int, _: object) -> NoReturn:
        say_early(asked)
        mark.rename(ended)
        os._exit(Preempted.exit_code)

    # Until the run sets its own handlers, a stop signal may end the process at once: nothing can be lost yet.
    for asked in signals():
        signal.signal(asked, stop_early)
    try:
        run(command)
    except SystemExit as leave:
        if leave.code in ORDERLY:
            mark.rename(ended)
        elif number != "0":
            let_speak(folder / f"{RANK}0")
        raise
    mark.rename(ended)


def let_speak(first: Path) -> None:
    """Wait up to `SPEAK_SECONDS` for the end of rank 0, registered in the file `first`.

    Rank 0 alone reports an error common to all ranks, and torchrun ends rank 0 as soon as another rank has failed.
    """
    deadline = time.monotonic() + SPEAK_SECONDS
    while time.monotonic() < deadline and not (first.exists() and not running(int(first.read_text()))):
        time.sleep(0.05)


def register(mark: Path) -> None:
    """Write this process's id to a file; the rename never shows the launcher a partly written id."""
    draft = mark.with_name(f".{mark.name}")
    draft.write_text(str(os.getpid()))
    draft.replace(mark)


def resumed(command: Sequence[str]) -> list[str]:
    """Return the command with `--resume`."""
    return [*command, *(["--resume"] if "--resume" not in command else [])]


def run(command: Sequence[str]) -> None:
    """Run `-m MODULE ARGUMENTS` or `FILE ARGUMENTS` in this process."""
    if command[0] == "-m":
        sys.argv = list(command[1:])
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
