"""Cache of token stores and rows: folders named by a key, each file believed by its hash alone, each with one builder.

An entry is a folder `<key>`; a folder being filled is `.tmp-<key>`, locked by the process that fills the folder. The
ledger of an entry holds the SHA-256 of every file, and a SHA-256 of the ledger itself. A changed, swapped, cut or
missing file makes the whole entry anew. Only folders with nothing but files of ours are ever replaced or removed.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..common import signals
from ..common.console import to_stderr
from ..common.files import commit_folder, discard_folder, disk_errors, make_folder, remove_folder, remove_inside
from ..common.json_files import parse_json, read_bytes, with_hash
from ..common.lock import LOCK, LOOK_SECONDS, STALE_SECONDS, folder_lock
from ..common.ownership import Mark
from ..common.text import one_line, visible
from ..errors import BradleyError, CheckpointError, DiskError, DiskFullError, RunFolderError, UserError

LEDGER = "ledger.json"
"""File of an entry with the hashes."""
TAG = "CACHEDIR.TAG"
"""File that tells programs for backups, and bradley, that a folder is a cache (https://bford.info/cachedir/)."""
MARKS = tuple(Mark(name, frozenset()) for name in (LEDGER, TAG, LOCK))
"""Files by which an entry or a draft is known as ours, damaged or whole; `_removable` asks for more."""
TAG_TEXT = b"Signature: 8a477f597d28d172789f06886806bc55\n# A token store of bradley: may be removed at any time.\n"
KIND = "bradley token store"
ROW_FILES = ("texts.bin", "columns.bin", "ids.json")
"""Files of an entry of `row_cache`; a sweep for any kind of entry removes what a killed builder of rows left behind."""
LEGACY_SECONDS = 86400.0
"""Age of an unlocked draft, in seconds, from which the builder is gone: only versions without locks leave such drafts.
"""
ENTRY = re.compile(r"[0-9a-f]{32}")
DRAFT = re.compile(r"\.tmp-[0-9a-f]{32}(-[0-9a-f]{16})?")
LEFT_OVER = re.compile(r"\.trash-(\.tmp-)?[0-9a-f]{32}(-[0-9a-f]{16}){1,2}")
HINT = "name another folder with the variable BRADLEY_CACHE"
FILES_HINT = "raise the limit of open files, such as: ulimit -n 4096"

Opener = Callable[[str], contextlib.AbstractContextManager[Any]]


class Contents(NamedTuple):
    """Meaning of the files of an entry.

    Attributes:
        names: names of the files, apart from the ledger.
        fill: writes the files into a folder, and returns a note as plain JSON.
        read: makes the value from the files and the note; raises `ValueError` for files that do not fit each other.
    """

    names: Collection[str]
    fill: Callable[[Path], Any]
    read: Callable[[Opener, Any], Any]


class Damaged(Exception):
    """Entry that cannot be believed, with the cause as the message; an absent entry has no message."""


def default_cache() -> Path:
    """Return the folder of token stores and rows: `$BRADLEY_CACHE`, or `bradley/tokens` in the user's cache folder.

    Raises:
        UserError: no home folder is known, or the named home does not exist.
    """
    named, base = os.environ.get("BRADLEY_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if named:
            return Path(named).expanduser()
        return Path(base or "~/.cache").expanduser() / "bradley" / "tokens"
    except RuntimeError as error:
        raise UserError(
            f"no home folder is known for the cache {visible(named or base or '~/.cache')}",
            "name a folder with the variable BRADLEY_CACHE",
        ) from error


def cached(cache: Path, key: str, contents: Contents, say: Callable[[str], None] = to_stderr) -> Any | None:
    """Read an entry of a cache, and make the entry first if absent or damaged.

    A single process makes an entry; others wait as long as the maker lives, and then read the result.

    Args:
        cache: folder of entries, made if absent.
        key: name of the entry, 32 hex digits.
        contents: meaning of the files.
        say: prints a line about a damaged entry, a wait, or an entry out of use.

    Returns:
        Result of `contents.read`; None if files of others, or a process standing still, hold the name of the entry.

    Raises:
        RunFolderError: `cache` is no folder, or a folder with files of others and without an entry.
        DiskError: the disk is full, the cache cannot be written, or too many files are open.
        StopRequested: the process was asked to stop during a wait.
    """
    with _in_words(cache):
        _check_cache(cache)
        return _cached(cache / key, contents, say)


def _cached(entry: Path, contents: Contents, say: Callable[[str], None]) -> Any | None:
    draft, patience = entry.with_name(f".tmp-{entry.name}"), _Patience(entry, say)
    while True:
        try:
            return _read(entry, contents)
        except Damaged as cause:
            why = str(cause)
        make_folder(entry.parent)
        if taken := next((path for path in (entry, draft) if not _removable(path, contents.names)), None):
            say(f"{visible(str(taken))} holds something that is not of bradley: the cache is not used for these data")
            return None
        with _claimed(draft) as claimed:
            if claimed:
                # The entry may have been made between the reading and the lock.
                with contextlib.suppress(Damaged):
                    return _read(entry, contents)
                if why:
                    say(f"{visible(str(entry))} is damaged and made anew: {why}")
                _sweep(entry.parent, {*contents.names, *ROW_FILES})
                _build(entry, draft, contents)
        if not claimed and not patience.waits(draft / LOCK):
            return None


def _read(entry: Path, contents: Contents) -> Any:
    """Read an entry; raise `Damaged` if absent or not as written."""
    if not os.path.lexists(entry):
        raise Damaged
    try:
        ledger = _signed(entry)

        @contextlib.contextmanager
        def opened(name: str) -> Iterator[Any]:
            # Hash and arrays come from one open file: a file put in place in between is not read.
            with _open_regular(entry / name) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != ledger["files"].get(name):
                    raise Damaged(f"{name} is not the file that was written")
                file.seek(0)
                yield file

        return contents.read(opened, ledger["note"])
    except OSError as cause:
        if cause.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise Damaged(f"{Path(cause.filename or '').name or entry.name}: {cause.strerror}") from cause
    except CheckpointError as cause:
        raise Damaged(one_line(cause)) from cause
    except ValueError as cause:
        raise Damaged(one_line(cause)) from cause


def _signed(entry: Path) -> dict[str, Any]:
    """Return the ledger of an entry, if signed for this very entry."""
    path = entry / LEDGER
    if path.is_symlink() or entry.is_symlink():
        raise Damaged("a link stands in its place")
    ledger = parse_json(read_bytes(path), path)
    if not isinstance(ledger, dict) or ledger != with_hash(ledger, "sha256"):
        raise Damaged(f"{LEDGER} is not the file that was written")
    # An entry moved to the name of another entry has the right hashes for the wrong data.
    if (ledger["kind"], ledger["key"]) != (KIND, entry.name):
        raise Damaged(f"{LEDGER} belongs to another entry")
    return ledger


def _open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; links, pipes and devices are refused without a wait."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(handle, "rb")


def _build(entry: Path, draft: Path, contents: Contents) -> None:
    """Fill the locked draft, and give the draft the name of the entry."""
    # Left by a killed builder.
    remove_inside(draft, [name for name in os.listdir(draft) if name != LOCK], MARKS)
    try:
        (draft / TAG).write_bytes(TAG_TEXT)
        note = contents.fill(draft)
        files = {}
        for name in sorted(contents.names):
            with (draft / name).open("rb") as file:
                files[name] = hashlib.file_digest(file, "sha256").hexdigest()
        ledger = {"kind": KIND, "key": entry.name, "note": note, "files": files}
        (draft / LEDGER).write_text(json.dumps(with_hash(ledger, "sha256")), encoding="utf-8")
        if os.path.lexists(entry):
            remove_folder(entry, MARKS)
        commit_folder(draft, entry)
        remove_inside(entry, [LOCK], MARKS)
    except BaseException:
        discard_folder(draft)
        raise


@contextlib.contextmanager
def _claimed(draft: Path) -> Iterator[bool]:
    """Hold the lock of a draft, made if absent; False if another process holds the lock."""
    with contextlib.ExitStack() as held:
        try:
            make_folder(draft)
            held.enter_context(folder_lock(draft, say=lambda _: None))
            claimed = True
        except RunFolderError:
            claimed = False
        except DiskError as error:
            # Absent: another process has just finished the draft, or swept an empty one. Any other refusal is final.
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            claimed = False
        yield claimed


class _Patience:
    """Wait for another builder, as long as the builder touches the lock."""

    def __init__(self, entry: Path, say: Callable[[str], None]) -> None:
        self.entry, self.say = entry, say
        self.touched, self.since, self.said = -1, time.monotonic(), False

    def waits(self, lock: Path) -> bool:
        """Wait a moment; False if the lock was not touched for a minute."""
        signals.check()
        try:
            touched = lock.stat().st_mtime_ns
        except FileNotFoundError:
            # The draft is finished, or not yet locked: looked at again soon, and not for ever.
            touched = 0
        if touched != self.touched:
            self.touched, self.since = touched, time.monotonic()
        if time.monotonic() > self.since + STALE_SECONDS:
            self.say(f"{visible(str(self.entry))}: the process that makes it stands still: the cache is not used")
            return False
        if touched and not self.said:
            self.said = True
            self.say(f"{visible(str(self.entry))} is being made by another process: waiting")
        time.sleep(LOOK_SECONDS)
        return True


def _sweep(cache: Path, names: Collection[str]) -> None:
    """Remove what killed builders left behind; a draft with a held lock, or with files of others, stays."""
    for path in sorted(cache.iterdir()):
        if LEFT_OVER.fullmatch(path.name) and _removable(path, names):
            discard_folder(path)
        elif DRAFT.fullmatch(path.name) and _removable(path, names):
            with contextlib.suppress(BradleyError, OSError):
                _sweep_draft(path)


def _sweep_draft(draft: Path) -> None:
    """Remove the draft of a builder that is gone."""
    if not (draft / LOCK).exists():
        # Empty: killed before the lock. With files, and without a lock: made by a version without locks, maybe alive.
        # Without a lock there is no mark of ours to ask for; `_removable` has looked at every name.
        if not os.listdir(draft) or time.time() - draft.stat().st_mtime > LEGACY_SECONDS:
            discard_folder(draft)
        return
    with folder_lock(draft, say=lambda _: None):
        remove_folder(draft, MARKS)


def _removable(folder: Path, names: Collection[str]) -> bool:
    """Return True for an absent or empty folder, and for a folder with a file of ours and nothing of anybody else.

    Links are never followed. A name alone proves nothing: the tag or the ledger has to be there, or the lock of a
    draft.
    """
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return False
        found = {entry.name: entry.is_file(follow_symlinks=False) for entry in os.scandir(folder)}
    except FileNotFoundError:
        return True
    except OSError:
        return False
    ours = {*names, LEDGER, TAG, LOCK}
    if not all(regular and (name in ours or name.startswith(f".tmp-{LOCK}-")) for name, regular in found.items()):
        return False
    hidden = not ENTRY.fullmatch(folder.name)
    return not found or hidden or _has(folder / TAG, TAG_TEXT) or _has(folder / LEDGER, KIND.encode())


def _has(path: Path, text: bytes) -> bool:
    """Return True if a small file holds a text."""
    try:
        return text in read_bytes(path, most=2**24)
    except BradleyError:
        return False


def _check_cache(cache: Path) -> None:
    """Raise `RunFolderError` for a file, or for a folder with files of others and without an entry of ours."""
    if not os.path.lexists(cache):
        return
    if not cache.is_dir():
        raise RunFolderError(f"the cache of token stores {visible(str(cache))} is no folder", HINT)
    names = os.listdir(cache)
    foreign = sorted(n for n in names if not any(kind.fullmatch(n) for kind in (ENTRY, DRAFT, LEFT_OVER)))
    entries = (cache / name for name in names if ENTRY.fullmatch(name))
    if foreign and not any(_has(entry / TAG, TAG_TEXT) or (entry / LEDGER).is_file() for entry in entries):
        raise RunFolderError(
            f"the cache of token stores {visible(str(cache))} holds other files, such as {visible(foreign[0])}", HINT
        )


@contextlib.contextmanager
def _in_words(cache: Path) -> Iterator[None]:
    """Turn system errors about a cache into errors with a hint about the cache."""
    try:
        with disk_errors(cache):
            yield
    except DiskError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.EMFILE, errno.ENFILE):
            too_many_files(error)
        if isinstance(error, DiskFullError):
            raise
        # Without the word, a path in the home folder of a container looks like output that the user never asked for.
        raise DiskError(f"the cache of token stores {visible(str(cache))}: {error.message}", HINT) from error


def too_many_files(cause: Exception) -> NoReturn:
    """Raise the error for a process at the limit of open files."""
    raise DiskError("too many open files", FILES_HINT) from cause
