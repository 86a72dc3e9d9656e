"""Text files, plain or .gz: their lines with the place of each, in memory that no file can break.

Offsets are bytes of the text, so of a .gz file bytes after unpacking.
"""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...errors import DataError

BOM = b"\xef\xbb\xbf"
BLOCK = 128 * 1024
LONGEST = 256 * 1024**2
"""Most bytes of a line, or of a document that is read whole."""
LARGEST_UNCHECKED = 64 * 1024**2
LARGEST_RATIO = 200
"""A file that unpacks to more than `LARGEST_UNCHECKED` bytes and to `LARGEST_RATIO` times what was read of it is no
data: text packs to a third or a tenth, and the format itself allows a ratio of 1032."""
GZIP = b"\x1f\x8b"
MAGIC = {
    GZIP: ".gz",
    b"PAR1": ".parquet",
    b"PK\x03\x04": ".zip",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
}


class Line(NamedTuple):
    """A line of a text file.

    Attributes:
        number: from 1.
        start: its offset.
        raw: its bytes, with the line feed that ends it: only the last line may have none.
    """

    number: int
    start: int
    raw: bytes


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The text of a file, unpacked where its name ends with .gz.

    Raises:
        DataError: the first bytes are those of another kind of file; while reading, a broken archive.
    """
    with path.open("rb") as file:
        first = file.peek(8)[:8]
        if path.suffix == ".gz":
            _check_gzip(path, first)
            yield io.BufferedReader(_Unpacked(path, file), BLOCK)  # type: ignore[type-var]
        else:
            check_plain(path, first)
            yield file


def lines(path: Path) -> Iterator[Line]:
    """Lines of a text file, which a line feed ends and nothing else; a byte-order mark is left out.

    Raises:
        DataError: what `opened` raises, or a line of more than `LONGEST` bytes.
    """
    with opened(path) as file:
        yield from lines_of(file, str(path))


def lines_of(file: BinaryIO, name: str) -> Iterator[Line]:
    """Lines of an open file, which messages call `name`; raises as `lines`."""
    start = 0
    for number, line in enumerate(iter(partial(file.readline, LONGEST + 1), b""), start=1):
        raw = line
        if number == 1 and line.startswith(BOM):
            raw, start = line[len(BOM) :], len(BOM)
        if len(raw) > LONGEST:
            raise too_long(f"{name}, line {number} (byte {start})")
        yield Line(number, start, raw)
        start += len(raw)


def decoded(raw: bytes, where: str, start: int, several_lines: bool = False) -> str:
    """The text of UTF-8 bytes that lie at offset `start`; `where` names their line, unless they have several.

    Raises:
        DataError: they are none.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = f", line {raw.count(10, 0, error.start) + 1}" if several_lines else ""
        message = f"{where}{line}: byte {raw[error.start]:#04x} is not UTF-8 (byte {start + error.start})"
        raise DataError(message, "convert the file: iconv -f ENCODING -t UTF-8") from error


def too_long(where: str) -> DataError:
    """The error for a line or a document above `LONGEST`."""
    return DataError(f"{where}: more than {LONGEST} bytes in one piece", "cut it, or write one row per line")


def check_plain(path: Path, first: bytes) -> None:
    """Raise `DataError` where a file that should be plain text begins like another kind."""
    for magic, suffix in MAGIC.items():
        if first.startswith(magic):
            hint = f"rename it: mv {path} {path}.gz" if suffix == ".gz" else "unpack it, or give it its own suffix"
            raise DataError(f"{path} begins like a {suffix} file, and its name says otherwise", hint)


def _check_gzip(path: Path, first: bytes) -> None:
    if first and not first.startswith(GZIP[: len(first)]):
        message = f"{path} is not a whole gzip file: it does not begin like one"
        raise DataError(message, f"if it is plain text, rename it: mv {path} {path.with_suffix('')}")


class _Unpacked(io.RawIOBase):
    """The text of a gzip file of one member or several, as a stream (RFC 1952; zlib checks lengths and checksums).

    Zeros after a member are padding, as gzip itself has it.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._packed = b""
        self._read = self._made = self._members = 0
        self._member = zlib.decompressobj(wbits=31)
        self._inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        text = b""
        while not text and self._fill():
            text = self._unpack(min(len(buffer), BLOCK))
        self._made += len(text)
        self._check_size()
        buffer[: len(text)] = text
        return len(text)

    def _fill(self) -> bool:
        """Whether there is more to unpack."""
        while True:
            if not self._inside and self._members:
                self._packed = self._packed.lstrip(b"\0")
            if self._packed:
                return True
            self._packed = self._file.read(BLOCK)
            self._read += len(self._packed)
            if not self._packed:
                break
        if self._inside or not self._members:
            raise self._broken("it ends too early")
        return False

    def _unpack(self, most: int) -> bytes:
        if self._members and not self._inside and not self._packed.startswith(GZIP[:1]):
            raise self._broken("something else follows its end")
        try:
            text = self._member.decompress(self._packed, most)
        except zlib.error as error:
            raise self._broken(str(error)) from error
        self._inside = not self._member.eof
        self._packed = self._member.unconsumed_tail or self._member.unused_data
        if self._member.eof:
            self._members += 1
            self._member = zlib.decompressobj(wbits=31)
        return text

    def _broken(self, why: str) -> DataError:
        message = f"{self._path} is not a whole gzip file: {why}, after {self._made} bytes of text"
        return DataError(message, f"copy it again, then try: gzip -t {self._path}")

    def _check_size(self) -> None:
        used = self._read - len(self._packed)
        if self._made > LARGEST_UNCHECKED and self._made > LARGEST_RATIO * used:
            message = f"{self._path}: the first {used} bytes unpack to more than {self._made}, {LARGEST_RATIO} times as"
            raise DataError(f"{message} many, which no text does", "look at it with: zcat FILE | head -c 1000")
