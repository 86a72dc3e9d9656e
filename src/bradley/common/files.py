"""Durable writes: every file and folder is whole or absent, even after a crash in the middle of a write.

An unfinished file or folder is named `.tmp-*`, a folder under removal `.trash-*`, and a folder under replacement
`.old-*`. `sweep` cleans up after a killed process. Every system call that changes the disk is in `disk.py`.
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import BradleyError, DiskError, DiskFullError
from . import disk

TEMPORARY, TRASH, OLD = ".tmp-", ".trash-", ".old-"
FULL = (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, completely or not at all.

    Raises:
        DiskError: the disk is full, or the folder is not writable.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes to `path`, completely or not at all; raises as `write_file`."""
    write_file(path, lambda file: file.write(data))


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all: under a temporary name in the same folder, synced, then renamed.

    Args:
        fill: writes the content to the given binary file.

    Raises:
        DiskError: the disk is full, or the folder is not writable. Any other exception of `fill` passes through;
            nothing is left behind.
    """
    with disk_errors(path):
        make_folder(path.parent)
        temporary = _hidden(path, TEMPORARY)
        handle = disk.create(temporary)
        try:
            with io.BufferedWriter(disk.Raw(handle, "w")) as file:
                fill(file)
                # The content must be on disk before the name: after a power cut the name could lead to an empty file.
                file.flush()
                disk.sync(handle)
            disk.rename(temporary, path)
        except BaseException:
            disk.unlink(temporary)
            raise
        # A name is durable only once the folder is synced: a power cut could bring back the old content.
        sync(path.parent)


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Replace a folder completely or not at all; the old folder stays whole until the new folder is written and synced.

    A crash between the two renames leaves the old folder under the `.old-` name, and never half a folder. `recover`
    restores the name of the old folder.

    Args:
        fill: writes the content into the given temporary folder.

    Raises:
        DiskError: as for `write_file`. Any other exception of `fill` passes through; nothing is left behind.
    """
    with disk_errors(folder):
        draft = begin_folder(folder)
        try:
            fill(draft)
            commit_folder(draft, folder)
        except BaseException:
            discard_folder(draft)
            raise


def begin_folder(folder: Path) -> Path:
    """Make an empty draft folder beside `folder`, to be filled and then committed or discarded.

    Raises:
        DiskError: the place cannot be written.
    """
    with disk_errors(folder):
        make_folder(folder.parent)
        # An `.old-` folder of an interrupted replacement would block the rename below, or be lost if this one fails.
        recover(folder)
        draft = _hidden(folder, TEMPORARY)
        disk.mkdir(draft)
    return draft


def commit_folder(draft: Path, folder: Path) -> None:
    """Sync a draft and give the draft the name `folder`; an older folder of that name stays whole until then.

    Raises:
        DiskError: the disk refuses; the draft is still there, to be discarded.
    """
    with disk_errors(folder):
        share_rights(draft)
        _sync_tree(draft)
        _swap(draft, folder)


def discard_folder(draft: Path) -> None:
    """Remove a draft that failed, as far as the disk lets us: the first error is the one to report, `sweep` does the
    rest.
    """
    with contextlib.suppress(OSError):
        _remove_tree(draft)


def _swap(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; the previous folder is kept as `.old-*` until the new name is on disk."""
    old = folder.with_name(OLD + folder.name)
    replaced = folder.exists()
    # POSIX cannot rename a folder over a folder with content, so the old folder has to move out of the way first.
    if replaced:
        disk.rename(folder, old)
    try:
        disk.rename(new, folder)
    except BaseException:
        if replaced:
            disk.rename(old, folder)
        raise
    # Removing the old folder before the new name is on disk could lose both in a power cut.
    sync(folder.parent)
    if replaced:
        remove_folder(old)


def recover(folder: Path) -> None:
    """Finish a replacement of `folder` interrupted by a crash: keep the new folder if present, else restore the old."""
    old = folder.with_name(OLD + folder.name)
    if not old.exists():
        return
    with disk_errors(folder):
        if folder.exists():
            remove_folder(old)
        else:
            disk.rename(old, folder)
            sync(folder.parent)


def remove_file(path: Path) -> None:
    """Remove a file if present."""
    with disk_errors(path):
        if os.path.lexists(path):
            disk.unlink(path)
            sync(path.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder atomically: the folder's name disappears before the first file is removed."""
    with disk_errors(folder):
        trash = _hidden(folder, TRASH)
        disk.rename(folder, trash)
        _remove_tree(trash)


def sweep(folder: Path) -> None:
    """Clean up below `folder` after a killed process: temporary files and folders, and unfinished replacements.

    The caller must hold the lock of the run; otherwise `sweep` would remove files of a living process.
    """
    with disk_errors(folder):
        # Replacements first: an `.old-` folder may be the only whole copy and needs its name back.
        for path in sorted(folder.rglob(f"{OLD}*")):
            recover(path.with_name(path.name.removeprefix(OLD)))
        for pattern in (f"{TEMPORARY}*", f"{TRASH}*"):
            for path in sorted(folder.rglob(pattern)):
                if path.is_dir() and not path.is_symlink():
                    _remove_tree(path)
                elif os.path.lexists(path):  # a path inside a removed folder is gone already
                    disk.unlink(path)


def make_folder(folder: Path) -> None:
    """Make a folder and all missing parent folders, and sync each new name."""
    with disk_errors(folder):
        if folder.is_dir():
            return
        make_folder(folder.parent)
        # Another process may have made the folder meanwhile. If a file has the name, the first write inside fails.
        with contextlib.suppress(FileExistsError):
            disk.mkdir(folder)
        sync(folder.parent)


def copy_folder(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> None:
    """Copy a folder, with weights as hard links if the disk supports hard links, because a second name costs no space.

    Weights are replaced, never edited; every other file may be edited by hand and is copied byte by byte.

    Args:
        target: existing folder for the copies.
        leave_out: names directly below `source` to skip.
    """
    for path in sorted(source.rglob("*")):
        place = path.relative_to(source)
        if place.parts[0] in leave_out:
            continue
        copy = target / place
        if path.is_dir():
            make_folder(copy)
        elif path.suffix != ".safetensors" or not _linked(path, copy):
            with path.open("rb") as file, io.BufferedWriter(disk.Raw(disk.create(copy), "w")) as written:
                shutil.copyfileobj(file, written)


def _linked(path: Path, copy: Path) -> bool:
    """Return True if `copy` is now a hard link to `path`."""
    try:
        disk.link(path, copy)
    except OSError:  # a different disk, or a disk without hard links
        return False
    return True


def sha256(*paths: Path) -> str:
    """Hash the content of files, one after another, by SHA-256 in hex; each file is read in blocks.

    Raises:
        OSError: a file cannot be read.
    """
    # Never read whole: a weight file may be larger than the free memory.
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def share_rights(folder: Path) -> None:
    """Give every file and folder in a new folder the rights of the folder itself, without write access for others.

    Some libraries write files readable by the owner alone, other libraries files writable by everybody. Reading the
    umask means setting the umask, and a file made by another thread in between would get wrong rights. The rights of
    the new folder show the umask without a call.
    """
    rights = stat.S_IMODE(folder.stat().st_mode) & ~stat.S_IWOTH
    for path in (folder, *folder.rglob("*")):
        found = path.lstat().st_mode
        wanted = rights if stat.S_ISDIR(found) else rights & disk.FILE_MODE
        if stat.S_IMODE(found) != wanted and not stat.S_ISLNK(found):
            # Some disks have no rights, and a hard link may lead to a file of another owner.
            with contextlib.suppress(OSError):
                path.chmod(wanted)


def opener(path: str, flags: int) -> int:
    """Open a log file for `open(..., opener=opener)` without write access for others, under every umask."""
    return os.open(path, flags, disk.FILE_MODE)


def check_space(folder: Path, needed: int) -> None:
    """Raise `DiskFullError` if fewer than `needed` bytes are free on the disk of `folder`, existing or not."""
    free = free_bytes(folder)
    if free < needed:
        raise DiskFullError(
            f"{needed:,} bytes are needed for {folder}, and {free:,} are free", "free some space, or give another place"
        )


def free_bytes(folder: Path) -> int:
    """Bytes still free for this user on the disk of `folder`; the folder need not exist yet."""
    place = folder.absolute()
    return shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free


@contextlib.contextmanager
def disk_errors(path: Path, deed: str = "written") -> Iterator[None]:
    """Turn an error of the system about a disk into a `DiskError` naming `path`, or `DiskFullError` for a full disk.

    Libraries in Rust, which write weights and tokenizers, report the error number as text: `... (os error 28)`.

    Args:
        deed: past participle for the message: "`path` could not be `deed`".
    """
    try:
        yield
    # An error of bradley already names the cause and a hint, even if its text mentions an error number.
    except BradleyError:
        raise
    except Exception as error:
        found = system_error(error)
        if found is None:
            raise
        kind = DiskFullError if found.errno in FULL else DiskError
        hint = "free some space, or give another place" if kind is DiskFullError else "give another place"
        raise kind(f"{path} could not be {deed}: {found.strerror or found}", hint) from error


def system_error(error: Exception) -> OSError | None:
    """Return the system error behind an exception, or None for an exception of another kind."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return error if isinstance(error, OSError) else None


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.sync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    """Sync every file and folder below `folder`, then `folder` itself."""
    # In reverse order the content of a folder precedes the folder.
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def _remove_tree(folder: Path) -> None:
    """Remove a folder with its content; links are removed, the targets of links are kept."""
    for place, folders, names in os.walk(folder, topdown=False):
        for name in names:
            disk.unlink(Path(place, name))
        for name in folders:
            path = Path(place, name)
            (disk.unlink if path.is_symlink() else disk.rmdir)(path)
    disk.rmdir(folder)


def _hidden(path: Path, prefix: str) -> Path:
    """Random name in the folder of `path`, so that nobody can plant a link under the name beforehand."""
    return path.with_name(f"{prefix}{path.name}-{secrets.token_hex(8)}")
