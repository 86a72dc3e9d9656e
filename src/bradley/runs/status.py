"""Status of a run, `status.json`: running, or the end of the run with exit code, message and hint.

Watching programs, such as the launcher, read this small file.
"""

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
"""State of a run ended by an error of each class; `failed` for any other error."""


@contextlib.contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Keep the status of a run inside a `with` block; an error of the block passes through.

    The state is `running`, and after the block `done`, `preempted`, `diverged` or `failed`, with exit code, message and
    hint.
    """
    write_status(folder, "running")
    try:
        yield
    # After this error the folder belongs to another process, and so does the status.
    except RunFolderError:
        raise
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
    """Replace the status of a run folder.

    Args:
        folder: the run folder.
        state: `running`, `done`, `preempted`, `diverged` or `failed`.
        code: exit code; None for a running run.
        what: message of the error.
        fix: hint of the error.
    """
    # Messages of other libraries may quote a key or a password, and a status file is read by many.
    status = {"state": state, "code": code, "what": redact(what), "where": str(folder), "fix": redact(fix)}
    write_text(folder / STATUS, json.dumps(status) + "\n")


def write_last(folder: Path, code: int, what: str, fix: str) -> None:
    """Write the status of a failed run in place of a main process that was killed, or saw only the consequences.

    A status written by the run itself is replaced only if the state is still `running`, or names a lost process as
    `code` does.
    """
    if not (folder / STATUS).is_file():
        return
    known = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    if known["state"] == "running" or known["code"] == code == RankError.exit_code:
        write_status(folder, "failed", code, what, fix)


def read_state(folder: Path) -> str:
    """Return the state of the run in a folder; '' without a status file."""
    path = folder / STATUS
    return str(json.loads(path.read_text(encoding="utf-8"))["state"]) if path.is_file() else ""
