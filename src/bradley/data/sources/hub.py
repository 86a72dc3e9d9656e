"""Datasets of the Hugging Face Hub."""

import hashlib
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from ...common.text import one_line
from ...errors import DataError, UserError
from .base import NumberedRows, Source, needed
from .saved import chosen_split, options, rows_of

PREFIX = "hub:"
NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""Form of a dataset's name, owner/name."""
OPTIONS = ("config", "data_dir", "revision", "split")
"""Options allowed after the `?`."""
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
"""Name of an exception of `datasets` -> hint; the first name in the exception's classes counts, else `ONLINE`."""


def hub_source(given: str) -> Source:
    """Return a dataset of the Hub as a source: `hub:owner/name`, and after `?` config, data_dir, revision, split.

    Nothing is fetched before rows or digest are asked for. A split may be sliced or added to another split, as in
    `train[:10%]` and `train+test`. Without a split, `train` is read, or the only split. The dataset is prepared in the
    cache of `datasets` and read with mapped memory: streams have neither slices nor a fingerprint.

    Raises:
        UserError: a name of another form, an unknown option, or a local folder of the same name, read in the Hub's
            place by `datasets`.
    """
    name, _, text = given.removeprefix(PREFIX).partition("?")
    if not NAME.fullmatch(name):
        raise UserError(f"{given} is not {PREFIX}owner/name", f"write {PREFIX}Anthropic/hh-rlhf?split=train")
    chosen = options(text, OPTIONS, given)
    if Path(name).is_dir():
        message = f"{given}: there is a folder {name} here, which `datasets` would read in place of the Hub"
        raise UserError(message, f"leave out {PREFIX}, or start in another folder")

    # Rows and digest share a single load: the first use downloads, and may be minutes long.
    @cache
    def dataset() -> Any:
        return _load(given, name, chosen)

    def rows(texts: Collection[str] = ()) -> NumberedRows:
        yield from rows_of(dataset(), given)

    # The fingerprint of `datasets` identifies the rows without another pass over all of them.
    def digest() -> str:
        return hashlib.sha256(f"{identity}\n{dataset()._fingerprint}".encode()).hexdigest()

    identity = f"{PREFIX}{name}?{'&'.join(f'{key}={value}' for key, value in sorted(chosen.items()))}"
    return Source(given, name.rpartition("/")[2], given, identity, rows, digest)


def _load(given: str, name: str, chosen: dict[str, str]) -> Any:
    """Load a split into the cache of `datasets`; raise `DataError` with a hint for any failure."""
    datasets = needed("datasets", given)
    place = {key: chosen.get(key) for key in ("data_dir", "revision", "split")}
    try:
        found = datasets.load_dataset(name, name=chosen.get("config"), **place)
    # The Hub's client passes on the exceptions of each of its transports, so no list of kinds is complete.
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        hint = next((HINTS[kind] for kind in names if kind in HINTS), ONLINE)
        raise DataError(f"{given} cannot be read: {names[0]}: {one_line(error)}", hint) from error
    return found[chosen_split(list(found), "", given, "train")] if isinstance(found, dict) else found
