"""What torchrun starts for each rank: `python -m bradley.launch.rank FOLDER COMMAND`, the command as Python takes it.

The command runs in this very process. Around it, FOLDER tells the launcher which ranks are there: `rank-N` holds the
process id of local rank N, and becomes `ended-N` when it has ended as it should. Whoever goes without that was lost.
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
"""Names in the folder: torchrun's process id, that of a rank, and a rank that has ended as it should."""
SPEAK_SECONDS = 5.0
"""How long a rank that has failed waits for the first one to say why."""
ORDERLY = (None, 0, Preempted.exit_code)
"""Exit codes after which the other ranks may take their time."""


def main() -> None:
    """Run one rank."""
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    os.environ[LAUNCHED] = "1"
    die_with_parent(int((folder / AGENT).read_text()))
    number = os.environ["LOCAL_RANK"]
    mark, ended = folder / f"{RANK}{number}", folder / f"{ENDED}{number}"
    if mark.exists() or ended.exists():  # torchrun starts all ranks anew when a machine comes back to the others
        command = resumed(command)
    register(mark)

    def stop_early(asked: int, _: object) -> NoReturn:
        say_early(asked)
        mark.rename(ended)
        os._exit(Preempted.exit_code)

    for asked in signals():  # until the run has handlers of its own; it has done nothing yet that could be lost
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
    """Wait a moment for the end of the first rank. What is wrong in all ranks it alone tells, and torchrun ends it as
    soon as another one has failed.
    """
    deadline = time.monotonic() + SPEAK_SECONDS
    while time.monotonic() < deadline and not (first.exists() and not running(int(first.read_text()))):
        time.sleep(0.05)


def register(mark: Path) -> None:
    """Write this process's id, so that whoever reads the file finds it whole."""
    draft = mark.with_name(f".{mark.name}")
    draft.write_text(str(os.getpid()))
    draft.replace(mark)


def resumed(command: Sequence[str]) -> list[str]:
    """The command that goes on where an earlier one was cut off."""
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
