"""Finished parts of an output, `OUTPUT.parts/000000.jsonl` and so on: each whole or absent, joined at the end.

A killed run resumes after the finished parts, and several processes write parts into the same folder. `manifest.json`
records the input, model and options of the parts; parts with another manifest are never continued.
"""

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..common.files import disk_errors, write_bytes, write_file, write_text
from ..errors import DataError, RankError, UserError
from .output import KINDS, suffix_of
from .scorer import Scored

PATIENCE = 1800.0
"""Seconds without a new part after which the other processes count as lost."""
BETWEEN_LOOKS = 0.2


class Counts(NamedTuple):
    """Counts of scored and failed rows.

    Attributes:
        numbers: counts by name. `rows` counts all rows, `scored` rows with a score, and `failed:WORD` rows without a
            score by reason word. `responses` counts responses with a score, and `unscored` the other responses of
            scored rows. `tokens` and `truncated` belong to responses with a score.
        example: the first row with an error; "" without errors.
    """

    numbers: Counter[str]
    example: str = ""


class Parts:
    """Folder of the finished parts of an output file.

    Args:
        output: output file; the folder is `OUTPUT.parts` beside the output.

    Raises:
        UserError: unknown suffix.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        self.suffix = suffix_of(output.name)
        self.kind = KINDS[self.suffix]
        self._manifest = self.folder / "manifest.json"

    def claim(self, manifest: Mapping[str, Any], restart: bool) -> None:
        """Make the folder, or take over a folder with parts of the same work.

        Args:
            manifest: input, model and options of the parts by name; plain JSON values.
            restart: remove existing parts, even of other work.

        Raises:
            UserError: the output exists, or the folder holds parts of other work.
            DataError: the folder cannot be read.
        """
        if restart:
            self.remove()
        elif self.begun:
            self._check(manifest)
        elif self.output.exists():
            raise UserError(f"{self.output} exists", "give another -o, or score it anew with --restart")
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self._manifest, json.dumps(manifest, indent=2) + "\n")

    def _check(self, manifest: Mapping[str, Any]) -> None:
        """Raise `UserError` if the existing parts have another manifest."""
        try:
            known = dict(json.loads(self._manifest.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self._manifest} cannot be read: {error}", "begin anew with --restart") from error
        if differing := [name for name in manifest if known.get(name) != manifest[name]]:
            raise UserError(
                f"{self.folder} holds parts of other work: {', '.join(differing)} differ",
                "give what was given then, or begin anew with --restart",
            )

    @property
    def begun(self) -> bool:
        """True if a finished part exists."""
        return any(self.folder.glob(f"[0-9]*{self.suffix}"))

    def path(self, number: int) -> Path:
        """File of a part."""
        return self.folder / f"{number:06d}{self.suffix}"

    def missing(self, total: int) -> list[int]:
        """Numbers of the missing parts among `total`, in order."""
        there = {path.name for path in self.folder.iterdir()}
        return [number for number in range(total) if self.path(number).name not in there]

    def add(self, number: int, data: bytes, counts: Counts) -> None:
        """Write the counts of a part, then the part."""
        # In this order every existing part has counts, even after a kill between the two writes.
        write_text(self._counts_path(number), json.dumps(counts) + "\n")
        write_bytes(self.path(number), data)

    def counts(self, number: int) -> Counts:
        """Read the counts of a part."""
        numbers, example = json.loads(self._counts_path(number).read_text(encoding="utf-8"))
        return Counts(Counter(numbers), example)

    def _counts_path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.counts.json"

    def join(self, total: int) -> Counts:
        """Join `total` parts into the output, completely or not at all, remove the parts, and return the counts."""
        paths = [self.path(number) for number in range(total)]
        counts = added(self.counts(number) for number in range(total))
        write_file(self.output, lambda file: self.kind.join(paths, file))
        self.remove()
        return counts

    def remove(self) -> None:
        """Remove the folder atomically."""
        if self.folder.exists():
            # The rename comes first: a folder removed in part would look like a run with missing parts.
            with disk_errors(self.folder):
                trash = tempfile.mkdtemp(dir=self.folder.parent, prefix=f".tmp-{self.folder.name}-")
                self.folder.replace(trash)
                shutil.rmtree(trash)

    def remove_if_empty(self) -> None:
        """Remove the folder if no part is finished."""
        if not self.begun:
            self.remove()

    def fail(self, rank: int, reason: str) -> None:
        """Tell the joining process that process `rank` ends without writing its parts."""
        write_text(self.folder / f"failed-{rank}.txt", reason)

    def forget_failures(self) -> None:
        """Remove the failure reports of an earlier run."""
        for path in self.folder.glob("failed-*.txt"):
            path.unlink(missing_ok=True)

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
                raise RankError(f"process {path.stem[7:]} failed: {path.read_text(encoding='utf-8')}", "start it again")
            if time.monotonic() - since > patience:
                raise RankError(
                    f"part {missing[0]} and {len(missing) - 1} more did not come, and nothing did for {patience:g} s",
                    "look at the other processes, then start it again: it goes on after the parts that are there",
                )
            time.sleep(BETWEEN_LOOKS)
            before, missing = missing, self.missing(total)
            since = time.monotonic() if missing != before else since


def count(places: Sequence[int], results: Sequence[Scored | str]) -> Counts:
    """Count the results of rows.

    Args:
        places: number of each row from 1, for the example.
        results: result of each row, or the reason for a missing score.
    """
    numbers = Counter({"rows": len(places)})
    example = ""
    for at, result in zip(places, results, strict=True):
        if isinstance(result, str):
            numbers["failed:" + result.partition(":")[0]] += 1
            example = example or f"row {at}: {result}"
        else:
            kept = [k for k, score in enumerate(result.scores) if score is not None]
            numbers.update(scored=1, responses=len(kept), unscored=len(result.scores) - len(kept))
            numbers.update(tokens=sum(result.tokens[k] for k in kept), truncated=sum(result.truncated))
            example = example or (f"row {at}: {result.error}" if result.error else "")
    return Counts(numbers, example)


def added(counts: Iterable[Counts]) -> Counts:
    """Add up counts, and keep the first example."""
    numbers: Counter[str] = Counter()
    example = ""
    for one in counts:
        numbers.update(one.numbers)
        example = example or one.example
    return Counts(numbers, example)


def summary(counts: Counts, seconds: float, output: str) -> dict[str, Any]:
    """Summarise the counts of a whole output as plain data.

    Args:
        seconds: duration of the run.
        output: output file, or "-".

    Raises:
        DataError: no row could be scored.
    """
    numbers = counts.numbers
    if not numbers["scored"]:
        hint = f"each row of {output} says why, in error" if output != "-" else "each row says why, in error"
        raise DataError(f"none of {numbers['rows']} rows could be scored; {counts.example}", hint)
    failed = {name.removeprefix("failed:"): n for name, n in numbers.items() if name.startswith("failed:")}
    kept = {name: numbers[name] for name in ("rows", "scored", "responses", "unscored", "tokens", "truncated")}
    return {"output": output, **kept, "failed": failed, "example": counts.example, "seconds": round(seconds, 1)}


def show(found: dict[str, Any]) -> str:
    """Format a summary in a line or two."""
    text = (
        f"{found['rows']} rows, {found['responses']} scores, {found['truncated']} of them of truncated conversations, "
        f"{found['seconds']} s: {found['output']}"
    )
    if not found["example"]:
        return text
    causes = ", ".join(f"{word} {number}" for word, number in found["failed"].items()) or "none"
    return (
        f"{text}\nrows without a score: {causes}; single responses without: {found['unscored']}; "
        f"such as {found['example']}"
    )
