"""Owner of an output: a single process, or the processes of a single start under torchrun.

The rule: the first process of a start holds the lock of the parts folder, from before the model is loaded until the
output is whole. A process of another start is refused. The other processes of the same start wait for the first process
to name start and work in `group.json`. They write parts only as long as both names stand in the file.
"""

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.files import disk_errors, make_folder, sweep, write_text
from ..common.json_files import hash_json
from ..common.lock import LOCK, FolderLock, describe, folder_lock, holder, read_owner
from ..common.ownership import refuse_input_as_output
from ..common.processes import Rank, rank_from
from ..common.trees import remove_trash
from ..errors import DiskError, RankError, RunFolderError, UserError
from .manifest import MANIFEST, MARKS, check_output, exists, is_own
from .parts import BETWEEN_LOOKS, PATIENCE, Parts
from .source import STREAM
from .summary import Counts

START_SECONDS = 60.0
"""Longest time between the starts of two processes of one machine under torchrun."""
OF_A_START = ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")
"""Environment variables with equal values in all processes of a start, and other values in other starts."""
OTHER = "wait for that process or end it; to score beside it, give another -o"


def ranks_of(environment: Mapping[str, str]) -> Rank:
    """Read the place of this process among the processes of `bradley score`.

    Raises:
        UserError: the variables name no process of a group, or a variable is missing.
    """
    hint = "start with `torchrun --nproc-per-node N --no-python bradley score ...`, or unset RANK and WORLD_SIZE"
    given = {name: environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if environment.get(name)}
    shown = ", ".join(f"{name}={value}" for name, value in given.items())
    if ("RANK" in given) != ("WORLD_SIZE" in given):
        missing = "RANK" if "WORLD_SIZE" in given else "WORLD_SIZE"
        raise UserError(f"the environment names no process of a group: {shown}, and {missing} is not set", hint)
    try:
        return rank_from(environment)
    except (UserError, ValueError) as error:
        raise UserError(f"the environment names no process of a group: {shown}", hint) from error


def refuse_input(parts: Parts, source: str, model: Path, base: str) -> None:
    """Raise `RunFolderError` if the output, or the parts folder, is an input or lies in an input folder.

    Links, hard links and other spellings of a path are seen through.

    Args:
        source: input file, or "-".
        model: model folder.
        base: folder or Hub name of an adapter's base model, or "".
    """
    with disk_errors(parts.output, "read"):
        _refuse_input(parts, source, (model, Path(base)) if base and Path(base).is_dir() else (model,))


def _refuse_input(parts: Parts, source: str, folders: Sequence[Path]) -> None:
    output, hint = parts.output, "give another -o"
    if source == STREAM and output.exists() and _is_stream(output, sys.stdin):
        raise RunFolderError(f"the input on stdin is the output {output}", hint)
    for place in (output, parts.folder):
        refuse_input_as_output(place, [source] if source != STREAM else [])
    for folder in folders:
        if _inside(output, folder):
            raise RunFolderError(f"{output} lies in the model folder {folder}", hint)
        if output.exists() and any(path.is_file() and path.samefile(output) for path in folder.rglob("*")):
            raise RunFolderError(f"{output} is a file of the model folder {folder}", hint)


def refuse_stdout(source: str) -> None:
    """Raise `RunFolderError` if stdout is the input file, as after `>> FILE`: the input would grow for ever."""
    if source != STREAM and _is_stream(Path(source), sys.stdout):
        raise RunFolderError(f"stdout is the input {source}", "send stdout to another file")


def _inside(path: Path, folder: Path) -> bool:
    """Return True if a path, existing or not, lies in a folder, with all links resolved."""
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _is_stream(path: Path, stream: Any) -> bool:
    """Return True if a stream of this process is open on the file."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except (AttributeError, OSError):  # a stream without a handle
        return False


@contextlib.contextmanager
def owned(parts: Parts, restart: bool, ranks: Rank, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a parts folder inside a `with` block, for the first process of a start.

    Nothing on the disk is changed before the output and the folder are known to be free or ours. A folder without a
    finished part is removed at the end.

    Args:
        restart: an existing output may be replaced; existing parts are removed.
        ranks: place of this process.
        say: prints a line about the lock of a dead process.

    Raises:
        RunFolderError: another process owns the output; the output exists; output or folder is a link or not ours.
        DiskError: the folder cannot be written.
    """
    with disk_errors(parts.output, "read"):
        check_output(parts.output)
        parts.check_ours()
        if parts.output.exists() and not restart and not parts.folder.exists():
            raise exists(parts.output)
    with contextlib.ExitStack() as stack:
        lock = _locked(stack, parts, say)
        # Looked at again: the owner before may have joined the parts meanwhile.
        parts.check_ours()
        if restart:
            parts.remove()
            stack.close()
            lock = _locked(stack, parts, say)
        try:
            _check_replaced(parts, restart)
            with disk_errors(parts.folder, "removed"):
                remove_trash(parts.folder, is_own)
            if ranks.size == 1:
                # With other processes an unfinished file may be under work.
                sweep(parts.folder, MARKS)
            parts.owner = str(lock.owner["token"])
            parts.group = group_of(os.environ) if ranks.size > 1 else parts.owner
            parts.write_group()
            yield
        finally:
            # The other processes of a start may be about to write; and after the join, the next owner.
            ours = read_owner(parts.folder / LOCK).get("token") == lock.owner["token"]
            if ours and ranks.size == 1 and not parts.begun:
                parts.remove()


def _locked(stack: contextlib.ExitStack, parts: Parts, say: Callable[[str], None]) -> FolderLock:
    """Make the parts folder and take its lock until the stack ends."""
    make_folder(parts.folder)
    try:
        return stack.enter_context(folder_lock(parts.folder, say=say))
    except RunFolderError as error:
        raise RunFolderError(error.message, OTHER) from error
    except DiskError as error:
        if parts.folder.exists():
            raise
        # Between the two calls above, the owner has joined the parts and removed the folder.
        raise RunFolderError(f"{parts.folder} was in use by another process until now", OTHER) from error


def _check_replaced(parts: Parts, restart: bool) -> None:
    """Raise `RunFolderError` for an output that exists, unless to be replaced, or joined by a killed process."""
    manifest = parts.manifest()
    asked = restart or bool(manifest and manifest.get("replace"))
    if os.path.lexists(parts.output) and not asked and parts.joined() is None:
        raise exists(parts.output)


def begin(parts: Parts, work: Mapping[str, Any], restart: bool, say: Callable[[str], None]) -> Counts | None:
    """Continue the parts of the same work in an owned folder, or begin a folder without a finished part.

    Args:
        work: input, model and options of the parts by name; plain JSON values, as in `Manifest`.
        restart: as for `owned`.
        say: prints a line about a damaged part.

    Returns:
        None; or the counts of an output already whole, whose maker was killed before the parts were removed.

    Raises:
        RunFolderError: the folder holds parts of other work.
    """
    if parts.begun:
        parts.check_work(work)
    manifest = parts.manifest()
    parts.work = hash_json(work)
    if parts.begun and (finished := parts.joined()) is not None:
        parts.remove()
        return finished
    # The right to replace belongs to the work that was begun with --restart.
    replace = restart or bool(manifest and manifest.get("replace") and parts.begun)
    if os.path.lexists(parts.output) and not replace:
        raise exists(parts.output)
    parts.drop_damaged(say)
    parts.forget_failures()
    write_text(parts.folder / MANIFEST, json.dumps({**work, "replace": replace}, indent=2) + "\n")
    parts.write_group()
    return None


def follow(parts: Parts, work: Mapping[str, Any], patience: float = PATIENCE, start: float = START_SECONDS) -> bool:
    """Wait until the first process of this start owns the parts folder, and has named the same work.

    Args:
        work: as for `begin`.
        patience: maximum seconds of waiting.
        start: maximum seconds of waiting while a process of another start owns the folder.

    Returns:
        True to write parts; False if the output is whole already.

    Raises:
        RunFolderError: a process of another start owns the folder, or the first process has other work.
        RankError: the first process did not come, or has ended.
    """
    parts.group, parts.work, began, seen = group_of(os.environ), hash_json(work), time.monotonic(), False
    while True:
        parts.check_ours()
        found, owner, waited = parts.read_group(), _living(parts.folder), time.monotonic() - began
        # What a killed start has left names a dead owner, or none.
        if found and found["owner"] == owner.get("token"):
            if found["group"] == parts.group:
                seen = True
                if found["work"]:
                    parts.check_work(work)
                    return True
            elif waited > start:
                raise RunFolderError(f"{parts.folder} is being written by {describe(owner)}, of another start", OTHER)
        if not parts.folder.exists() and parts.output.exists():
            return False
        if waited > patience or (seen and not owner):
            raise RankError("process 0 did not begin, or has ended", "look at process 0, then start all of them again")
        time.sleep(BETWEEN_LOOKS)


def _living(folder: Path) -> dict[str, Any]:
    """Owner of the folder's lock; {} for no owner, or a dead owner of this machine."""
    owner = read_owner(folder / LOCK)
    return owner if owner.get("host") != socket.gethostname() else holder(folder)


def group_of(environment: Mapping[str, str]) -> str:
    """Name of a start, equal in all processes of the start."""
    return hashlib.sha256(json.dumps([environment.get(name, "") for name in OF_A_START]).encode()).hexdigest()[:16]
