"""Finished parts of an output, `OUTPUT.parts/000000.jsonl` and so on: each whole or absent, joined at the end.

A killed run resumes after the finished parts, and several processes write parts into the same folder. `manifest.json`
records the input, model and options of the parts; parts with another manifest are never continued. `claim.py` gives the
folder a single owner.

The rule: a part is joined only with proof that the part is whole and of this work. The counts file of a part holds the
hashes of the part, of the manifest and of the counts. A part without this proof is made again, with a message.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.files import (
    disk_errors,
    move_file,
    remove_file,
    remove_folder,
    sha256,
    write_bytes,
    write_file,
    write_text,
)
from ..common.json_files import read_json, with_hash
from ..common.lock import LOCK
from ..common.ownership import is_draft, refuse_link
from ..data.rows import Row, on_one_line
from ..errors import DataError, RankError, RunFolderError
from .manifest import (
    GROUP,
    JOINED,
    MANIFEST,
    MARKS,
    OUTPUT,
    Group,
    Joined,
    Manifest,
    Proof,
    check_output,
    exists,
    is_own,
)
from .output import KINDS, suffix_of
from .summary import Counts, added

PATIENCE = 1800.0
"""Seconds without a new part after which the other processes count as lost."""
BETWEEN_LOOKS = 0.2


class Parts:
    """Folder of the finished parts of an output file.

    Args:
        output: output file; the folder is `OUTPUT.parts` beside the output.

    Raises:
        UserError: unknown suffix.

    Attributes:
        group, work, owner: contents of `group.json`, set by the claim of the folder.
    """

    def __init__(self, output: Path) -> None:
        # The suffix first: a place without a name, such as `.`, has none.
        self.output, self.suffix = output, suffix_of(str(output))
        self.folder = output.with_name(f"{output.name}.parts")
        self.kind = KINDS[self.suffix]()
        self.group = self.work = self.owner = ""

    def check_ours(self) -> None:
        """Refuse a folder that no file of ours calls a parts folder; nothing in a refused folder is changed.

        Accepted are a missing folder, and a folder with a manifest and nothing but files of a scoring. A process killed
        at the start leaves no manifest, and then nothing but the lock and unfinished files.

        Raises:
            RunFolderError: a link, a file, a folder without readable manifest, or a folder holding anything else.
        """
        hint = "give another -o, or move what is there"
        refuse_link(self.folder)
        if not os.path.lexists(self.folder):
            return
        if not self.folder.is_dir():
            raise RunFolderError(f"{self.folder} is no folder", hint)
        with disk_errors(self.folder, "read"):
            names = sorted(os.listdir(self.folder))
        if foreign := next((name for name in names if not is_own(self.folder / name)), None):
            message = f"{self.folder} holds {on_one_line(foreign)}, which is no file of a scoring"
            raise RunFolderError(message, hint)
        if MANIFEST in names:
            self.manifest()
        elif kept := next((name for name in names if name not in (LOCK, GROUP) and not is_draft(name)), None):
            raise RunFolderError(f"{self.folder} holds {kept}, and no {MANIFEST} that says of what work", hint)

    def manifest(self) -> Manifest | None:
        """Read the manifest; None if absent.

        Raises:
            RunFolderError: the file is damaged.
        """
        path = self.folder / MANIFEST
        if not os.path.lexists(path):
            return None
        hint = f"begin anew: rm -r {self.folder}"
        found: Manifest = read_json(path, Manifest, error=RunFolderError, hint=hint)
        return found

    def check_work(self, work: Mapping[str, Any]) -> None:
        """Compare the manifest with the work of this process.

        Raises:
            RunFolderError: the manifest names other work.
        """
        known: Mapping[str, Any] = self.manifest() or {}
        if differing := [name for name in work if known.get(name) != work[name]]:
            raise RunFolderError(
                f"{self.folder} holds parts of other work: {', '.join(differing)} differ",
                "give what was given then, or begin anew with --restart",
            )

    def write_group(self) -> None:
        """Write the name of the processes at work, and of the work once known."""
        content = Group(group=self.group, work=self.work, owner=self.owner)
        write_text(self.folder / GROUP, json.dumps(content) + "\n")

    def read_group(self) -> Group | None:
        """Read who is at work; None before the first process has said so."""
        path = self.folder / GROUP
        try:
            found: Group = read_json(path, Group, error=RunFolderError, hint="start it again")
        except RunFolderError:
            if path.exists():
                raise
            return None
        return found

    @property
    def current(self) -> bool:
        """True as long as the folder belongs to the processes and the work of this start."""
        found = self.read_group()
        return found is not None and (found["group"], found["work"]) == (self.group, self.work)

    def check_group(self) -> None:
        """Raise `RunFolderError` if the folder has passed to other processes, or is gone."""
        if not self.current:
            raise RunFolderError(
                f"{self.folder} has passed to other processes, or was removed", "leave the output to those processes"
            )

    @property
    def begun(self) -> bool:
        """True if a finished part exists."""
        return bool(self.finished())

    def finished(self) -> list[Path]:
        """Files of the finished parts, in order."""
        return sorted(self.folder.glob(f"[0-9]*{self.suffix}"))

    def path(self, number: int) -> Path:
        """File of a part."""
        return self.folder / f"{number:06d}{self.suffix}"

    def missing(self, total: int) -> list[int]:
        """Numbers of the missing parts among `total`, in order."""
        with disk_errors(self.folder, "read"):
            there = set(os.listdir(self.folder))
        return [number for number in range(total) if self.path(number).name not in there]

    def add(self, number: int, rows: Sequence[Row], places: Sequence[str], counts: Counts) -> None:
        """Write the counts of a part, then the part.

        Args:
            places: name of each row for errors.

        Raises:
            DataError: a row that the output cannot hold.
            RunFolderError: the folder has passed to other processes.
        """
        data = self.kind.encode(rows, places, self.finished())
        self.check_group()
        proof = {**counts._asdict(), "part": hashlib.sha256(data).hexdigest(), "work": self.work}
        # In this order every existing part has counts, even after a kill between the two writes.
        write_text(self._counts_path(number), json.dumps(with_hash(proof, "sha256")) + "\n")
        write_bytes(self.path(number), data)

    def counts(self, number: int) -> Counts:
        """Read the counts of a part.

        Raises:
            DataError: the counts are damaged, or are the counts of a part of other work or of another content.
        """
        path = self._counts_path(number)
        found: Proof = read_json(path, Proof, error=DataError)
        if found != with_hash(found, "sha256"):
            raise DataError(f"{path} is not as written")
        if found["work"] != self.work:
            raise DataError(f"{path} belongs to other work")
        try:
            same = sha256(self.path(number)) == found["part"]
        except OSError as error:
            raise DataError(f"{self.path(number)} cannot be read: {error.strerror}") from error
        if not same:
            raise DataError(f"{self.path(number)} is not as written")
        return Counts(Counter(found["numbers"]), found["example"])

    def _counts_path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.counts.json"

    def drop_damaged(self, say: Callable[[str], None]) -> dict[int, Counts]:
        """Remove the parts without proof, to be made again, and say so.

        Args:
            say: prints a line.

        Returns:
            Counts of the other parts by number.
        """
        sound = {}
        for path in self.finished():
            number = int(path.name.removesuffix(self.suffix))
            try:
                sound[number] = self.counts(number)
            except DataError as error:
                say(f"part {number} is made again: {error.message}")
                remove_file(path)
        return sound

    def join(self, total: int, say: Callable[[str], None]) -> Counts | None:
        """Join `total` parts into the output, completely or not at all, and remove the parts.

        Args:
            say: prints a line about a damaged part.

        Returns:
            The counts of all parts; None without an output if a part is damaged, and now removed, or missing.

        Raises:
            RunFolderError: another output has appeared, or the folder has passed to other processes.
        """
        sound = self.drop_damaged(say)
        if self.missing(total):
            return None
        counts = added(sound[number] for number in range(total))
        joined = self.folder / OUTPUT
        write_file(joined, lambda file: self.kind.join([self.path(number) for number in range(total)], file))
        # Written before the rename: a process killed after the rename has finished, and the next one has to know.
        write_text(self.folder / JOINED, json.dumps({"output": sha256(joined), **counts._asdict()}) + "\n")
        self.check_group()
        manifest = self.manifest()
        if os.path.lexists(self.output) and not (manifest and manifest.get("replace")):
            raise exists(self.output)
        check_output(self.output)
        move_file(joined, self.output)
        self.remove()
        return counts

    def joined(self) -> Counts | None:
        """Counts of an output joined by a process killed afterwards; None without such an output."""
        path = self.folder / JOINED
        if not (path.is_file() and self.output.is_file()):
            return None
        found: Joined = read_json(path, Joined, error=RunFolderError, hint=f"begin anew: rm -r {self.folder}")
        with disk_errors(self.output, "read"):
            same = sha256(self.output) == found["output"]
        return Counts(Counter(found["numbers"]), found["example"]) if same else None

    def remove(self) -> None:
        """Remove the folder atomically.

        Raises:
            RunFolderError: the folder is not ours, see `check_ours`.
        """
        self.check_ours()
        if self.folder.exists():
            remove_folder(self.folder, MARKS)

    def fail(self, rank: int, reason: str) -> None:
        """Tell the joining process that process `rank` ends without writing its parts."""
        write_text(self.folder / f"failed-{rank}.txt", reason)

    def forget_failures(self) -> None:
        """Remove the failure reports of an earlier run."""
        for path in self.folder.glob("failed-*.txt"):
            remove_file(path)

    def wait(self, total: int, patience: float = PATIENCE) -> None:
        """Wait until all `total` parts are written by the other processes.

        Args:
            patience: maximum seconds without a new part.

        Raises:
            RankError: another process has failed, or no new part came for `patience` seconds.
        """
        # Scoring needs no process group: the folder is the only channel, and a killed process leaves no report.
        missing, since = self.missing(total), time.monotonic()
        while missing:
            for path in sorted(self.folder.glob("failed-*.txt")):
                reason = path.read_text(encoding="utf-8", errors="replace")
                raise RankError(f"process {path.stem[7:]} failed: {reason}", "start it again")
            if time.monotonic() - since > patience:
                raise RankError(
                    f"part {missing[0]} and {len(missing) - 1} more did not come, and nothing did for {patience:g} s",
                    "look at the other processes, then start it again: it goes on after the parts that are there",
                )
            time.sleep(BETWEEN_LOOKS)
            before, missing = missing, self.missing(total)
            since = time.monotonic() if missing != before else since
