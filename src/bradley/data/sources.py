"""Files of rows: which files a setting names, and their rows one by one, with every fault named by file and line."""

import difflib
import glob
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ..config import Sources, as_list
from ..errors import DataError, UserError
from .fields import on_one_line

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
BOM = b"\xef\xbb\xbf"


def resolve(sources: Sources) -> list[Path]:
    """The files that `sources` names: files as they are, globs sorted by name.

    Raises:
        DataError: a file is missing, or a glob matches none.
        UserError: a suffix is unknown, or a file is named twice.
    """
    files = [file for source in as_list(sources) for file in _expand(source)]
    seen: set[Path] = set()
    for file in files:
        stem(file)
        if file.resolve() in seen:
            raise UserError(f"{file} is given twice", "name every file once, or check that two globs do not overlap")
        seen.add(file.resolve())
    return files


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows of a file with their number from 1: the line of a .jsonl file, the place in the list of a .json file.

    A .json file holds a list of objects, or {"data": [...]}. Files are UTF-8; a byte-order mark, blank lines and CRLF
    are accepted. Lines of a .jsonl file end with a line feed and nothing else.

    Raises:
        DataError: no rows, a broken archive, text that is not UTF-8 or not JSON, a row that is not an object, a key
            that an object has twice, or NaN and Infinity, which JSON does not know.
    """
    read = _json_lines if path.name.endswith((".jsonl", ".jsonl.gz")) else _json_list
    empty = True
    try:
        with _open(path) as file:
            for number, row in read(path, file):
                empty = False
                yield number, row
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        message = f"{path} is not a whole gzip file: {error}"
        raise DataError(message, f"copy it again, then try: gzip -t {path}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", f"see who may read it: ls -l {path}") from error
    if empty:
        raise DataError(f"{path} holds no rows", "give a file with at least one JSON object")


def sha256(path: Path) -> str:
    """SHA-256 of the file as it lies on disk, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stem(path: Path) -> str:
    """The name of a data file without its suffixes.

    Raises:
        UserError: a suffix that no reader knows.
    """
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    raise UserError(f"{path} is not a file of a known kind", f"known suffixes: {', '.join(SUFFIXES)}")


def _expand(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise DataError(f"{source} is a folder, and files are wanted", f"name its files, such as {path}/*.jsonl")
    if not glob.has_magic(source):
        raise DataError(f"{source} does not exist", _nearest(path))
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise DataError(f"{source} matches no file", f"see what is there: ls {path.parent}")
    return found


def _nearest(path: Path) -> str:
    """What exists and is spelled like `path`, looking where the path first leaves what exists."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    names = sorted(child.name for child in missing.parent.iterdir())
    close = difflib.get_close_matches(missing.name, names, n=1, cutoff=0.5)
    return f"did you mean {missing.parent / close[0]}?" if close else f"see what is there: ls {missing.parent}"


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json_lines(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(file, start=1):
        raw = line.removeprefix(BOM) if number == 1 else line
        if raw.strip():
            yield number, _object(_parse(raw, f"{path}, line {number}", whole=False), f"{path}, line {number}")


def _json_list(path: Path, file: BinaryIO) -> Iterator[tuple[int, Row]]:
    raw = file.read().removeprefix(BOM)
    if not raw.strip():
        return
    whole = _parse(raw, str(path), whole=True)
    rows = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        found = (
            f"an object with the keys {', '.join(map(on_one_line, whole))}" if isinstance(whole, dict) else _kind(whole)
        )
        hint = "one object per line belongs into a .jsonl file"
        raise DataError(f'{path} holds {found}, and a list of objects or {{"data": [...]}} is wanted', hint)
    for number, row in enumerate(rows, start=1):
        yield number, _object(row, f"{path}, row {number}")


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: found {_kind(value)}, and an object is wanted", 'a row looks like {"prompt": ...}')
    return value


def _parse(raw: bytes, where: str, whole: bool) -> Any:
    """The JSON value of `raw`; in a `whole` file the line of a fault joins the message, elsewhere `where` names it."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = f", line {raw[: error.start].count(10) + 1}" if whole else ""
        message = f"{where}{line}: byte {raw[error.start]:#04x} is not UTF-8"
        raise DataError(message, "convert the file: iconv -f ENCODING -t UTF-8") from error
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if whole else ""
        raise DataError(f"{where}{line}: not JSON: {error.msg} (column {error.colno})", _json_hint(error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}", "correct or remove it") from error


def _json_hint(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return "one object per line is a .jsonl file; a .json file is one list"
    if error.doc.strip() in ("[", "{"):
        return "a document over several lines is a .json file; a .jsonl file has one object per line"
    return "correct or remove it; a file that ends here may have been cut short"


def _without_repeats(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _kind(value: Any) -> str:
    names = {str: "a string", list: "a list", dict: "an object", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
