"""Text files, plain or .gz: lines with line number and offset, in bounded memory whatever the file.

Offsets are bytes of the text: for a .gz file, bytes after unpacking.
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
"""Byte-order mark of UTF-8."""
BLOCK = 128 * 1024
"""Bytes read, and at most unpacked, at a time."""
LONGEST = 256 * 1024**2
"""Most bytes of a line, or of a document that is read whole."""
LARGEST_UNCHECKED = 64 * 1024**2
"""Bytes of text below which the ratio of `LARGEST_RATIO` is not checked."""
LARGEST_RATIO = 200
"""Most bytes of text per packed byte. A larger file is a gzip bomb, not data: text packs to a third or a tenth, and
the format itself allows a ratio of 1032."""
GZIP = b"\x1f\x8b"
"""First bytes of a gzip member."""
MAGIC = {
    GZIP: ".gz",
    b"PAR1": ".parquet",
    b"PK\x03\x04": ".zip",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
}
"""First bytes -> the suffix of such files, for files under a wrong name."""


class Line(NamedTuple):
    """A line of a text file.

    Attributes:
        number: from 1.
        start: offset of the first byte.
        raw: bytes of the line, with the line feed at the end; only the last line may lack the line feed.
    """

    number: int
    start: int
    raw: bytes


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open the text of a file, unpacked if the name ends with .gz.

    Raises:
        DataError: the first bytes show another kind of file; or, while reading, a broken archive.
    """
    with path.open("rb") as file:
        first = file.peek(8)[:8]
        if path.suffix == ".gz":
            _check_gzip(path, first)
            # `gzip.open` has no guard against a small file that unpacks to gigabytes.
            yield io.BufferedReader(_Unpacked(path, file), BLOCK)  # type: ignore[type-var]
        else:
            check_plain(path, first)
            yield file


def lines(path: Path) -> Iterator[Line]:
    """Read the lines of a text file, ended by a line feed and nothing else, without a byte-order mark.

    Raises:
        DataError: as `opened`, or a line of more than `LONGEST` bytes.
    """
    with opened(path) as file:
        yield from lines_of(file, str(path))


def lines_of(file: BinaryIO, name: str) -> Iterator[Line]:
    """Read the lines of an open file; messages call the file `name`. Raises as `lines`."""
    start = 0
    # A byte more than allowed shows that a line is too long, without reading the rest into memory.
    for number, line in enumerate(iter(partial(file.readline, LONGEST + 1), b""), start=1):
        raw = line
        if number == 1 and line.startswith(BOM):
            raw, start = line[len(BOM) :], len(BOM)
        if len(raw) > LONGEST:
            raise too_long(f"{name}, line {number} (byte {start})")
        yield Line(number, start, raw)
        start += len(raw)


def decoded(raw: bytes, where: str, start: int, several_lines: bool = False) -> str:
    """Decode UTF-8 bytes at offset `start`; `where` names the line, unless the bytes have several lines.

    Raises:
        DataError: the bytes are not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = f", line {raw.count(10, 0, error.start) + 1}" if several_lines else ""
        message = f"{where}{line}: byte {raw[error.start]:#04x} is not UTF-8 (byte {start + error.start})"
        raise DataError(message, "convert the file: iconv -f ENCODING -t UTF-8") from error


def too_long(where: str) -> DataError:
    """Return the error for a line or a document above `LONGEST`."""
    return DataError(f"{where}: more than {LONGEST} bytes in one piece", "cut it, or write one row per line")


def check_plain(path: Path, first: bytes) -> None:
    """Raise `DataError` if a file that should be plain text begins like another kind of file."""
    for magic, suffix in MAGIC.items():
        if first.startswith(magic):
            hint = f"rename it: mv {path} {path}.gz" if suffix == ".gz" else "unpack it, or give it its own suffix"
            raise DataError(f"{path} begins like a {suffix} file, and its name says otherwise", hint)


def _check_gzip(path: Path, first: bytes) -> None:
    """Raise `DataError` if a file does not begin like a gzip file; an empty file is found later, as cut."""
    if first and not first.startswith(GZIP[: len(first)]):
        message = f"{path} is not a whole gzip file: it does not begin like one"
        raise DataError(message, f"if it is plain text, rename it: mv {path} {path.with_suffix('')}")


class _Unpacked(io.RawIOBase):
    """Stream of the text of a gzip file with a member or several (RFC 1952; zlib checks lengths and checksums).

    Zeros after a member are padding, as in gzip itself.
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
        # A block of packed bytes may hold no text, such as a header; an empty answer would mean the end of the file.
        text = b""
        while not text and self._fill():
            text = self._unpack(min(len(buffer), BLOCK))
        self._made += len(text)
        self._check_size()
        buffer[: len(text)] = text
        return len(text)

    def _fill(self) -> bool:
        """Return True if packed bytes are left to unpack; raise `DataError` for a file that ends inside a member."""
        while True:
            # Zeros are padding between and after members alone; inside a member they are data.
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
        """Unpack up to `most` bytes of text, so that a bomb in a single block stays within bounds."""
        if self._members and not self._inside and not self._packed.startswith(GZIP[:1]):
            raise self._broken("something else follows its end")
        try:
            text = self._member.decompress(self._packed, most)
        except zlib.error as error:
            raise self._broken(str(error)) from error
        self._inside = not self._member.eof
        # The tail was held back by the limit; unused data belong to the next member.
        self._packed = self._member.unconsumed_tail or self._member.unused_data
        if self._member.eof:
            self._members += 1
            self._member = zlib.decompressobj(wbits=31)
        return text

    def _broken(self, why: str) -> DataError:
        """Return the error for a broken archive."""
        message = f"{self._path} is not a whole gzip file: {why}, after {self._made} bytes of text"
        return DataError(message, f"copy it again, then try: gzip -t {self._path}")

    def _check_size(self) -> None:
        """Raise `DataError` for a gzip bomb."""
        used = self._read - len(self._packed)
        if self._made > LARGEST_UNCHECKED and self._made > LARGEST_RATIO * used:
            message = f"{self._path}: the first {used} bytes unpack to more than {self._made}, {LARGEST_RATIO} times as"
            raise DataError(f"{message} many, which no text does", "look at it with: zcat FILE | head -c 1000")
