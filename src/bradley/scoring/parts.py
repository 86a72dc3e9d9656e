"""Finished parts beside an output, `OUTPUT.parts/000000.jsonl` and so on: each whole or absent, joined at the end.

A run that was killed goes on after the parts that are there; several processes write theirs into one folder. What the
parts were made from stands in `manifest.json`, and parts of anything else are never continued.
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


class Counts(NamedTuple):
    """What became of some rows.

    Attributes:
        numbers: `rows`; `scored`, those with a score; `failed:WORD`, those without, by reason word; `responses` with a
            score and `unscored` ones beside them; `tokens` and `truncated` of the responses with a score.
        example: the first row with an error; "" for none.
    """

    numbers: Counter[str]
    example: str = ""


def count(places: Sequence[int], results: Sequence[Scored | str]) -> Counts:
    """What became of the rows with these numbers."""
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
    """All of them together, with the first example."""
    numbers: Counter[str] = Counter()
    example = ""
    for one in counts:
        numbers.update(one.numbers)
        example = example or one.example
    return Counts(numbers, example)


def summary(counts: Counts, seconds: float, output: str) -> dict[str, Any]:
    """The counts of a whole output as plain data.

    Raises:
        DataError: there is no row that could be scored.
    """
    numbers = counts.numbers
    if not numbers["scored"]:
        hint = f"each row of {output} says why, in error" if output != "-" else "each row says why, in error"
        raise DataError(f"none of {numbers['rows']} rows could be scored; {counts.example}", hint)
    failed = {name.removeprefix("failed:"): n for name, n in numbers.items() if name.startswith("failed:")}
    kept = {name: numbers[name] for name in ("rows", "scored", "responses", "unscored", "tokens", "truncated")}
    return {"output": output, **kept, "failed": failed, "example": counts.example, "seconds": round(seconds, 1)}


def show(found: dict[str, Any]) -> str:
    """A summary in a line or two."""
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


PATIENCE = 1800.0
"""Seconds without any new part after which the other processes count as lost."""
BETWEEN_LOOKS = 0.2


class Parts:
    """The parts of one output file."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        self.suffix = suffix_of(output.name)
        self.kind = KINDS[self.suffix]
        self._manifest = self.folder / "manifest.json"

    def claim(self, manifest: Mapping[str, Any], restart: bool) -> None:
        """Make the folder, or take it over where it holds parts of the same work.

        Args:
            manifest: what the parts are made from, by name; plain JSON values.
            restart: throw away what is there, whatever it was made from.

        Raises:
            UserError: the output exists, or parts of other work do.
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
        """Whether a finished part is there."""
        return any(self.folder.glob(f"[0-9]*{self.suffix}"))

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"{number:06d}{self.suffix}"

    def missing(self, total: int) -> list[int]:
        """The parts of `total` that are not there, in order."""
        there = {path.name for path in self.folder.iterdir()}
        return [number for number in range(total) if self.path(number).name not in there]

    def add(self, number: int, data: bytes, counts: Counts) -> None:
        """Write a part, after what is counted of it: a part that is there has its counts."""
        write_text(self._counts_path(number), json.dumps(counts) + "\n")
        write_bytes(self.path(number), data)

    def counts(self, number: int) -> Counts:
        """What became of the rows of a part."""
        numbers, example = json.loads(self._counts_path(number).read_text(encoding="utf-8"))
        return Counts(Counter(numbers), example)

    def _counts_path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.counts.json"

    def join(self, total: int) -> Counts:
        """Make the output of its `total` parts, whole or not at all, and remove them."""
        paths = [self.path(number) for number in range(total)]
        counts = added(self.counts(number) for number in range(total))
        write_file(self.output, lambda file: self.kind.join(paths, file))
        self.remove()
        return counts

    def remove(self) -> None:
        """Remove the folder at one stroke: no half of it can be taken for parts."""
        if self.folder.exists():
            with disk_errors(self.folder):
                grave = tempfile.mkdtemp(dir=self.folder.parent, prefix=f".tmp-{self.folder.name}-")
                self.folder.replace(grave)
                shutil.rmtree(grave)

    def remove_if_empty(self) -> None:
        """Remove the folder where it holds no finished part."""
        if not self.begun:
            self.remove()

    def fail(self, rank: int, reason: str) -> None:
        """Tell the process that joins that this one ends without its parts."""
        write_text(self.folder / f"failed-{rank}.txt", reason)

    def forget_failures(self) -> None:
        """Remove what processes of an earlier run said."""
        for path in self.folder.glob("failed-*.txt"):
            path.unlink(missing_ok=True)

    def wait(self, total: int, patience: float = PATIENCE) -> None:
        """Wait until the other processes have written all of `total` parts.

        Raises:
            RankError: one of them has failed, or no new part came for `patience` seconds.
        """
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
