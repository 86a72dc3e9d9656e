"""Whole trees of files: removal, copies, rights and flushing. No link is followed."""

import contextlib
import io
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from . import disk
from .ownership import is_draft


def remove_tree(path: Path) -> None:
    """Remove a file, a folder with content, or a link, if present. No link is followed, at the top or below."""
    if path.is_symlink() or not path.is_dir():
        # A path inside a removed folder is gone already.
        if os.path.lexists(path):
            disk.unlink(path)
        return
    for place, folders, names in os.walk(path, topdown=False):
        for name in names:
            disk.unlink(Path(place, name))
        for name in folders:
            inner = Path(place, name)
            (disk.unlink if inner.is_symlink() else disk.rmdir)(inner)
    disk.rmdir(path)


def remove_trash(folder: Path, ours: Callable[[Path], bool]) -> None:
    """Remove what a process killed in the middle of `files.remove_folder` has left beside `folder`.

    Args:
        ours: True for a path that may lie in such a folder; a folder holding anything else stays. The mark of the
            folder may be removed already.
    """
    for name in os.listdir(folder.parent):
        path = folder.with_name(name)
        trash = name.startswith(".trash-") and is_draft(name, folder.name) and not path.is_symlink() and path.is_dir()
        if trash and all(map(ours, path.iterdir())):
            remove_tree(path)


def below(folder: Path) -> list[Path]:
    """List everything below a folder, in order; links are listed, and never entered."""
    found = [Path(place, name) for place, folders, names in os.walk(folder) for name in (*folders, *names)]
    return sorted(found)


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
            # Synced with the draft around it, as every file is.
            disk.mkdir(copy)
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


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.sync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Sync every file and folder below `folder`, then `folder` itself."""
    # In reverse order the content of a folder precedes the folder.
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)
