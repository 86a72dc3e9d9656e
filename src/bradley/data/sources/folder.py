"""A folder of data files."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ...errors import DataError
from .base import Source
from .files import KINDS, file_source, known_suffix

PASSED_BY = (".*", "README*", "LICENSE*", "*.md", "dataset_info.json", "dataset_infos.json", "state.json")
"""Patterns of files that describe a dataset and hold no rows."""
REFUSED = {".py": "a script", **dict.fromkeys((".pkl", ".pickle", ".pt", ".bin", ".npy", ".npz"), "a pickle")}
"""Suffix -> kind of file that may run another person's code during reading."""
TRAINING = {"train", "training"}
"""First words in names of training data."""
HELD_OUT = {"test", "testing", "valid", "validation", "val", "dev", "eval", "evaluation"}
"""First words in names of held-out data."""


def folder_sources(folder: Path, given: str) -> Iterator[Source]:
    """Yield the data files of a folder, sorted by name; in a folder without any, the data files of the folders inside.

    Raises:
        DataError: no data files, or data files both here and in folders below. Also a script or a pickle, never run or
            opened, or a file of an unknown kind. Also training files beside held-out files, mixed into the same set.
    """
    files = _data_files(folder)
    if not files:
        raise DataError(f"{given} is a folder without data files", f"known suffixes: {', '.join(KINDS)}")
    _check_splits(folder, files)
    for file in files:
        stem = file.relative_to(folder).as_posix().removesuffix(known_suffix(file))
        yield file_source(file, given, stem)


def _data_files(folder: Path) -> list[Path]:
    """Return the data files of a folder, or of the folders inside."""
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    here = [child for child in children if child.is_file() and _is_data(child)]
    below = [child for child in children if child.is_dir()]
    if not here:
        return [file for child in below for file in _data_files(child)]
    # With files on two levels, nobody can tell whether the inner folder is a part, an older copy or another set.
    deeper = [file for child in below for file in sorted(child.rglob("*")) if file.is_file() and known_suffix(file)]
    if deeper:
        message = f"{folder} holds data files, such as {here[0].name}, and a folder with more, such as {deeper[0]}"
        raise DataError(message, f"name the files that are meant: {folder}/*{known_suffix(here[0])}")
    return here


def _is_data(file: Path) -> bool:
    """Return True for a data file, False for a description; raise `DataError` for any other file."""
    if any(fnmatchcase(file.name, pattern) for pattern in PASSED_BY):
        return False
    kind = REFUSED.get(file.suffix.lower())
    if kind:
        message = f"{file} is {kind}: code that comes with data is never run"
        raise DataError(message, f"name the data files alone: {file.parent}/*.jsonl")
    if not known_suffix(file):
        message = f"{file} is not a file of a known kind, and a folder of data files is wanted"
        raise DataError(message, f"move it away, or name the data files: {', '.join('*' + suffix for suffix in KINDS)}")
    return True


def _check_splits(folder: Path, files: Sequence[Path]) -> None:
    """Raise `DataError` if some files are named like training data, and others like held-out data."""
    # A downloaded dataset often has all splits in a folder, and training would then include the test split.
    called: dict[str, Path] = {}
    # Only the first word of each part counts: `train-00000.jsonl` names a split, `trainer.jsonl` does not.
    for file in files:
        called |= {re.split("[^a-z]", part.lower())[0]: file for part in file.relative_to(folder).parts}
    training, held_out = ([called[word] for word in called if word in words] for words in (TRAINING, HELD_OUT))
    if training and held_out:
        found = f"{training[0].relative_to(folder)} and {held_out[0].relative_to(folder)}"
        raise DataError(f"{folder} holds {found}, and one set is wanted", f"name the files of each: {training[0]}")
