"""A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, and the rows of a dataset."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import DataError, one_line
from ...hashes import sha256
from .base import NumberedRows, Source, needed
from .query import chosen_split, options

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
