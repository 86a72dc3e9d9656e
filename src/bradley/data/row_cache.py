"""Cache of rows: the comparisons of a split with their columns and report, so that later commands read no row again.

An entry is keyed by everything that decides the comparisons: the content of the sources, their names, the settings of
reading, the code that reads, a function of the user's own, and the versions of the packages. Names are part of the key
because ids and messages hold them; neither a name nor a time is ever enough. Entries lie in the folder of token stores
and are believed by hash alone, see `token_cache`. One process of a machine reads; the others wait, then map the result.
"""

import importlib.metadata
import json
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache as once
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from ..common.console import to_stderr
from ..common.ownership import real_path
from ..common.plugins import load_function
from ..common.text import visible
from ..config import Data
from ..errors import DataError, DiskError, RunFolderError, UserError
from ..records import Candidates, Comparison
from .columns import Columns
from .report import SplitReport
from .sources import Source
from .table import MARK_BYTES, ComparisonTable, encode
from .token_cache import ROW_FILES, Contents, Opener, cached, default_cache

Cache = Path | Literal["default"] | None
"""Folder of a cache; "default" for the folder of `default_cache`, None for no cache."""
Fill = Callable[[ComparisonTable, SplitReport], None]
FORMAT = 1
"""Part of the key; rises when the meaning of a file of an entry changes."""
LEAST_BYTES = 2**20
"""Bytes of sources from which rows are cached: fewer are read faster than an entry is checked."""
LEAST_ROWS = 2000
"""Rows in memory from which rows are cached."""
AFTER_READING = frozenset(
    {
        *("train", "valid", "test", "eval_sets", "mix", "valid_share", "test_share", "limit", "eval_limit"),
        *("max_per_prompt", "group_by", "group_max_responses", "max_rejected_share", "synthetic"),
        *("identical", "empty", "bidirectional", "duplicate", "contradictory", "leaked"),
    }
)
"""Settings without a part in reading. The reader gets their defaults, see `reading_settings`."""
PACKAGES = ("bradley", "numpy", "pyarrow", "datasets", "pandas")
TEXTS, COLUMNS, IDS = ROW_FILES
ENDS, MARKS = "ends", "marks"


class Inputs(NamedTuple):
    """Origin of the rows of a split.

    Attributes:
        name: the split.
        sources: files and datasets with the number of the part that names each; none for rows in memory.
        rows: rows in memory, or None.
        settings: the settings of reading.
    """

    name: str
    sources: Sequence[tuple[Source, int]]
    rows: Iterable[Any] | None
    settings: Data


def reading_settings(data: Data) -> Data:
    """Return the settings without those that act after reading: a reader cannot depend on what the key leaves out."""
    defaults = {name: field.get_default(call_default_factory=True) for name, field in Data.model_fields.items()}
    return data.model_copy(update={name: defaults[name] for name in AFTER_READING & set(defaults)})


def read_rows(
    inputs: Inputs, fill: Fill, cache: Cache = None, say: Callable[[str], None] = to_stderr
) -> tuple[ComparisonTable, SplitReport]:
    """Return the table and the report of a split, from the cache if the same rows were read before.

    Args:
        inputs: what the rows come from.
        fill: reads every row into a table and a report, both empty.
        cache: the cache.
        say: prints a line about a damaged entry, a wait, or a cache out of use.

    Raises:
        DataError: as `fill`; or a source changed while it was read.
        UserError, StopRequested: as `fill`; or a function of the user's own is missing.
    """
    if cache is not None and (found := _through_cache(inputs, fill, cache, say)) is not None:
        return found
    table, report = ComparisonTable(), SplitReport()
    fill(table, report)
    return table, report


def _through_cache(
    inputs: Inputs, fill: Fill, cache: Cache, say: Callable[[str], None]
) -> tuple[ComparisonTable, SplitReport] | None:
    """Read an entry, made first if absent; None for rows without an entry, or a cache out of use."""
    content = content_of(inputs)
    if content is None:
        return None

    def checked(table: ComparisonTable, report: SplitReport) -> None:
        fill(table, report)
        # The key speaks of the files as they were before the rows were read.
        for source, hashed in zip(report.sources, content.hashes, strict=False):
            if source["sha256"] != hashed:
                raise DataError(f"{source['path']} changed while it was read", "wait until nobody writes it any more")

    try:
        folder = default_cache() if cache == "default" or cache is None else cache
    except UserError as error:
        say(f"the rows are read without a cache: {visible(error.message)}")
        return None
    try:
        files = Contents(ROW_FILES, lambda draft: _write(draft, checked), _read)
        found: tuple[ComparisonTable, SplitReport] | None = cached(folder, content.key, files, say)
        return found
    # Rows can always be read without a cache; the token stores raise the same error where a run needs the disk.
    except (DiskError, RunFolderError) as error:
        say(f"the rows are read without a cache: {visible(error.message)}")
        return None


class Content(NamedTuple):
    """Identity of the rows of a split.

    Attributes:
        key: name of the entry.
        hashes: SHA-256 of each source; empty for rows in memory.
    """

    key: str
    hashes: list[str]


def content_of(inputs: Inputs) -> Content | None:
    """Return key and hashes of the rows of a split; None for rows that no entry is kept of.

    No entry is kept of few rows, of rows that can be read once, and of rows with other values than plain ones.

    Raises:
        DataError: a source cannot be read.
        UserError: a function of the user's own is missing.
    """
    settings = reading_settings(inputs.settings).model_dump(mode="json")
    if _is_small(inputs) or (code := code_of_functions(settings)) is None:
        return None
    hashes = [source.digest() for source, _ in inputs.sources]
    named = [(source.name, source.stem, source.given, part) for source, part in inputs.sources]
    rows = "" if inputs.rows is None else _of_rows(inputs.rows)
    if rows is None:
        return None
    reading = (FORMAT, sys.version, sys.byteorder, _versions(), code_of_reading(), code)
    parts = ("rows", inputs.name, reading, json.dumps(settings, sort_keys=True), named, hashes, rows)
    return Content(sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32], hashes)


def _is_small(inputs: Inputs) -> bool:
    """Return True for rows that are read faster than an entry, and for rows without a length."""
    if inputs.rows is not None:
        return not isinstance(inputs.rows, list | tuple) or len(inputs.rows) < LEAST_ROWS
    return sum(_size(source) for source, _ in inputs.sources) < LEAST_BYTES


def _size(source: Source) -> int:
    """Return the bytes of a source; a dataset of the Hub counts as large."""
    place = Path(source.identity)
    try:
        files = [place] if place.is_file() else [file for file in place.iterdir() if file.is_file()]
        return sum(file.stat().st_size for file in files)
    except (OSError, ValueError):
        return LEAST_BYTES


def _of_rows(rows: Iterable[Any]) -> str | None:
    """Hash rows in memory; None for values without one spelling in JSON."""
    found, written = sha256(), json.JSONEncoder(ensure_ascii=True).encode
    try:
        for row in rows:
            # Candidates are refused by the reader, and `encode` writes them like a comparison.
            if isinstance(row, Candidates) or not isinstance(row, dict | Comparison):
                return None
            line = encode(row) if isinstance(row, Comparison) else written(row).encode()
            found.update(b"%d %d\n" % (isinstance(row, Comparison), len(line)))
            found.update(line)
    except (TypeError, ValueError, RecursionError):
        return None
    return found.hexdigest()


def code_of_functions(settings: Mapping[str, Any]) -> str | None:
    """Hash the code of every function that the settings name as a format; None for code without a file."""
    found = sha256()
    for path in sorted(set(_functions_in(settings, False))):
        code = _of_function(load_function(path, "data.format"))
        if code is None:
            return None
        found.update(f"{path} {code}\n".encode())
    return found.hexdigest()


def _functions_in(value: Any, named: bool) -> Iterator[str]:
    """Yield every `module:function` below a setting with "format" in its name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _functions_in(inner, named or "format" in key)
    elif named and isinstance(value, str) and ":" in value:
        yield value


def _of_function(function: Callable[..., Any]) -> str | None:
    """Hash the module of a function, and the modules beside it; None where file and memory may differ."""
    module = sys.modules.get(getattr(function, "__module__", ""))
    path = real_path(Path(getattr(module, "__file__", None) or "-"))
    if path.suffix != ".py" or not path.is_file() or not _is_in_file(function, path):
        return None
    files = {path}
    # A function often calls its neighbours. A folder may hold a whole environment too, with thousands of modules.
    for other in list(sys.modules.values()):
        file = real_path(Path(getattr(other, "__file__", None) or "-"))
        if file.suffix == ".py" and path.parent in file.parents and "site-packages" not in file.parts:
            files.add(file)
    return _hash_of_code(sorted(file for file in files if file.is_file()), path.parent)


def _is_in_file(function: Callable[..., Any], path: Path) -> bool:
    """Return True if a function is as its file spells it now: a file may have been edited since the import."""
    try:
        blocks = [compile(path.read_bytes(), str(path), "exec", dont_inherit=True)]
    except (SyntaxError, ValueError):
        return False
    for block in blocks:
        blocks += [constant for constant in block.co_consts if isinstance(constant, CodeType)]
    return getattr(function, "__code__", None) in blocks


@once
def code_of_reading() -> str:
    """Return the SHA-256 of the code that turns sources into comparisons, at the first call."""
    # At the first call: an upgrade during a run changes the files on disk, but not the code in memory.
    package = real_path(Path(__file__)).parents[1]
    files = [*(package / "data").rglob("*.py"), *(package / "config").rglob("*.py"), package / "records.py"]
    return _hash_of_code(sorted(files), package)


def _hash_of_code(files: Iterable[Path], folder: Path) -> str:
    """Hash the names and contents of files of code."""
    found = sha256()
    for file in files:
        content = file.read_bytes()
        found.update(f"{file.relative_to(folder)} {len(content)}\n".encode("utf-8", "surrogateescape"))
        found.update(content)
    return found.hexdigest()


@once
def _versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of the packages that read; "" for a package that is not installed."""
    found = []
    for package in PACKAGES:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            found.append((package, ""))
    return tuple(found)


def _write(draft: Path, fill: Fill) -> dict[str, Any]:
    """Read the rows into the files of an entry, and return the note: the report, and the layout of the columns."""
    report = SplitReport()
    with (draft / TEXTS).open("w+b") as texts, (draft / COLUMNS).open("wb") as file:
        table = ComparisonTable(texts)
        fill(table, report)
        columns = {field.name: getattr(table.columns, field.name) for field in fields(Columns)}
        names = columns.pop("sources")
        columns |= {ENDS: np.asarray(table.ends, dtype=np.int64), MARKS: table.marks}
        layout = []
        # Wide numbers first, so that every array begins where a mapping may begin.
        for name, values in sorted(columns.items(), key=lambda item: -item[1].dtype.itemsize):
            layout.append([name, values.dtype.str, values.size])
            file.write(values.tobytes())
        (draft / IDS).write_text(json.dumps(sorted(table.ids)), encoding="ascii")
    return {"report": asdict(report), "layout": layout, "sources": names}


def _read(opened: Opener, note: Any) -> tuple[ComparisonTable, SplitReport]:
    """Map the files of an entry. Raises `ValueError` for files that do not fit each other."""
    with opened(IDS) as file:
        ids = file.read()
    with opened(COLUMNS) as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays, place = {}, 0
    for name, kind, size in note["layout"]:
        arrays[name] = np.frombuffer(mapped, kind, size, place)
        place += arrays[name].nbytes
    if place != len(mapped):
        raise ValueError(f"{COLUMNS} has {len(mapped)} bytes, wanted {place}")
    with opened(TEXTS) as file:
        # The entry may be replaced later; the file stays open as long as the table.
        texts = os.fdopen(os.dup(file.fileno()), "rb")
        size = os.fstat(file.fileno()).st_size
    ends, marks = arrays.pop(ENDS), arrays.pop(MARKS).reshape(-1, MARK_BYTES)
    table = MappedTable(texts, ends, marks, Columns(**arrays, sources=note["sources"]), ids)
    if ends[-1] != size or len(marks) != len(table) or len(table.columns.topic) != len(table):
        raise ValueError("the files of the entry do not fit each other")
    return table, SplitReport(**note["report"])


class MappedTable(ComparisonTable):
    """Comparisons of an entry: columns mapped, texts on disk; nothing can be added."""

    def __init__(self, file: BinaryIO, ends: np.ndarray, marks: np.ndarray, columns: Columns, ids: bytes) -> None:
        self._file = file
        self._read_ends, self._read_marks, self._read_ids = ends, marks, ids
        self.columns = columns

    def add(self, comparison: Comparison, part: int = 0, own: str = "") -> bytes:
        """Refuse: the table is complete."""
        raise AssertionError("a table of the cache is complete")

    @property
    def ends(self) -> Sequence[int]:
        """Offsets of the comparisons in the file, and the end of the last: [G + 1]."""
        return self._read_ends  # type: ignore[return-value]

    @property
    def marks(self) -> np.ndarray:
        """Hash of the bytes of each comparison: [G, `MARK_BYTES`]."""
        return self._read_marks

    @cached_property
    def ids(self) -> set[str]:  # type: ignore[override]
        """Ids of all comparisons, read on first use: few commands ask."""
        return set(json.loads(self._read_ids))
