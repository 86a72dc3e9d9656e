"""Datasets of the Hugging Face Hub."""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from ...common.text import one_line
from ...errors import DataError, UserError
from .base import NumberedRows, Source, needed
from .saved import chosen_split, dataset_rows, options

PREFIX = "hub:"
NAME = re.compile(r"[\w.-]+/[\w.-]+")
OPTIONS = ("config", "data_dir", "revision", "split")
SCRIPT = "loading scripts are never run; many datasets have a copy without: add revision=refs/convert/parquet"
LOG_IN = "check its name at https://huggingface.co/datasets; for a private or gated one: hf auth login"
CORRECT = "correct config, data_dir, revision or split; its page at https://huggingface.co/datasets names them"
ONLINE = "are you online? or fetch it elsewhere, keep it with save_to_disk, and name that folder"
HINTS = {
    "DatasetNotFoundError": LOG_IN,
    "DataFilesNotFoundError": CORRECT,
    "RuntimeError": SCRIPT,
    "ValueError": CORRECT,
}
"""What to do, by the name of the exception of `datasets`, the first that fits; else `ONLINE`."""


def hub_source(given: str) -> Source:
    """A dataset of the Hub as a source: `hub:owner/name`, and after `?` config, data_dir, revision, split.

    Nothing is fetched before rows or digest are asked for. A split may be sliced or added to another, as in
    `train[:10%]` and `train+test`; without one `train` is read, or the only split. The dataset is prepared in the cache
    of `datasets` and read from there with mapped memory: streams know neither slices nor a fingerprint.

    Raises:
        UserError: not of that form, an unknown option, or a folder here of the same name, which would be read instead.
    """
    name, _, text = given.removeprefix(PREFIX).partition("?")
    if not NAME.fullmatch(name):
        raise UserError(f"{given} is not {PREFIX}owner/name", f"write {PREFIX}Anthropic/hh-rlhf?split=train")
    chosen = options(text, OPTIONS, given)
    if Path(name).is_dir():
        message = f"{given}: there is a folder {name} here, which `datasets` would read in place of the Hub"
        raise UserError(message, f"leave out {PREFIX}, or start in another folder")

    @cache
    def dataset() -> Any:
        return _load(given, name, chosen)

    def rows() -> NumberedRows:
        yield from dataset_rows(dataset(), given)

    def digest() -> str:
        return hashlib.sha256(f"{identity}\n{dataset()._fingerprint}".encode()).hexdigest()

    identity = f"{PREFIX}{name}?{'&'.join(f'{key}={value}' for key, value in sorted(chosen.items()))}"
    return Source(given, name.rpartition("/")[2], given, identity, rows, digest)


def _load(given: str, name: str, chosen: dict[str, str]) -> Any:
    datasets = needed("datasets", given)
    place = {key: chosen.get(key) for key in ("data_dir", "revision", "split")}
    try:
        found = datasets.load_dataset(name, name=chosen.get("config"), **place)
    except Exception as error:  # the client of the Hub raises what each of its transports raises
        names = [kind.__name__ for kind in type(error).__mro__]
        hint = next((HINTS[kind] for kind in names if kind in HINTS), ONLINE)
        raise DataError(f"{given} cannot be read: {names[0]}: {one_line(error)}", hint) from error
    return found[chosen_split(list(found), "", given, "train")] if isinstance(found, dict) else found
