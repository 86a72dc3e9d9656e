"""Room on a disk: free bytes, and free inodes, of which every file and folder needs one."""

import os
import shutil
from pathlib import Path

from ..errors import DiskFullError

NO_INODES = "no inode is free, so the disk takes no further file"
REMOVE_FILES = "remove files from that disk, or give another place"


def check_space(folder: Path, needed: int) -> None:
    """Check the room on the disk of a folder, existing or not.

    Raises:
        DiskFullError: fewer than `needed` bytes, or no inodes, are free.
    """
    if out_of_inodes(folder):
        raise DiskFullError(f"{needed:,} bytes are needed for {folder}, and {NO_INODES}", REMOVE_FILES)
    free = free_bytes(folder)
    if free < needed:
        raise DiskFullError(
            f"{needed:,} bytes are needed for {folder}, and {free:,} are free", "free some space, or give another place"
        )


def free_bytes(folder: Path) -> int:
    """Bytes still free for this user on the disk of `folder`; the folder need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


def out_of_inodes(folder: Path) -> bool:
    """Return True if the disk of `folder` counts inodes, and none is free for this user."""
    found = os.statvfs(_existing(folder))
    return found.f_files > 0 and found.f_favail == 0


def _existing(folder: Path) -> Path:
    place = folder.absolute()
    return next(path for path in (place, *place.parents) if path.exists())
