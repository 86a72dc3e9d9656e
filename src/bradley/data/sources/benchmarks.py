"""Files of a benchmark as sources: `benchmark:NAME=PATH`, rows in the authors' layout.

PATH is a file, a folder, a glob, or a dataset of the Hub. Such a source gives comparisons with the tag `benchmark`, by
which an evaluation knows the scheme of the set. A row of another layout stops the reading: a benchmark without some of
its rows has no published figure.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...common.text import nearest
from ...errors import DataError, UserError
from ...records import Comparison, Rejected
from ..rows import RowPlace, keys_of, kind
from .base import Source
from .files import KINDS, file_source, known_suffix, readable
from .json_rows import DECODER
from .text import LONGEST, opened

if TYPE_CHECKING:
    from ..formats.benchmarks import Benchmark

PREFIX = "benchmark:"


def parse(given: str) -> tuple["Benchmark", str]:
    """Return the benchmark and the path of `benchmark:NAME=PATH`.

    Raises:
        UserError: an unknown benchmark, or no path.
    """
    # Formats import the readers of this package: the layouts are loaded when a benchmark is read.
    from ..formats.benchmarks import BENCHMARKS

    name, equals, path = given.removeprefix(PREFIX).partition("=")
    if name not in BENCHMARKS:
        near = nearest(name, BENCHMARKS)
        hint = f"did you mean {PREFIX}{near}=PATH?" if near else f"known benchmarks: {', '.join(BENCHMARKS)}"
        raise UserError(f"{given}: {name or '(no name)'} is no known benchmark", hint)
    if not equals or not path:
        raise UserError(f"{given} names no file of {name}", f"write {PREFIX}{name}=PATH")
    return BENCHMARKS[name], path


def folder_files(benchmark: "Benchmark", folder: Path, given: str) -> Iterator[Source]:
    """Yield the data files of a benchmark's folder and of the folders inside, sorted by name; other files are no data.

    Raises:
        DataError: no data file.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and known_suffix(file))
    for pattern in benchmark.files:
        if named := [file for file in files if file.match(pattern)]:
            files = named
            break
    if not files:
        raise DataError(f"{given}: {folder} holds no data file", f"known suffixes: {', '.join(KINDS)}")
    for file in files:
        yield file_source(file, given, file.relative_to(folder).as_posix().removesuffix(known_suffix(file)))


def as_benchmark(benchmark: "Benchmark", source: Source, given: str) -> Source:
    """Return a source that gives the comparisons of a benchmark's file or dataset."""
    return replace(
        source,
        given=given,
        identity=f"{PREFIX}{benchmark.name}={source.identity}",
        rows=partial(_comparisons, benchmark, source),
        counting=None,
    )


def _comparisons(benchmark: "Benchmark", source: Source, texts: Collection[str] = ()) -> Iterator[tuple[int, Any]]:
    """Yield comparisons with their place in the file; a row with unreadable text is a `Rejected`.

    Raises:
        DataError: a row of another layout, or any fault of the file.
    """
    from ..formats.benchmarks import convert_row

    place = RowPlace(source.name, source.stem)
    for number, row in _rows(benchmark, source):
        at = replace(place, row=number)
        if not isinstance(row, dict):
            raise at.fault(kind(row), "an object", f"give the file of {benchmark.title} as its authors publish it")
        found: Comparison | Rejected = convert_row(benchmark, row, at)
        yield number, found


def _rows(benchmark: "Benchmark", source: Source) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a file or dataset: a document with rows inside an object is opened here."""
    path = Path(source.name)
    known = benchmark.document is not None and known_suffix(path) in (".json", ".json.gz") and path.is_file()
    found = _object(path) if known else None
    if found is None or benchmark.document is None:
        yield from source.rows()
        return
    rows = benchmark.document(found)
    if rows is None:
        raise DataError(
            f"{path}: found an object with {keys_of(found)}, and the rows of {benchmark.title} are wanted",
            f"give the file of {benchmark.title} as its authors publish it",
        )
    yield from enumerate(rows, start=1)


def _object(path: Path) -> dict[str, Any] | None:
    """Return a JSON document that is an object; None for any other file, which the usual reader reads or refuses."""
    with readable(path), opened(path) as file:
        raw = file.read(LONGEST + 1)
    try:
        found = DECODER.decode(raw.decode("utf-8-sig").strip())
    # ValueError: not UTF-8, not JSON, or a repeated key; RecursionError: lists nested too deep.
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and len(raw) <= LONGEST else None
