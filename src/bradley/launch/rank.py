"""Entry point of each rank under torchrun: `python -m bradley.launch.rank FOLDER COMMAND`.

COMMAND holds the arguments of Python, and runs in this same process. FOLDER shows the launcher the state of each rank:
`rank-N` holds the process id of local rank N, and is renamed to `ended-N` at an orderly end. A rank ending without the
rename has failed or was lost. `beat-N` shows that the rank does not stand still, see `heartbeat`.
"""

import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..common.console import LAUNCHED
from ..common.processes import die_with_parent, running
from ..common.signals import say_early, signals
from ..errors import Preempted
from .heartbeat import BEAT, ENDED, RANK, Heartbeat

AGENT = "agent"
"""File in the folder with the process id of torchrun."""
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
    # Before the process is known to the launcher: a signal passed on at once must find the handlers.
    leave_when_asked(mark, ended)
    ended.unlink(missing_ok=True)
    register(mark)
    Heartbeat(folder / f"{BEAT}{number}")
    try:
        run(command)
    except SystemExit as leave:
        if leave.code in ORDERLY:
            end_orderly(mark, ended)
        elif number != "0":
            let_speak(folder / f"{RANK}0")
        raise
    end_orderly(mark, ended)


def leave_when_asked(mark: Path, ended: Path) -> None:
    """Let a stop signal end this process with the code of `Preempted` until the run sets handlers of its own.

    Nothing can be lost yet. The first signal decides; any number of further signals changes nothing.
    """
    leaving: list[int] = []

    def leave(asked: int, _: object) -> None:
        # Python may run a second handler between any two lines of the first.
        if leaving:
            return
        leaving.append(asked)
        try:
            say_early(asked)
            end_orderly(mark, ended)
        finally:
            os._exit(Preempted.exit_code)

    for asked in signals():
        signal.signal(asked, leave)


def end_orderly(mark: Path, ended: Path) -> None:
    """Show the launcher that this process ends as intended; a second call, or a call before `register`, is no error."""
    try:
        mark.rename(ended)
    except FileNotFoundError:
        register(ended)


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
