"""Folders written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`, and the rows of a dataset."""

import hashlib
import json
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...common.json_files import read_bytes
from ...common.ownership import real_path
from ...common.text import nearest, one_line
from ...errors import DataError, UserError
from ..rows import quoted
from .base import NumberedRows, Source, needed
from .files import Watch, hash_of
from .plain import numbered

SPLITS = "dataset_dict.json"
"""File of a saved `DatasetDict` with the names of its splits."""
STATE = ("state.json", "dataset_info.json")
"""Files of a saved `Dataset`."""


def is_saved(folder: Path) -> bool:
    """Return True for a folder written by `datasets`."""
    return (folder / SPLITS).is_file() or all((folder / name).is_file() for name in STATE)


def saved_source(folder: Path, given: str, text: str) -> Source:
    """Return a split of a saved dataset as a source; `text` is the text after the `?`.

    Raises:
        DataError: a missing split, no choice among several splits, or a broken description.
        UserError: another option than `split`.
    """
    wanted = options(text, ["split"], given).get("split", "")
    if (folder / SPLITS).is_file():
        split = chosen_split(_described(folder / SPLITS, "splits"), wanted, given)
        part, name, stem = folder / split, f"{folder}?split={split}", f"{real_path(folder).name}/{split}"
    else:
        part, name, stem = folder, str(folder), real_path(folder).name
        if wanted:
            chosen_split([_described(folder / STATE[0], "_split") or "(one without a name)"], wanted, given)
    watch = Watch(_files(part))
    return Source(
        name, stem, given, str(real_path(part)), partial(_rows, part, name, watch), partial(_digest, part, watch)
    )


def rows_of(dataset: Any, name: str) -> NumberedRows:
    """Read the rows of a `datasets.Dataset` in normal form, numbered from 1, a batch in memory at a time.

    Raises:
        DataError: a dataset without rows.
    """
    if not len(dataset):
        raise DataError(f"{name} holds no rows", "give a dataset with at least one row")
    # A saved format may leave out columns.
    yield from numbered(dataset.with_format(None), name)


def chosen_split(names: Sequence[str], wanted: str, given: str, default: str = "") -> str:
    """Return the wanted split; without a wish, the split `default` if present, or the only split.

    Raises:
        DataError: the wanted split is missing, or no split is wanted among several.
    """
    listed = ", ".join(names)
    if wanted and wanted not in names:
        close = nearest(wanted, names, 0.0)
        raise DataError(f"{given}: no split is called {wanted}, there are: {listed}", f"did you mean ?split={close}")
    if wanted or default in names or len(names) == 1:
        return wanted or (default if default in names else names[0])
    bare = given.partition("?")[0]
    raise DataError(f"{given} has several splits, and one is wanted: {listed}", f"write {bare}?split={names[0]}")


def options(text: str, known: Sequence[str], given: str) -> dict[str, str]:
    """Parse the options of `key=value&key=value`. Values stay as written: `%` and `+` belong to slices of splits.

    Raises:
        UserError: an unknown or repeated key, or a key without a value.
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        if key not in known:
            close = nearest(key, known, 0.0)
            raise UserError(
                f"{given}: {quoted(key)} is not known after ?, wanted {', '.join(known)}", f"did you mean {close}=?"
            )
        if not value or key in found:
            raise UserError(f"{given}: {key} has {'two values' if value else 'no value'}", f"write {key}=VALUE once")
        found[key] = value
    return found


def _files(part: Path) -> list[Path]:
    """Return the files of a saved split."""
    # Sorted, because the system lists files in any order.
    return sorted(file for file in part.iterdir() if file.is_file()) if part.is_dir() else []


def _rows(part: Path, name: str, watch: Watch, texts: Collection[str] = ()) -> NumberedRows:
    """Read the rows of a saved split."""
    watch.begin()
    datasets = needed("datasets", name)
    try:
        dataset = datasets.load_from_disk(str(part))
    # The fault of the folder decides which of three libraries raises.
    except Exception as error:
        message = f"{name} is not a whole saved dataset: {one_line(error)}"
        raise DataError(message, "save it again with save_to_disk") from error
    yield from rows_of(dataset, name)
    watch.check()


def _digest(part: Path, watch: Watch) -> str:
    """Return the SHA-256 of names and contents of the files."""
    listed = "\n".join(f"{file.name} {hash_of(file, watch)}" for file in _files(part))
    return hashlib.sha256(listed.encode()).hexdigest()


def _described(file: Path, key: str) -> Any:
    """Return the value of a key in a description of a saved dataset."""
    try:
        return json.loads(read_bytes(file, error=DataError))[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{file} does not describe a saved dataset: {one_line(error)}"
        raise DataError(message, "save it again with save_to_disk") from error
