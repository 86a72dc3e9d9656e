"""Sources of rows: resolution of a setting to files and datasets, with every fault named by its place.

A source is a file, a folder of files, a folder saved with `datasets`, a dataset of the Hub, or a benchmark.
"""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from ...common.text import nearest, one_line
from ...config import Words, as_list
from ...errors import DataError, UserError
from .base import Row, Source
from .benchmarks import PREFIX as BENCHMARK
from .benchmarks import as_benchmark, folder_files, parse
from .files import file_source
from .folder import folder_sources
from .hub import PREFIX, hub_source
from .saved import is_saved, saved_source

__all__ = ["Row", "Source", "resolve"]

HUB_NAME = re.compile(r"[\w.-]+/[\w-]+")
"""A missing path of this form may be a Hub name without the prefix; a dot in the last part would be a suffix."""


def resolve(sources: Words) -> list[Source]:
    """Return the sources named by `sources`, in order; files of globs and folders are sorted by name.

    Only names and small files that describe a dataset are read here, and the Hub is not asked.

    Raises:
        DataError: a source is missing, a glob matches nothing, or a folder holds other files than data.
        UserError: a suffix or an option is unknown, or a source is named twice.
    """
    found = [source for given in as_list(sources) for source in _found(given)]
    # The same rows twice would count double in training, and would leak from training into evaluation.
    seen: set[str] = set()
    for source in found:
        if source.identity in seen:
            hint = "name every source once, or check that two globs do not overlap"
            raise UserError(f"{source.name} is given twice", hint)
        seen.add(source.identity)
    return found


def _found(given: str) -> list[Source]:
    """Return the sources of an entry; raise `DataError` for files or folders that cannot be read."""
    try:
        return list(_expand(given))
    except OSError as error:
        raise DataError(f"{given} cannot be read: {error.strerror}", f"see who may read it: ls -ld {given}") from error
    # `expanduser` finds no home, or a name holds a null character.
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{given} cannot be read: {one_line(error)}", "give the path of a file") from error


def _expand(given: str) -> Iterator[Source]:
    """Yield the sources of an entry."""
    path = Path(given).expanduser()
    folder, mark, options = given.rpartition("?")
    if given.startswith(PREFIX):
        yield hub_source(given)
    elif given.startswith(BENCHMARK):
        yield from _benchmark(given)
    # An existing file goes before globs and options: its name may hold brackets or a question mark.
    elif path.is_file():
        yield file_source(path, given)
    elif path.is_dir():
        yield from _folder(path, given, "")
    elif mark and Path(folder).expanduser().is_dir():
        yield from _folder(Path(folder).expanduser(), given, options)
    elif glob.has_magic(given):
        yield from _glob(path, given)
    elif path.exists():
        raise DataError(f"{given} is a pipe or a device, and a file is wanted", "write the rows to a file first")
    else:
        raise DataError(f"{given} does not exist", _hint(path, given))


def _benchmark(given: str) -> Iterator[Source]:
    """Yield the files of a benchmark, each with the rows as comparisons."""
    benchmark, where = parse(given)
    path = Path(where).expanduser()
    apart = path.is_dir() and not is_saved(path)
    for source in folder_files(benchmark, path, given) if apart else _expand(where):
        yield as_benchmark(benchmark, source, given)


def _folder(path: Path, given: str, options: str) -> Iterator[Source]:
    """Yield the split of a saved dataset, or the data files of a folder."""
    if is_saved(path):
        yield saved_source(path, given, options)
    elif options:
        hint = f"name its files, or leave out ?{options}"
        raise UserError(f"{given}: {path} is no dataset saved with `datasets`, and only such a folder has splits", hint)
    else:
        yield from folder_sources(path, given)


def _glob(path: Path, given: str) -> Iterator[Source]:
    """Yield the files of a glob, sorted by name."""
    # The system lists files in any order, and ids and samples depend on the order of rows.
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise DataError(f"{given} matches no file", f"see what is there: ls {path.parent}")
    for file in found:
        yield file_source(file, given)


def _hint(path: Path, given: str) -> str:
    """Return a hint with a similar name beside the first missing part of `path`, or with a Hub name."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    close = nearest(missing.name, sorted(child.name for child in missing.parent.iterdir()), 0.5)
    guesses = [str(missing.parent / close)] if close else []
    guesses += [f"{PREFIX}{given}"] if HUB_NAME.fullmatch(given) else []
    return f"did you mean {' or '.join(guesses)}?" if guesses else f"see what is there: ls {missing.parent}"
