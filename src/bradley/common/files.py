"""Durable writes: every file and folder is whole or absent, even after a crash in the middle of a write.

An unfinished file or folder is named `.tmp-*`, a folder under removal `.trash-*`, and a folder under replacement
`.old-*`. `sweep` cleans up after a killed process. Every system call that changes the disk is in `disk.py`. Every
removal and replacement of a folder is here, after `ownership` has allowed it.
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ..errors import BradleyError, DiskError, DiskFullError, RunFolderError
from . import disk
from .ownership import ELSEWHERE, Mark, final_name, is_draft, is_ours, refuse_foreign
from .space import NO_INODES, REMOVE_FILES, out_of_inodes
from .trees import below, remove_tree, share_rights, sync, sync_tree

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
        _fill(temporary, fill)
        try:
            disk.rename(temporary, path)
        except BaseException:
            disk.unlink(temporary)
            raise
        # A name is durable only once the folder is synced: a power cut could bring back the old content.
        sync(path.parent)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file whose name must be free, completely or not at all; of several processes, exactly one succeeds.

    Returns:
        True if the file was written; False if the name exists already, as a link or otherwise.

    Raises:
        DiskError: the disk is full, or the folder is not writable.
    """
    with disk_errors(path):
        temporary = _hidden(path, TEMPORARY)
        _fill(temporary, lambda file: file.write(data))
        try:
            # A second name for a whole file: unlike a rename, a link fails if the name exists.
            with contextlib.suppress(FileExistsError):
                try:
                    disk.link(temporary, path)
                except OSError as error:
                    if isinstance(error, FileExistsError):
                        raise
                    _fill(path, lambda file: file.write(data))  # a disk without hard links
                sync(path.parent)
                return True
        finally:
            disk.unlink(temporary)
    return False


def _fill(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write and sync a file under a new name, completely or not at all."""
    handle = disk.create(path)
    try:
        with io.BufferedWriter(disk.Raw(handle, "w")) as file:
            fill(file)
            # The content must be on disk before a name: after a power cut the name could lead to an empty file.
            file.flush()
            disk.sync(handle)
    except BaseException:
        disk.unlink(path)
        raise


def replace_folder(folder: Path, fill: Callable[[Path], object], marks: Sequence[Mark] = (), token: str = "") -> None:
    """Replace a folder completely or not at all; the old folder stays whole until the new folder is written and synced.

    A crash between the two renames leaves the old folder under the `.old-` name, and never half a folder. `recover`
    restores the name of the old folder.

    Args:
        folder: the folder: absent, empty, a link, or with one of `marks` inside. A link is removed, never followed.
        fill: writes the content into the given temporary folder.
        marks: files by which an existing folder is known as ours.
        token: 16 hexadecimal digits in the name of the draft, so that a lock can name the draft; random by default.

    Raises:
        RunFolderError: the folder holds files, and no mark; nothing is changed.
        DiskError: as for `write_file`. Any other exception of `fill` passes through; nothing is left behind.
    """
    with disk_errors(folder):
        draft = begin_folder(folder, marks, token)
        try:
            fill(draft)
            commit_folder(draft, folder, marks)
        except BaseException:
            discard_folder(draft)
            raise


def begin_folder(folder: Path, marks: Sequence[Mark] = (), token: str = "") -> Path:
    """Make an empty draft folder beside `folder`, to be filled and then committed or discarded.

    Args:
        folder, marks, token: as for `replace_folder`.

    Raises:
        RunFolderError: the folder holds files, and no mark.
        DiskError: the place cannot be written.
    """
    with disk_errors(folder):
        refuse_foreign(folder, marks)
        make_folder(folder.parent)
        # An `.old-` folder of an interrupted replacement would block the rename below, or be lost if this one fails.
        recover(folder, marks)
        draft = _hidden(folder, TEMPORARY, token)
        disk.mkdir(draft)
    return draft


def commit_folder(draft: Path, folder: Path, marks: Sequence[Mark] = ()) -> None:
    """Sync a draft and give the draft the name `folder`; an older folder of that name stays whole until then.

    Raises:
        RunFolderError: somebody has put files there meanwhile, and no mark; the draft is still there.
        DiskError: the disk refuses; the draft is still there, to be discarded.
    """
    with disk_errors(folder):
        share_rights(draft)
        sync_tree(draft)
        refuse_foreign(folder, marks)
        _swap(draft, folder)


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder `.tmp-NAME-TOKEN` beside `folder` for a `with` block, and remove it with all content.

    Raises:
        DiskError: the place cannot be written.
    """
    draft = begin_folder(folder)
    try:
        yield draft
    finally:
        discard_folder(draft)


def discard_folder(draft: Path) -> None:
    """Remove a draft that failed, as far as the disk lets us: the first error is the one to report, `sweep` does the
    rest.
    """
    with contextlib.suppress(OSError):
        remove_tree(draft)


def _swap(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; the previous folder is kept as `.old-*` until the new name is on disk."""
    old = folder.with_name(OLD + folder.name)
    # A link leads to a place of another owner: only the link goes.
    if folder.is_symlink():
        disk.unlink(folder)
    # POSIX cannot rename a folder over a folder with content, so the old folder has to move out of the way first.
    replaced = folder.is_dir() and any(folder.iterdir())
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
        _remove_whole(old)


def recover(folder: Path, marks: Sequence[Mark]) -> None:
    """Finish a replacement of `folder` interrupted by a crash: keep the new folder if present, else restore the old.

    A folder of the `.old-` name without one of `marks` is somebody else's, and stays.
    """
    old = folder.with_name(OLD + folder.name)
    with disk_errors(folder):
        if not is_ours(old, marks):
            return
        if os.path.lexists(folder):
            _remove_whole(old)
        else:
            disk.rename(old, folder)
            sync(folder.parent)


def remove_file(path: Path) -> None:
    """Remove a file if present; of a link, the link alone."""
    with disk_errors(path):
        if os.path.lexists(path):
            disk.unlink(path)
            sync(path.parent)


def remove_folder(folder: Path, marks: Sequence[Mark]) -> None:
    """Remove a folder atomically: the folder's name disappears before the first file is removed.

    Args:
        folder: folder with one of `marks` inside, or a link; of a link, the link alone is removed.

    Raises:
        RunFolderError: the folder holds files, and no mark; nothing is removed.
        DiskError: the folder cannot be removed.
    """
    with disk_errors(folder):
        refuse_foreign(folder, marks)
        _remove_whole(folder)


def remove_inside(folder: Path, names: Iterable[str], marks: Sequence[Mark]) -> None:
    """Remove files and folders from a folder of ours; names that are absent are passed over.

    Args:
        folder: folder with one of `marks` inside.
        names: names directly in the folder; of a link, the link alone is removed.

    Raises:
        RunFolderError: the folder holds no mark; nothing is removed.
        DiskError: something cannot be removed.
    """
    with disk_errors(folder):
        if not is_ours(folder, marks):
            raise RunFolderError(f"{folder} is no folder of bradley: nothing there is removed", ELSEWHERE)
        for name in names:
            remove_tree(folder / name)


def move_file(path: Path, target: Path) -> None:
    """Rename a whole and synced file of the same disk, replacing `target`; raises `DiskError`."""
    with disk_errors(target):
        disk.rename(path, target)
        sync(target.parent)


def set_aside(folder: Path, name: str) -> Path:
    """Rename a folder to `name`, or the first free of `name-2`, `name-3` ..., and return the new place."""
    with disk_errors(folder.parent):
        place, number = folder.with_name(name), 1
        while os.path.lexists(place):
            number += 1
            place = folder.with_name(f"{name}-{number}")
        disk.rename(folder, place)
        sync(folder.parent)
    return place


def remove_draft(folder: Path, token: str) -> None:
    """Remove the draft of `folder` that a killed process has left, if any; `token` is the one in the draft's name."""
    with disk_errors(folder):
        remove_tree(_hidden(folder, TEMPORARY, token))


def sweep(folder: Path, marks: Sequence[Mark]) -> None:
    """Clean up below `folder` after a killed process: temporary files and folders, and unfinished replacements.

    The caller must own the folder and hold its lock; otherwise `sweep` would remove files of a living process. Only
    names with a random token, as `write_file` and `begin_folder` make them, count as temporary.

    Args:
        marks: files by which a folder under replacement is known as ours.
    """
    with disk_errors(folder):
        # Replacements first: an `.old-` folder may be the only whole copy and needs its name back.
        for path in below(folder):
            if path.name.startswith(OLD):
                recover(path.with_name(path.name.removeprefix(OLD)), marks)
        for path in below(folder):
            if is_draft(path.name):
                remove_tree(path)


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


def sha256(*paths: Path) -> str:
    """Hash the content of files, one after another, by SHA-256 in hex; each file is read in blocks.

    Raises:
        OSError: a file cannot be read, or is a pipe or a device.
    """
    # Never read whole: a weight file may be larger than the free memory.
    digest = hashlib.sha256()
    for path in paths:
        # A pipe would keep the reader waiting for ever.
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "no regular file", str(path))
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def opener(path: str, flags: int) -> int:
    """Open a log file for `open(..., opener=opener)` without write access for others, under every umask."""
    return os.open(path, flags, disk.FILE_MODE)


@contextlib.contextmanager
def disk_errors(path: Path, deed: str = "written") -> Iterator[None]:
    """Turn an error of the system about a disk into a `DiskError` naming `path`, or `DiskFullError` for a full disk.

    Inside a draft, the error names the place that the draft was to get.

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
        # A user knows the final place, not the draft.
        what = f"{final_name(path)} could not be {deed}: {found.strerror or found}"
        if found.errno not in FULL:
            raise DiskError(what, "give another place") from error
        if out_of_inodes(path):
            raise DiskFullError(f"{what}; {NO_INODES}", REMOVE_FILES) from error
        raise DiskFullError(what, "free some space, or give another place") from error


def system_error(error: Exception) -> OSError | None:
    """Return the system error behind an exception, or None for an exception of another kind."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return error if isinstance(error, OSError) else None


def _remove_whole(folder: Path) -> None:
    """Remove a folder, renamed first, so that no half of a folder ever has the name; of a link, the link alone."""
    if folder.is_symlink():
        disk.unlink(folder)
        return
    trash = _hidden(folder, TRASH)
    disk.rename(folder, trash)
    # A power cut could else bring back half a folder under its name, without the mark by which it is known as ours.
    sync(folder.parent)
    remove_tree(trash)


def _hidden(path: Path, prefix: str, token: str = "") -> Path:
    """Random name in the folder of `path`, so that nobody can plant a link under the name beforehand."""
    return path.with_name(f"{prefix}{path.name}-{token or secrets.token_hex(8)}")
