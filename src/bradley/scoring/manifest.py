"""Files of a parts folder that say whose the folder is, and how far the work is."""

import os
import re
import stat
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from ..common.files import sha256
from ..common.lock import HEAD, LOCK
from ..common.ownership import Mark, final_name, refuse_link
from ..errors import CheckpointError, RunFolderError

MANIFEST, GROUP, JOINED = "manifest.json", "group.json", "joined.json"
"""Files of a parts folder: the work; the processes at work; and the proof of an output joined from the parts."""
OUTPUT = "joined"
"""File of the joined parts, until renamed to the output."""
OWN = re.compile(
    r"\d{6,}(\.jsonl|\.jsonl\.gz|\.parquet|\.counts\.json)|failed-\d+\.txt|joined|(manifest|group|joined)\.json|\.lock"
)
"""Names of the files of a parts folder."""


class Manifest(TypedDict):
    """Everything affecting the output's bytes, and `replace`: an existing output may be replaced.

    `reading` is optional: a folder without is still known as a parts folder, and its parts are never continued.
    """

    input: dict[str, str]
    model: dict[str, str]
    over_long: str
    token_budget: int
    normalize: bool
    best_of: bool
    prefix: str
    part_rows: int
    device: str
    engine: str
    reading: NotRequired[dict[str, Any]]
    probabilities: NotRequired[bool]
    replace: NotRequired[bool]


MARKS = (
    Mark(MANIFEST, frozenset(Manifest.__required_keys__)),
    # Before the work is known, a folder made by bradley holds these two alone.
    Mark(GROUP, frozenset(("group", "work", "owner"))),
    Mark(LOCK, frozenset(("host", "pid", "token"))),
)
"""Files by which a parts folder is known as written by bradley."""


class Proof(TypedDict):
    """Counts of a part, with the hashes of the part, the manifest and the counts."""

    numbers: dict[str, int]
    example: str
    part: str
    work: str
    sha256: str


class Group(TypedDict):
    """Processes at work.

    Attributes:
        group: name of the start, equal in all its processes.
        work: hash of the manifest; "" until known.
        owner: token of the first process, as in the lock.
    """

    group: str
    work: str
    owner: str


class Joined(TypedDict):
    """Hash of the joined output, and the counts."""

    output: str
    numbers: dict[str, int]
    example: str


def is_own(path: Path) -> bool:
    """Return True for a file of a parts folder: a name of ours, and neither a link nor a folder."""
    if not OWN.fullmatch(final_name(path).name):
        return False
    try:
        found = path.lstat()
    except FileNotFoundError:  # renamed or removed by another process of the same start
        return True
    if not stat.S_ISREG(found.st_mode):
        return False
    # Taking the lock empties the file: another program's lock, or another name of some file, must not be emptied.
    if path.name != LOCK or not found.st_size:
        return True
    # A process killed while writing leaves the beginning of its name.
    with path.open("rb") as file:
        beginning = file.read(len(HEAD))
    return found.st_nlink == 1 and HEAD.startswith(beginning)


def check_output(output: Path) -> None:
    """Raise `RunFolderError` for an output that is a link or no regular file: neither is ever replaced."""
    refuse_link(output)
    if os.path.lexists(output) and not output.is_file():
        raise RunFolderError(f"{output} is no regular file", "give another -o")


def exists(output: Path) -> RunFolderError:
    """Build the error for an output that exists and was not to be replaced."""
    return RunFolderError(f"{output} exists", "give another -o; --restart replaces the file")


def model_hashes(model: Path) -> dict[str, str]:
    """SHA-256 of each file of a model folder that decides about scores.

    Raises:
        CheckpointError: a file of the folder cannot be read.
    """
    suffixes = (".safetensors", ".json", ".jinja")
    try:
        files = sorted(path for path in model.iterdir() if path.suffix in suffixes and path.is_file())
        return {path.name: sha256(path) for path in files}
    except OSError as error:
        message = f"{error.filename or model} cannot be read: {error.strerror}"
        raise CheckpointError(message, f"see who may read it: ls -l {model}") from error
