"""Durable writes: every file and folder is whole or absent, whatever happens half-way."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import DiskError


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all.

    Raises:
        DiskError: the disk is full, or the place cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes to `path`, as `write_file` does."""
    write_file(path, lambda file: file.write(data))


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write what `fill` writes to `path`: under a temporary name in the same folder, synced, then renamed.

    Raises:
        DiskError: the disk is full, or the place cannot be written. Any other exception of `fill` passes through;
            nothing is left behind.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".tmp-{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync(path.parent)


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Make `folder` what `fill(temporary folder)` writes; until that is done and synced, the old one stays whole.

    A crash between the two renames leaves the old folder under a `.tmp-` name and never half a folder.

    Raises:
        DiskError: as for `write_bytes`. Any other exception of `fill` passes through; nothing is left behind.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".tmp-{folder.name}-"))
        try:
            temporary.chmod(0o777 & ~_umask())
            fill(temporary)
            for path in temporary.rglob("*"):
                if path.is_file():
                    _sync(path)
            _sync(temporary)
            _swap(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync(folder.parent)


def _swap(new: Path, folder: Path) -> None:
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".tmp-old-{folder.name}-"))
    if folder.exists():
        folder.replace(old)  # onto an empty folder, which a rename may replace
    new.replace(folder)
    shutil.rmtree(old)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder; its weights as hard links where the disk has them, because a second name costs no space.

    Weights are replaced, never edited; everything else may be edited by hand and gets a copy of its own.
    """
    for path in source.rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(exist_ok=True)
            continue
        if path.suffix != ".safetensors" or not _linked(path, copy):
            shutil.copy2(path, copy)


def _linked(path: Path, copy: Path) -> bool:
    try:
        os.link(path, copy)
    except OSError:  # another disk, or one without hard links
        return False
    return True


def make_readable(folder: Path) -> None:
    """Give a folder and all in it the rights that others need to read them, as far as the umask of the user allows:
    0644 for files, 0755 for folders. A copy of a private file would stay private otherwise.
    """
    mask = _umask()
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o755 if path.is_dir() else 0o644) & ~mask)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn whatever the system says of a disk into a `DiskError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{path} could not be written: {error.strerror or error}", "free some space, or give another place"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
