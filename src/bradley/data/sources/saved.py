"""A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, and the rows of a dataset."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...common.files import sha256
from ...common.text import nearest, one_line
from ...errors import DataError, UserError
from .base import NumberedRows, Source, needed


def options(text: str, known: Sequence[str], given: str) -> dict[str, str]:
    """The options of `key=value&key=value`. Values are taken as they are: `%` and `+` belong to slices of splits.

    Raises:
        UserError: a key that is not known or given twice, or one without a value.
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        if key not in known:
            close = nearest(key, known, 0.0)
            raise UserError(
                f"{given}: {key!r} is not known after ?, wanted {', '.join(known)}", f"did you mean {close}=?"
            )
        if not value or key in found:
            raise UserError(f"{given}: {key} has {'two values' if value else 'no value'}", f"write {key}=VALUE once")
        found[key] = value
    return found


def chosen_split(names: Sequence[str], wanted: str, given: str, default: str = "") -> str:
    """The split that is wanted by name, or `default` if there is one of that name, or the only one.

    Raises:
        DataError: it is not there, or none is wanted and there are several.
    """
    listed = ", ".join(names)
    if wanted and wanted not in names:
        close = nearest(wanted, names, 0.0)
        raise DataError(f"{given}: no split is called {wanted}, there are: {listed}", f"did you mean ?split={close}")
    if wanted or default in names or len(names) == 1:
        return wanted or (default if default in names else names[0])
    bare = given.partition("?")[0]
    raise DataError(f"{given} has several splits, and one is wanted: {listed}", f"write {bare}?split={names[0]}")


BATCH_ROWS = 512
SPLITS = "dataset_dict.json"
STATE = ("state.json", "dataset_info.json")


def is_saved(folder: Path) -> bool:
    """Whether `datasets` wrote this folder."""
    return (folder / SPLITS).is_file() or all((folder / name).is_file() for name in STATE)


def saved_source(folder: Path, given: str, text: str) -> Source:
    """One split of a saved dataset as a source; `text` is what follows the `?`.

    Raises:
        DataError: a split that is not there, none named where there are several, or a broken description.
        UserError: an option that is not `split`.
    """
    wanted = options(text, ["split"], given).get("split", "")
    if (folder / SPLITS).is_file():
        split = chosen_split(_described(folder / SPLITS, "splits"), wanted, given)
        part, name, stem = folder / split, f"{folder}?split={split}", f"{folder.resolve().name}/{split}"
    else:
        part, name, stem = folder, str(folder), folder.resolve().name
        if wanted:
            chosen_split([_described(folder / STATE[0], "_split") or "(one without a name)"], wanted, given)
    return Source(name, stem, given, str(part.resolve()), partial(_rows, part, name), partial(_digest, part))


def dataset_rows(dataset: Any, name: str) -> NumberedRows:
    """The rows of a `datasets.Dataset`, numbered from 1, a batch in memory at a time.

    Raises:
        DataError: there are none.
    """
    if not len(dataset):
        raise DataError(f"{name} holds no rows", "give a dataset with at least one row")
    batches = dataset.with_format(None).iter(BATCH_ROWS)
    rows = (dict(zip(batch, values, strict=True)) for batch in batches for values in zip(*batch.values(), strict=True))
    yield from enumerate(rows, start=1)


def _rows(part: Path, name: str) -> NumberedRows:
    datasets = needed("datasets", name)
    try:
        dataset = datasets.load_from_disk(str(part))
    except Exception as error:  # what is wrong with the folder decides which of three libraries speaks
        message = f"{name} is not a whole saved dataset: {one_line(error)}"
        raise DataError(message, "save it again with save_to_disk") from error
    yield from dataset_rows(dataset, name)


def _digest(part: Path) -> str:
    """SHA-256 of the names and the contents of the files."""
    files = sorted(file for file in part.iterdir() if file.is_file())
    listed = "\n".join(f"{file.name} {sha256(file)}" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _described(file: Path, key: str) -> Any:
    try:
        return json.loads(file.read_bytes())[key]
    except (ValueError, KeyError, TypeError) as error:
        message = f"{file} does not describe a saved dataset: {one_line(error)}"
        raise DataError(message, "save it again with save_to_disk") from error
