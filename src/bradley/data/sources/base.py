"""The source of rows: an interface common to all kinds of sources."""

import importlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import UserError

Row = dict[str, Any]
NumberedRows = Iterator[tuple[int, Row]]


class Reader(Protocol):
    """Reading of a source's rows, numbered from 1, in normal form (see `plain`).

    A table of cells, such as CSV, keeps the columns `texts` as text, although every cell looks like a number. Other
    sources know the types of their values.
    """

    def __call__(self, texts: Collection[str] = ()) -> NumberedRows: ...


@dataclass(frozen=True)
class Source:
    """A file, or a split of a dataset.

    Attributes:
        name: for messages: a path, or a dataset of the Hub as written in the setting.
        stem: short name, for ids and as the source of rows without a source.
        given: the entry of the setting, as written.
        identity: equal for two ways to name the same rows.
        rows: reads the rows, numbered from 1; each call reads anew.
        digest: returns a SHA-256 in hex: of the file on disk, or of the identity of a dataset's rows.
        counting: reads the rows, and a `Faulty` in place of each row that cannot be read; None for a source that
            cannot be read on after such a row.
    """

    name: str
    stem: str
    given: str
    identity: str
    rows: Reader
    digest: Callable[[], str]
    counting: Reader | None = None


def needed(package: str, what: str) -> Any:
    """Import a module of the extra `data`.

    Raises:
        UserError: the package is not installed.
    """
    # Imported on demand: pyarrow and datasets are large, and JSON and CSV need neither.
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        message = f"{what} is read with the Python package {name}, which cannot be imported: {error}"
        raise UserError(message, 'pip install "bradley[data]"') from error
