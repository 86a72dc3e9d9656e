"""Status of a run, `status.json`: running, or the end of the run with exit code, message and hint.

Watching programs, such as the launcher, read this small file.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..common.files import disk_errors, sha256, write_text
from ..common.json_files import read_json, with_hash
from ..common.secrets import redact
from ..common.signals import StopRequested
from ..errors import BradleyError, CheckpointError, DivergedError, Preempted, RankError, RunFolderError
from .checks import DONE, ITSELF, hash_outputs
from .layout import STATUS
from .shapes import Status

STATES: dict[type[BaseException], str] = {Preempted: "preempted", DivergedError: "diverged"}
"""State of a run ended by an error of each class; `failed` for any other error."""


@contextlib.contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Keep the status of a run inside a `with` block; an error of the block passes through.

    The state is `running`, and after the block `done`, `preempted`, `diverged` or `failed`, with exit code, message and
    hint. The state `done` comes with the hash of every file that is read back later, see `checks`.
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
    with disk_errors(folder, "read"):
        files = hash_outputs(folder)
    write_status(folder, DONE, 0, files=files)


def write_status(
    folder: Path,
    state: str,
    code: int | None = None,
    what: str = "",
    fix: str = "",
    files: Mapping[str, str] | None = None,
) -> None:
    """Replace the status of a run folder.

    Args:
        folder: the run folder.
        state: `running`, `done`, `preempted`, `diverged` or `failed`.
        code: exit code; None for a running run.
        what: message of the error.
        fix: hint of the error.
        files: SHA-256 of the run's files by name, for the state `done`.
    """
    # Messages of other libraries may quote a key or a password, and a status file is read by many.
    status = {"state": state, "code": code, "what": redact(what), "where": str(folder), "fix": redact(fix)}
    hashes = {} if files is None else {"files": dict(files)}
    write_text(folder / STATUS, json.dumps(with_hash({**status, **hashes}, ITSELF)) + "\n")


def accept_file(folder: Path, name: str) -> None:
    """Record the new hash of a file that a command has changed on purpose, in the status of a finished run.

    A run that is not finished, or was written without hashes, has nothing to record.

    Args:
        folder: the run folder.
        name: of the file, relative to the run folder.

    Raises:
        CheckpointError: the status cannot be read, is no status, or was edited.
    """
    status = read_status(folder)
    if status.get("state") != DONE or "files" not in status:
        return
    with disk_errors(folder, "read"):
        digest = sha256(folder / name)
    write_status(folder, DONE, 0, files={**status["files"], name: digest})


def write_last(folder: Path, code: int, what: str, fix: str) -> None:
    """Write the status of a failed run in place of a main process that was killed, or saw only the consequences.

    A status written by the run itself is replaced only if the state is still `running`, or names a lost process as
    `code` does.
    """
    if not (folder / STATUS).is_file():
        return
    try:
        known = read_status(folder)
    # A broken status says nothing, and the failure is worth more.
    except CheckpointError:
        known = {"state": "running", "code": None}
    if known["state"] == "running" or known["code"] == code == RankError.exit_code:
        write_status(folder, "failed", code, what, fix)


def read_status(folder: Path) -> dict[str, Any]:
    """Read the status of the run in a folder; {} without a status file.

    Raises:
        CheckpointError: the file cannot be read, is no status, or was edited.
    """
    path, hint = folder / STATUS, "remove the file; --resume then ends the run again"
    if not path.exists():
        return {}
    status: dict[str, Any] = read_json(path, Status, hint=hint)
    # The hashes of all other files are in here: an edited status could leave any file unchecked.
    if ITSELF in status and status != with_hash(status, ITSELF):
        raise CheckpointError(f"{path} was edited: the content has another hash than the hash inside", hint)
    return status
