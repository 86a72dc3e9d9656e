"""Hashes of files."""

import hashlib
from pathlib import Path


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
