"""Manifest of a checkpoint, `manifest.json`: size and SHA-256 of every file, and a SHA-256 of the manifest itself.

The manifest is written last. A folder without a manifest is no checkpoint, and a file not named there belongs to no
checkpoint.
"""

import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.files import disk_errors, sha256, write_text
from ..common.json_files import check_shape, parse_json
from ..errors import CheckpointError
from .layout import MANIFEST
from .shapes import Manifest

FORMAT = 1
"""Version of the manifest's fields."""
MOST_BYTES = 2**24
"""Largest size of a manifest in bytes. A larger file comes from elsewhere, and is not read into memory."""


class DamagedError(CheckpointError):
    """Checkpoint differing from the written checkpoint; the message names the file, the expected and the found hash."""


def write_manifest(
    folder: Path, step: int, best: int, facts: dict[str, Any], known: Mapping[str, str] | None = None
) -> None:
    """Write the manifest of a folder: size and SHA-256 of every file.

    Args:
        folder: draft of the checkpoint, complete but for the manifest.
        step: optimizer steps taken.
        best: step of the best checkpoint so far, possibly this checkpoint.
        facts: figures of the evaluation at this step, as plain JSON values.
        known: SHA-256 of files by name, computed just before.
    """
    # The card already holds the hashes of the weight files; hashing again would read gigabytes a second time.
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
    """Find every file below a checkpoint's folder, by relative name, without the manifest and hidden files.

    Raises:
        DamagedError: a file is a link, and may lead to anything.
    """
    # Hidden files are left out: macOS and NFS put files such as `.DS_Store` and `.nfs*` into folders.
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise DamagedError(f"{path} is a link, expected a file")
        if path.is_file() and not path.name.startswith("."):
            found[path.relative_to(folder).as_posix()] = path
    found.pop(MANIFEST, None)
    return found


def added(folder: Path) -> list[str]:
    """List the files of a checkpoint that the manifest does not name: somebody else has put the files there."""
    try:
        known = read_manifest(folder)["files"]
        return [name for name in contents(folder) if name not in known]
    except DamagedError:
        return []


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint, without reading the files named there.

    Raises:
        DamagedError: the manifest is missing, or was changed.
        CheckpointError: a later bradley wrote the manifest.
    """
    path = folder / MANIFEST
    # A broken manifest is damage, like any changed file: the checkpoint before may be whole.
    data = _data(path)
    content = check_shape(parse_json(data, path, DamagedError), dict[str, Any], path, DamagedError)
    digest = content.pop("sha256", None)
    signed = _signed(content)
    # The text is compared, not only the values: every changed byte counts as damage, even a blank.
    if data != signed.encode():
        found = json.loads(signed)["sha256"]
        raise DamagedError(f"{path}: expected sha256 {digest!s:.80}, found {found}, or other blanks")
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has the format {content.get('format')!r:.40}, and this bradley knows {FORMAT}",
            "install the bradley that wrote it, or a later one",
        )
    manifest: dict[str, Any] = check_shape(content, Manifest, path, DamagedError)
    return manifest


def _data(path: Path) -> bytes:
    if not path.is_file():
        raise DamagedError(f"{path}: expected a manifest, found no such file")
    # A file that may not be read is no damage: rights concern the whole disk, and no checkpoint is set aside.
    with disk_errors(path, "read"):
        if path.stat().st_size > MOST_BYTES:
            raise DamagedError(f"{path} has more than {MOST_BYTES:,} bytes")
        return path.read_bytes()


def verify(folder: Path, step: int) -> dict[str, Any]:
    """Hash every file of a checkpoint again, compare with the manifest, and return the manifest.

    Args:
        folder: the checkpoint.
        step: step expected from the folder's name.

    Raises:
        DamagedError: a file is missing, changed, or no part of this checkpoint.
        CheckpointError: a later bradley wrote the checkpoint.
        DiskError: a file may not be read.
    """
    with disk_errors(folder, "read"):
        manifest = read_manifest(folder)
        found = contents(folder)
        # A copied or renamed folder may carry the manifest of another step, with every hash correct.
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
        # EIO is a bad block: damage, like a wrong hash, and the checkpoint before may be whole. Other errors concern
        # the whole disk or the rights.
        if error.errno != errno.EIO:
            raise
        return f"unreadable: {error.strerror}"


def size_of(manifest: dict[str, Any]) -> int:
    """Return the bytes of all files named in a manifest."""
    return sum(entry["bytes"] for entry in manifest["files"].values())
