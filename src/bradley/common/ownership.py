"""Ownership of places on disk: the one decision, for every command, on writing, replacing and removing.

A place may be written if nothing is there yet, or an empty folder. A folder may be replaced or removed only if a file
inside says that bradley wrote the folder: a `Mark`. A common name, such as `checkpoints/`, says nothing. Anything else
is refused with `RunFolderError` before the first byte. A link is never followed: a link given as output is refused, and
a link in the place of a folder to remove is removed alone. An input is never an output.

This module decides and changes nothing; `files` acts, and asks here first.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import BradleyError, RunFolderError, UserError
from .json_files import parse_json, read_bytes

DRAFT = re.compile(r"\.(?:tmp|trash)-(?:(?P<name>.+)-)?(?P<token>[0-9a-f]{16})", re.DOTALL)
"""Names of unfinished files and folders, and of folders under removal: `.tmp-NAME-TOKEN`. The token is random."""
ELSEWHERE = "give another place"


class Mark(NamedTuple):
    """File by which a folder is known as written by bradley.

    Attributes:
        name: name of the file, directly in the folder.
        keys: keys of the JSON object in the file; files of other programs lack at least one. Without keys, any content
            will do.
    """

    name: str
    keys: frozenset[str]

    def is_in(self, folder: Path) -> bool:
        """Return True if the folder holds this file, as a file and not as a link."""
        path = folder / self.name
        try:
            if path.is_symlink() or not path.is_file():
                return False
            if not self.keys:
                return True
            content = parse_json(read_bytes(path), path)
        except (OSError, ValueError, BradleyError):
            # An unreadable mark says nothing: the folder then counts as somebody else's, and is left alone.
            return False
        return isinstance(content, dict) and self.keys <= content.keys()


def is_ours(folder: Path, marks: Iterable[Mark]) -> bool:
    """Return True for a folder, not a link, with one of `marks` inside."""
    return not folder.is_symlink() and folder.is_dir() and any(mark.is_in(folder) for mark in marks)


def is_draft(name: str, of: str | None = None) -> bool:
    """Return True for the name of an unfinished file or folder; with `of`, only for drafts of that name."""
    found = DRAFT.fullmatch(name)
    return found is not None and (of is None or found["name"] == of)


def final_name(path: Path) -> Path:
    """Return the place that a path inside a draft gets at the end: `.tmp-step-000004-TOKEN/x` is `step-000004/x`."""
    found = [(part, DRAFT.fullmatch(part)) for part in path.parts]
    return Path(*(match["name"] if match and match["name"] else part for part, match in found))


def named(place: Path | str) -> Path:
    """Return a place as a path; an empty text, which as a path would be the present folder, is refused.

    Raises:
        UserError: the text is empty.
    """
    if place == "":
        raise UserError("the output is empty, wanted the name of a file or folder", "give a name, or . for this folder")
    return Path(place)


def refuse_link(place: Path) -> None:
    """Raise `RunFolderError` if a place is a link: what the link leads to may have another owner."""
    if place.is_symlink():
        raise RunFolderError(f"{place} is a link to {os.readlink(place)}", "give the place itself, not a link to it")


def refuse_filled(folder: Path, leftovers: Sequence[str] = (), what: str = "already holds files") -> None:
    """Refuse a place that is neither new nor an empty folder.

    Args:
        folder: folder to be written.
        leftovers: names of files whose drafts, left by a killed process, do not count.
        what: words for a folder with content.

    Raises:
        RunFolderError: a link, a file or another folder with content has this name.
        OSError: the system does not allow to look, or the name is too long.
    """
    if "\0" in str(folder):
        raise RunFolderError(f"{str(folder)!r} is no name of a folder", "give another place")
    refuse_link(folder)
    # Found here, and not after minutes of work when the folder is made.
    above = next((path for path in folder.parents if path.exists()), folder)
    if not above.is_dir():
        raise RunFolderError(f"{above} is a file, and a folder is wanted", "give another place")
    if not folder.exists():
        return
    if not folder.is_dir():
        kind = "a file" if folder.is_file() else "a device, a pipe or a socket"
        raise RunFolderError(f"{folder} is {kind}, and a folder is wanted", "give another place")
    if any(not any(is_draft(path.name, of) for of in leftovers) for path in folder.iterdir()):
        raise RunFolderError(f"{folder} {what}", ELSEWHERE)


def refuse_foreign(folder: Path, marks: Sequence[Mark]) -> None:
    """Refuse to replace a folder without a mark of bradley; an absent or empty folder, or a link, is nobody's.

    A link is replaced as such: what the link leads to stays.

    Raises:
        RunFolderError: the place is a file, or a folder with content and without a mark.
    """
    if folder.is_symlink() or not folder.exists() or is_ours(folder, marks):
        return
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is a file, and a folder is wanted", ELSEWHERE)
    if any(folder.iterdir()):
        wanted = " or ".join(mark.name for mark in marks) or "mark"
        raise RunFolderError(f"{folder} holds files, and no {wanted} of bradley: it is not replaced", ELSEWHERE)


def refuse_inside(place: Path, marks: Sequence[Mark]) -> None:
    """Refuse a place inside a folder of ours: a run or a model has only the files that bradley put there.

    Args:
        place: file or folder to be written, existing or not.
        marks: files by which the folders above are known.

    Raises:
        RunFolderError: a folder above, behind all links, is ours.
    """
    parents = real_path(place).parents
    # A draft is filled by its maker, wherever the draft lies: an upload is prepared inside the run.
    if any(is_draft(folder.name) for folder in parents):
        return
    above = next((folder for folder in parents if is_ours(folder, marks)), None)
    if above is not None:
        raise RunFolderError(
            f"{place} lies in {above}, a run or model of bradley", "give a place outside of the folder"
        )


def refuse_input_as_output(output: Path, inputs: Iterable[Path | str]) -> None:
    """Refuse an output equal to an input, or with an input inside: writing would destroy the input.

    Args:
        output: file or folder to be written, existing or not.
        inputs: files and folders to be read; absent names, such as names of the Hub, are passed over.

    Raises:
        RunFolderError: an input is the output under any name, or lies in the output folder.
    """
    target = real_path(output)
    for given in inputs:
        source = real_path(Path(given))
        if str(given) and os.path.lexists(source) and (source == target or _holds(output, target, source)):
            relation = "lies in" if target in source.parents else "is"
            raise RunFolderError(f"the input {given} {relation} the output {output}", "give another output")


def _holds(output: Path, target: Path, source: Path) -> bool:
    """Return True if an existing output is the source, or a folder above, under another name."""
    if target in source.parents:
        return True
    try:
        # A hard link, or a second mount, has another path and is the same file.
        return output.exists() and output.samefile(source)
    except OSError:
        return False


def real_path(path: Path) -> Path:
    """Return the absolute path behind all links, as far as the system can tell.

    A link that leads to itself stays where the loop begins. `Path.resolve` raises RuntimeError there, an exception that
    no reader of files expects; opening the result gives the system's own error.
    """
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path.absolute()
