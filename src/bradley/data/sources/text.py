"""Text files, plain, .gz or .xz: lines with line number and offset, in bounded memory whatever the file.

Text is UTF-8, or another Unicode encoding that a byte-order mark names. Offsets are bytes of the text in UTF-8, after
unpacking.
"""

import codecs
import importlib.util
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ...errors import DataError

BOM = b"\xef\xbb\xbf"
"""Byte-order mark of UTF-8."""
BLOCK = 128 * 1024
"""Bytes read, and at most unpacked, at a time."""
LONGEST = 256 * 1024**2
"""Most bytes of a line, or of a document that is read whole."""
GZIP = b"\x1f\x8b"
"""First bytes of a gzip member."""
XZ = b"\xfd7zXZ\x00"
"""First bytes of an xz stream."""
LARGEST_UNCHECKED = 64 * 1024**2
"""Bytes of text below which the ratio of `LARGEST_RATIO` is not checked."""
LARGEST_RATIO = 200
"""Most bytes of text per packed byte. A larger file is a bomb, not data: text packs to a third or a tenth, and gzip
itself allows a ratio of 1032, xz one of 7000."""
LARGEST_DICTIONARY = 128 * 1024**2
"""Most bytes that unpacking .xz may hold; `xz -9` asks for 65 MiB."""


class Packing(NamedTuple):
    """Kind of packed file.

    Attributes:
        name: name of the packing, and of its program.
        magic: first bytes of a member.
        show: program that prints the text.
        member: makes the unpacker of a member.
        fault: returns the exception of the unpacker.
    """

    name: str
    magic: bytes
    show: str
    member: Callable[[], Any]
    fault: Callable[[], type[Exception]]


def _gzip_member() -> Any:
    return zlib.decompressobj(wbits=31)


def _xz_member() -> Any:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, LARGEST_DICTIONARY)


def _xz_fault() -> type[Exception]:
    import lzma

    return lzma.LZMAError


PACKED = {".gz": Packing("gzip", GZIP, "zcat", _gzip_member, lambda: zlib.error)}
"""Suffix -> kind of packed file."""
# Python can be built without the library of xz; such files are then of an unknown kind.
if importlib.util.find_spec("_lzma"):
    PACKED[".xz"] = Packing("xz", XZ, "xzcat", _xz_member, _xz_fault)
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order mark of another encoding -> its name; a mark of UTF-16 also begins the longer mark of UTF-32."""
MAGIC = {
    GZIP: ".gz",
    XZ: ".xz",
    b"PAR1": ".parquet",
    b"PK\x03\x04": ".zip",
    b"BZh": ".bz2",
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
    """Open the text of a file in UTF-8, unpacked if the name ends with .gz or .xz.

    Raises:
        DataError: the first bytes show another kind of file; or, while reading, a broken archive or broken text.
    """
    with path.open("rb") as file:
        first = file.peek(8)[:8]
        text: BinaryIO = file
        if path.suffix in PACKED:
            text = _unpacked(path, file, first)
            first = text.peek(8)[:8]
        else:
            check_plain(path, first)
        encoding = next((name for mark, name in MARKS.items() if first.startswith(mark)), "")
        if not encoding and b"\0" in first[:4]:
            message = f"{path} begins with null characters, as UTF-16 without a byte-order mark does"
            raise DataError(message, "convert the file: iconv -f UTF-16LE -t UTF-8")
        yield io.BufferedReader(_Recoded(path, text, encoding), BLOCK) if encoding else text  # type: ignore[type-var]


MOST_BLANK = 10**6
"""Most blank lines one after another."""


def lines(path: Path) -> Iterator[Line]:
    """Read the lines of a text file, ended by a line feed and nothing else, without a byte-order mark.

    Raises:
        DataError: as `opened`, a line of more than `LONGEST` bytes, or more than `MOST_BLANK` blank lines.
    """
    with opened(path) as file:
        yield from lines_of(file, str(path))


def lines_of(file: BinaryIO, name: str) -> Iterator[Line]:
    """Read the lines of an open file; messages call the file `name`. Raises as `lines`."""
    start, blank = 0, 0
    # A byte more than allowed shows that a line is too long, without reading the rest into memory.
    for number, line in enumerate(iter(partial(file.readline, LONGEST + 1), b""), start=1):
        raw = line
        if number == 1 and line.startswith(BOM):
            raw, start = line[len(BOM) :], len(BOM)
        if len(raw) > LONGEST:
            raise too_long(f"{name}, line {number} (byte {start})")
        # A packed file of kilobytes may hold as many blank lines as keep a reader busy for hours.
        blank = blank + 1 if len(raw) <= 2 and not raw.strip() else 0
        if blank > MOST_BLANK:
            raise DataError(f"{name}: more than {MOST_BLANK:,} blank lines, up to line {number:,}", "remove the lines")
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
            hint = (
                f"rename it: mv {path} {path}{suffix}" if suffix in PACKED else "unpack it, or give it its own suffix"
            )
            raise DataError(f"{path} begins like a {suffix} file, and its name says otherwise", hint)


def _unpacked(path: Path, file: BinaryIO, first: bytes) -> io.BufferedReader:
    """Return a stream of the unpacked bytes of a file, whose name ends with a suffix of `PACKED`.

    Args:
        path: name of the file.
        file: the open file.
        first: first bytes of the file.

    Raises:
        DataError: the file begins like another kind of file; or, while reading, a broken file or a bomb.
    """
    kind = PACKED[path.suffix]
    # An empty file is found later, as cut.
    if first and not first.startswith(kind.magic[: len(first)]):
        message = f"{path} is not a whole {kind.name} file: it does not begin like one"
        raise DataError(message, f"if it is plain text, rename it: mv {path} {path.with_suffix('')}")
    # `gzip.open` and `lzma.open` have no guard against a small file that unpacks to gigabytes.
    return io.BufferedReader(_Unpacked(path, file, kind), BLOCK)  # type: ignore[arg-type]


class _Unpacked(io.RawIOBase):
    """Stream of the text of a packed file with a member or several (RFC 1952, the .xz format; both have checksums).

    Zeros after a member are padding, as in gzip and xz themselves.
    """

    def __init__(self, path: Path, file: BinaryIO, kind: Packing) -> None:
        self._path = path
        self._file = file
        self._kind = kind
        self._packed = b""
        self._read = self._made = self._members = 0
        self._member = kind.member()
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
            # lzma keeps the packed bytes that a limit held back, and zlib hands them back.
            if self._packed or (self._inside and not getattr(self._member, "needs_input", True)):
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
        if self._members and not self._inside and not self._packed.startswith(self._kind.magic[:1]):
            raise self._broken("something else follows its end")
        try:
            text: bytes = self._member.decompress(self._packed, most)
        except self._kind.fault() as error:
            raise self._broken(str(error)) from error
        self._inside = not self._member.eof
        # The tail was held back by the limit; unused data belong to the next member.
        self._packed = getattr(self._member, "unconsumed_tail", b"") or self._member.unused_data
        if self._member.eof:
            self._members += 1
            self._member = self._kind.member()
        return text

    def _broken(self, why: str) -> DataError:
        """Return the error for a broken file."""
        message = f"{self._path} is not a whole {self._kind.name} file: {why}, after {self._made} bytes of text"
        return DataError(message, f"copy it again, then try: {self._kind.name} -t {self._path}")

    def _check_size(self) -> None:
        """Raise `DataError` for a bomb."""
        used = self._read - len(self._packed)
        if self._made > LARGEST_UNCHECKED and self._made > LARGEST_RATIO * used:
            message = f"{self._path}: the first {used} bytes unpack to more than {self._made}, {LARGEST_RATIO} times as"
            raise DataError(
                f"{message} many, which no text does", f"look at it with: {self._kind.show} FILE | head -c 1000"
            )


class _Recoded(io.RawIOBase):
    """Stream in UTF-8 of a text in another encoding."""

    def __init__(self, path: Path, file: BinaryIO, encoding: str) -> None:
        self._path = path
        self._file = file
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._text = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        # A block may hold no whole character, and an empty answer would mean the end of the file.
        while not self._text:
            block = self._file.read(BLOCK)
            self._text = self._decoded(block)
            if not block:
                break
        taken, self._text = self._text[: len(buffer)], self._text[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _decoded(self, block: bytes) -> bytes:
        try:
            return self._decoder.decode(block, final=not block).encode()
        except UnicodeDecodeError as error:
            message = f"{self._path} begins like {self._encoding.upper()}, and is not whole: {error.reason}"
            raise DataError(message, "copy it again, or convert it: iconv -f ENCODING -t UTF-8") from error
