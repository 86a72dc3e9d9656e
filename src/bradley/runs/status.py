"""`status.json`: in one small file of the run folder, how a run stands or how it ended, for programs that watch it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from ..common.files import write_text
from ..common.secrets import redact
from ..common.signals import StopRequested
from ..errors import BradleyError, DivergedError, Preempted, RankError, RunFolderError
from .layout import STATUS

STATES: dict[type[BaseException], str] = {Preempted: "preempted", DivergedError: "diverged"}
"""What an error makes of a run, where that is not `failed`."""


@contextlib.contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Write that a run is running, and at the end of the block how it ended: `done`, `preempted`, `diverged` or
    `failed`, with exit code, message and hint. What the block raises passes through.
    """
    write_status(folder, "running")
    try:
        yield
    except RunFolderError:
        raise  # the folder is another process's, and so is its status
    except BradleyError as error:
        write_status(folder, STATES.get(type(error), "failed"), error.exit_code, error.message, error.hint)
        raise
    except StopRequested as asked:
        write_status(folder, STATES[Preempted], Preempted.exit_code, f"stopped by {asked}")
        raise
    except BaseException as error:
        write_status(folder, "failed", 1, f"{type(error).__name__}: {error}")
        raise
    write_status(folder, "done", 0)


def write_status(folder: Path, state: str, code: int | None = None, what: str = "", fix: str = "") -> None:
    """Replace the status of a run folder. Messages of other libraries may quote a key or a password; none is kept."""
    status = {"state": state, "code": code, "what": redact(what), "where": str(folder), "fix": redact(fix)}
    write_text(folder / STATUS, json.dumps(status) + "\n")


def write_last(folder: Path, code: int, what: str, fix: str) -> None:
    """Say how a run ended whose main process could not, as it was killed or has only seen what followed."""
    if not (folder / STATUS).is_file():
        return
    known = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    if known["state"] == "running" or known["code"] == code == RankError.exit_code:
        write_status(folder, "failed", code, what, fix)


def read_state(folder: Path) -> str:
    """The state of a run folder, '' where it says none."""
    path = folder / STATUS
    return str(json.loads(path.read_text(encoding="utf-8"))["state"]) if path.is_file() else ""
