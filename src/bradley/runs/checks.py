"""Check the files of a finished run: `status.json` holds the SHA-256 of every file read back later.

The rule: no result comes from a file changed after the end of the run, and no run with a changed file counts as
finished. A run of an earlier version has no hashes: the files are read as they are, with a message.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..common.console import to_stderr
from ..common.files import sha256
from ..common.json_files import read_json
from ..common.signatures import CARD, WEIGHTS
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
DONE = "done"
"""State of a run that has ended well."""


class Damage(NamedTuple):
    """Changed, missing or unreadable file of a finished run.

    Attributes:
        name: relative to the run folder.
        what: end of a sentence beginning with the path: `is missing`.
    """

    name: str
    what: str

    @property
    def final(self) -> bool:
        """True if no resume can make the file again."""
        return self.name in ONLY_COPY or self.name.endswith("-step-0.jsonl")


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
    card = read_json(folder / MODEL_CARD, ModelCard)
    return {f"{MODEL}/{name}": digest for name, digest in card.get(WEIGHTS, {}).items()}


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
def say_without_hashes(folder: Path) -> None:
    """Print the line of `without_hashes`, once for each folder in the life of the process."""
    to_stderr(without_hashes(folder))


def refuse_damaged(
    folder: Path, status: Mapping[str, Any], *parts: str, say: Callable[[Path], object] = say_without_hashes
) -> None:
    """Raise `CheckpointError` if a file of a finished run is not the file that the run wrote.

    Args:
        folder: the run folder.
        status: content of `status.json`; {} without the file.
        parts: names of checked files, or of folders of checked files.
        say: tells about a finished run without hashes.
    """
    if status.get("state") != DONE:
        return
    if "files" not in status:
        say(folder)
        return
    chosen = {name: digest for name, digest in status["files"].items() if {name, name.partition("/")[0]} & set(parts)}
    for damage in damages(folder, chosen):
        raise CheckpointError(
            f"{folder / damage.name} {damage.what}",
            f"put the file back, or go on with --resume, which makes again what can be made; without {STATUS} the "
            "folder is read as it is",
        )


def without_hashes(folder: Path) -> str:
    """Return the line about a finished run without hashes."""
    return f"{folder} was written by an earlier version, without hashes: its files are taken as they are"
