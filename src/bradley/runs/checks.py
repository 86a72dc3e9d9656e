"""Check the files of a finished run: `status.json` holds the SHA-256 of every file read back later, and of itself.

The rule: no result comes from a file changed or added after the end of the run, and no run with such a file counts as
finished. A run of an earlier version lacks some hashes: the files are read as they are, with a message.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..common.console import to_stderr
from ..common.files import sha256
from ..common.json_files import read_json
from ..common.signatures import CARD, HARMLESS, WEIGHTS, believed
from ..errors import CheckpointError
from .layout import (
    CONFIG,
    DATA_REPORT,
    ENVIRONMENT,
    EVAL,
    EVAL_DISTRIBUTIONS,
    EVAL_SAMPLES,
    EXAMPLES,
    METRICS,
    MODEL,
    RECORD,
    RESULTS,
    STATUS,
    TIMING,
)
from .shapes import ModelCard

READ_BACK = (RECORD, CONFIG, ENVIRONMENT, DATA_REPORT, RESULTS, EXAMPLES, METRICS, TIMING)
"""Files directly in the run folder that are read back; the files in `eval/` and `model/` are read back, too."""
ONLY_COPY = (RECORD, METRICS, TIMING, f"{EVAL}/{EVAL_SAMPLES}", f"{EVAL}/{EVAL_DISTRIBUTIONS}")
"""Files that no resume can make again: lines written during training, and the record. Rows of step 0 are likewise."""
MODEL_CARD = f"{MODEL}/{CARD}"
"""Card of the published model; the card names the SHA-256 of each weight file."""
ITSELF = "status_sha256"
"""Entry of `status.json`: hash of the content without this entry."""
MOVE = "move the file out of the run folder"
"""Hint for a file of another origin."""
DONE = "done"
"""State of a run that has ended well."""


class Damage(NamedTuple):
    """Changed, missing or unreadable file of a finished run.

    Attributes:
        name: relative to the run folder.
        what: end of a sentence beginning with the path: `is missing`.
        added: True for a file of another origin, which is not removed.
    """

    name: str
    what: str
    added: bool = False

    @property
    def final(self) -> bool:
        """True if no resume can make the file again, or make room for the file."""
        return self.added or self.name in ONLY_COPY or self.name.endswith("-step-0.jsonl")


def hash_outputs(folder: Path) -> dict[str, str]:
    """Compute SHA-256 of every file of a run folder that is read back later, by relative name.

    The hashes of weights are taken from the card of the model, which was compared with the weights at publishing.

    Raises:
        CheckpointError: the card of the published model is broken.
        DiskError: see `common.files.disk_errors`, as the caller uses it.
    """
    paths = [folder / name for name in READ_BACK]
    paths += sorted((folder / EVAL).glob("*.jsonl"))
    paths += [path for path in sorted((folder / MODEL).rglob("*")) if not path.name.startswith(".")]
    known = weight_hashes(folder) if (folder / MODEL_CARD).is_file() else {}
    named = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    return {name: known.get(name) or sha256(path) for name, path in named.items()}


def weight_hashes(folder: Path) -> dict[str, str]:
    """Read SHA-256 of the published weight files from the card, by name relative to the run folder.

    Raises:
        CheckpointError: the card is missing or broken.
    """
    # Each version of bradley writes these hashes; a file without them is no card of ours.
    card = read_json(folder / MODEL_CARD, ModelCard)
    return {f"{MODEL}/{name}": digest for name, digest in card[WEIGHTS].items()}


def all_damages(folder: Path, hashes: Mapping[str, str], parts: Collection[str] = ()) -> Iterator[Damage]:
    """Yield every file that is missing, unreadable, changed, added, or without a hash in the status.

    Args:
        folder: the run folder.
        hashes: SHA-256 of the run's files by name, from the status.
        parts: names of checked files, or of folders of checked files; () checks all.
    """

    def chosen(names: Iterable[str]) -> list[str]:
        return [name for name in names if not parts or {name, name.partition("/")[0]} & set(parts)]

    # A hash that is gone would leave the file unchecked. Every finished run has these files.
    for name in chosen((*READ_BACK, MODEL_CARD)):
        if name not in hashes:
            yield Damage(STATUS, f"holds no hash of {name}")
    yield from damages(folder, {name: hashes[name] for name in chosen(hashes)})
    for name in chosen(believed_outputs(folder)):
        if name not in hashes:
            yield Damage(name, "was not written by the run", added=True)


def believed_outputs(folder: Path) -> list[str]:
    """List the files that a reader of the run or a loader of the model takes without knowing the names before."""
    model = folder / MODEL
    read = [name for name in believed(model) if not name.endswith(HARMLESS)]
    read += sorted(path.name for path in model.glob("*.safetensors"))
    return sorted(f"{EVAL}/{path.name}" for path in (folder / EVAL).glob("*.jsonl")) + [f"{MODEL}/{n}" for n in read]


def damages(folder: Path, hashes: Mapping[str, str]) -> Iterator[Damage]:
    """Hash files of a run folder again, and yield every file that is missing, unreadable or changed."""
    for name, expected in hashes.items():
        path = folder / name
        # A file name in a damaged status could lead anywhere.
        if ".." in Path(name).parts or Path(name).is_absolute():
            yield Damage(STATUS, f"names {name!r:.80}, no file of a run")
        elif not path.exists():
            yield Damage(name, "is missing")
        elif not path.is_file():
            yield Damage(name, "is no file")
        elif what := _difference(path, expected):
            yield Damage(name, what)


def _difference(path: Path, expected: str) -> str:
    try:
        found = sha256(path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if found == expected else "is not the file that the run wrote"


@functools.cache
def say_once(line: str) -> None:
    """Print a line, once in the life of the process."""
    to_stderr(line)


def refuse_damaged(
    folder: Path, status: Mapping[str, Any], *parts: str, say: Callable[[str], object] = say_once
) -> None:
    """Raise `CheckpointError` if a file of a finished run is not the file that the run wrote.

    Args:
        folder: the run folder.
        status: content of `status.json`; {} without the file.
        parts: names of checked files, or of folders of checked files.
        say: tells about a finished run of an earlier version.
    """
    if status.get("state") != DONE:
        return
    if line := older(folder, status):
        say(line)
    if "files" not in status:
        return
    for damage in all_damages(folder, status["files"], parts):
        raise CheckpointError(
            f"{folder / damage.name} {damage.what}",
            MOVE
            if damage.added
            else f"put the file back, or go on with --resume, which makes again what can be made; without {STATUS} "
            "the folder is read as it is",
        )


def older(folder: Path, status: Mapping[str, Any]) -> str:
    """Return the line about a finished run of an earlier version, without some hashes; '' for a run with all hashes."""
    if "files" not in status:
        return f"{folder} was written by an earlier version, without hashes: its files are taken as they are"
    if ITSELF not in status:
        return f"{folder} was written by an earlier version, without a hash of {STATUS}: the file is taken as it is"
    return ""
