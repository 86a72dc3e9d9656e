"""Durable writes: every file and folder is whole or absent, whatever happens half-way.

What is not finished is called `.tmp-*`, what is being removed `.trash-*`, and a folder that is being replaced `.old-*`;
`sweep` clears up after a process that was killed. Every call to the system that changes something is in `disk.py`.
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


def sha256(*paths: Path) -> str:
    """SHA-256, in hex, of files as they lie on disk, read in pieces; of several, of their bytes one after another.

    Raises:
        OSError: a file that cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


TEMPORARY, TRASH, OLD = ".tmp-", ".trash-", ".old-"
FULL = (errno.ENOSPC, errno.EDQUOT)


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
        make_folder(path.parent)
        temporary = _hidden(path, TEMPORARY)
        handle = disk.create(temporary)
        try:
            with io.BufferedWriter(disk.Raw(handle, "w")) as file:
                fill(file)
                file.flush()
                disk.sync(handle)
            disk.rename(temporary, path)
        except BaseException:
            disk.unlink(temporary)
            raise
        sync(path.parent)


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Make `folder` what `fill(temporary folder)` writes; until that is done and synced, the old one stays whole.

    A crash between the two renames leaves the old folder under its `.old-` name, to which `recover` gives it back its
    own, and never half a folder.

    Raises:
        DiskError: as for `write_bytes`. Any other exception of `fill` passes through; nothing is left behind.
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
    old = folder.with_name(OLD + folder.name)
    replaced = folder.exists()
    if replaced:
        disk.rename(folder, old)
    try:
        disk.rename(new, folder)
    except BaseException:
        if replaced:
            disk.rename(old, folder)
        raise
    sync(folder.parent)
    if replaced:
        remove_folder(old)


def recover(folder: Path) -> None:
    """End a replacement of `folder` that a crash has cut short: the new one if it is there, else the old one."""
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
    """Remove a file, if it is there."""
    with disk_errors(path):
        if os.path.lexists(path):
            disk.unlink(path)
            sync(path.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder at one stroke: under its own name, no half of it is ever seen."""
    with disk_errors(folder):
        trash = _hidden(folder, TRASH)
        disk.rename(folder, trash)
        _remove_tree(trash)


def sweep(folder: Path) -> None:
    """Clear up below `folder` what a killed process left: temporary files and folders, and half-done replacements.

    The caller holds the lock of the run; otherwise this would take the files of a living process.
    """
    with disk_errors(folder):
        for path in sorted(folder.rglob(f"{OLD}*")):
            recover(path.with_name(path.name.removeprefix(OLD)))
        for pattern in (f"{TEMPORARY}*", f"{TRASH}*"):
            for path in sorted(folder.rglob(pattern)):
                if path.is_dir() and not path.is_symlink():
                    _remove_tree(path)
                elif os.path.lexists(path):  # else it went with the folder above it
                    disk.unlink(path)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, each name synced."""
    with disk_errors(folder):
        if folder.is_dir():
            return
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):  # another process was first; a file is found when it is written in
            disk.mkdir(folder)
        sync(folder.parent)


def copy_folder(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> None:
    """Copy a folder; its weights as hard links where the disk has them, because a second name costs no space.

    Weights are replaced, never edited; everything else may be edited by hand and gets a copy of its own.

    Args:
        leave_out: names directly below `source` that are not copied.
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
    try:
        disk.link(path, copy)
    except OSError:  # another disk, or one without hard links
        return False
    return True


def share_rights(folder: Path) -> None:
    """Give a new folder and all below it the rights that the umask left it, but for others to write; whoever made it.

    Some libraries write files that their owner alone may read, others some that everybody may write. The umask itself
    can only be read by setting it, which another thread that makes a file just then would notice.
    """
    rights = stat.S_IMODE(folder.stat().st_mode) & ~stat.S_IWOTH
    for path in (folder, *folder.rglob("*")):
        found = path.lstat().st_mode
        wanted = rights if stat.S_ISDIR(found) else rights & disk.FILE_MODE
        if stat.S_IMODE(found) != wanted and not stat.S_ISLNK(found):
            with contextlib.suppress(OSError):  # a disk without rights of its own, or a second name of another's file
                path.chmod(wanted)


def opener(path: str, flags: int) -> int:
    """The `opener` of a log that `open` is to make: others may not write in it, whatever the umask is."""
    return os.open(path, flags, disk.FILE_MODE)


def check_space(folder: Path, needed: int) -> None:
    """Raise `DiskError` where the disk of `folder`, which need not exist yet, has fewer than `needed` bytes free."""
    free = free_bytes(folder)
    if free < needed:
        raise DiskFullError(
            f"{needed:,} bytes are needed for {folder}, and {free:,} are free", "free some space, or give another place"
        )


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write on the disk of `folder`, which need not exist yet."""
    place = folder.absolute()
    return shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free


@contextlib.contextmanager
def disk_errors(path: Path, deed: str = "written") -> Iterator[None]:
    """Turn whatever the system says of a disk into a `DiskError` that names `path`, a `DiskFullError` where it is full.

    Libraries in Rust, which write weights and tokenizers, say it in words of their own: `... (os error 28)`.
    """
    try:
        yield
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
    """What the system said, if that is what `error` is about."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return error if isinstance(error, OSError) else None


def _hidden(path: Path, prefix: str) -> Path:
    """A name beside `path` that nobody can guess."""
    return path.with_name(f"{prefix}{path.name}-{secrets.token_hex(8)}")


def _remove_tree(folder: Path) -> None:
    """Remove a folder, the links in it and not what they lead to."""
    for place, folders, names in os.walk(folder, topdown=False):
        for name in names:
            disk.unlink(Path(place, name))
        for name in folders:
            path = Path(place, name)
            (disk.unlink if path.is_symlink() else disk.rmdir)(path)
    disk.rmdir(folder)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds before the folder
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.sync(handle)
    finally:
        os.close(handle)
