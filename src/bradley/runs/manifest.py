"""`manifest.json` of a checkpoint: size and SHA-256 of every file in its folder, and a SHA-256 of its own.

It is written last, so a folder without it is no checkpoint, and what it does not name belongs to none.
"""

import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.files import disk_errors, sha256, write_text
from ..errors import CheckpointError
from .layout import MANIFEST

FORMAT = 1
MOST_BYTES = 2**24
"""A manifest is never larger; what is comes from elsewhere, and is not read into memory."""


class DamagedError(CheckpointError):
    """A checkpoint is not what was written: the message names the file, what was expected and what was found."""


def write_manifest(
    folder: Path, step: int, best: int, facts: dict[str, Any], known: Mapping[str, str] | None = None
) -> None:
    """Write size and SHA-256 of every file of a folder.

    Args:
        best: step of the best checkpoint so far, which may be this one.
        facts: figures of the evaluation at this step, as plain JSON values.
        known: SHA-256 of files by name, computed just before, so that large files are read once less.
    """
    known = known or {}
    files = {
        name: {"sha256": known.get(name) or sha256(path), "bytes": path.stat().st_size}
        for name, path in contents(folder).items()
    }
    content = {"format": FORMAT, "step": step, "files": files, "best": best, "facts": facts}
    write_text(folder / MANIFEST, _signed(content))


def _signed(content: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}, indent=2) + "\n"


def contents(folder: Path) -> dict[str, Path]:
    """Every file below a checkpoint's folder by its name there, without the manifest and what a system hides in it.

    Raises:
        DamagedError: a link, which may lead to anything.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise DamagedError(f"{path} is a link, expected a file")
        if path.is_file() and not path.name.startswith("."):
            found[path.relative_to(folder).as_posix()] = path
    found.pop(MANIFEST, None)
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; the files that it names are not looked at.

    Raises:
        DamagedError: no manifest, or not the one that was written.
        CheckpointError: a later bradley wrote it.
    """
    path = folder / MANIFEST
    text = _text(path)
    try:
        content = dict(json.loads(text))
        digest = content.pop("sha256")
        whole = text == _signed(content)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(f"{path} is no manifest: {error!r}") from error
    if not whole:
        found = json.loads(_signed(content))["sha256"]
        raise DamagedError(f"{path}: expected sha256 {digest}, found {found}, or other blanks")
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has the format {content['format']}, and this bradley knows {FORMAT}",
            "install the bradley that wrote it, or a later one",
        )
    return content


def _text(path: Path) -> str:
    if not path.is_file():
        raise DamagedError(f"{path}: expected a manifest, found no such file")
    with disk_errors(path, "read"):
        if path.stat().st_size > MOST_BYTES:
            raise DamagedError(f"{path} has more than {MOST_BYTES:,} bytes")
        return path.read_bytes().decode("utf-8", errors="replace")  # not as text: that would take \r for \n


def verify(folder: Path, step: int) -> dict[str, Any]:
    """The manifest of a checkpoint, after every file was read again.

    Raises:
        DamagedError: a file is missing, changed, or none of this checkpoint.
        CheckpointError: a later bradley wrote it.
        DiskError: it may not be read.
    """
    with disk_errors(folder, "read"):
        manifest = read_manifest(folder)
        found = contents(folder)
        if manifest["step"] != step:
            raise DamagedError(f"{folder / MANIFEST}: expected step {step}, found {manifest['step']}")
        for name in sorted({*manifest["files"], *found}):
            expected = manifest["files"].get(name, {}).get("sha256", "no such file")
            actual = _hash(found[name]) if name in found else "no such file"
            if actual != expected:
                raise DamagedError(f"{folder / name}: expected sha256 {expected}, found {actual}")
    return manifest


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"unreadable: {error.strerror}"


def size_of(manifest: dict[str, Any]) -> int:
    """Bytes of all files that a manifest names."""
    return sum(entry["bytes"] for entry in manifest["files"].values())
