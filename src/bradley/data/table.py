"""Comparisons on disk: written once while rows are read, and read back singly, to keep a million out of memory.

Without a file of its own, a table has a temporary file without a name; the system removes the file with the process,
even after a crash. `row_cache` gives a table a file that later commands read again.
"""

import contextlib
import json
import marshal
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b, sha256
from typing import Any, BinaryIO, overload

import numpy as np

from ..common.signals import check as check_stopping
from ..errors import DiskError
from ..records import Comparison, Judgment, Message, Response
from .columns import Columns, ColumnsBuilder

Turns = tuple[Message, ...]
MARK_BYTES = 16
"""Bytes of the hash of a comparison (BLAKE2b): no two different comparisons ever share a hash of this length."""


class ComparisonTable:
    """Comparisons by number: columns and ids in memory, texts on disk.

    Args:
        file: empty file for the texts, open for writing and reading as long as the table is in use; None for a
            temporary file. Errors of a given file stay errors of the system.
    """

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._in_words = _in_words if file is None else contextlib.nullcontext
        self._file: Any
        with self._in_words():
            self._file = file or tempfile.TemporaryFile(prefix="bradley-")  # noqa: SIM115 open as long as the table lives
        self._ends = array("q", [0])
        self._marks = bytearray()
        self._builder = ColumnsBuilder()
        self.ids: set[str] = set()

    def __len__(self) -> int:
        return len(self.ends) - 1

    def add(self, comparison: Comparison, part: int = 0, own: str = "") -> bytes:
        """Append a comparison from part number `part` of its split; `own` is the id that the row came with.

        Returns:
            The comparison as `encode` gives it.

        Raises:
            DiskError: the disk of temporary files is full.
        """
        line = encode(comparison)
        with self._in_words():
            self._file.write(line)
        self._ends.append(self._ends[-1] + len(line))
        self._marks += blake2b(line, digest_size=MARK_BYTES).digest()
        self._builder.add(comparison, part, own)
        self.ids.add(comparison.id)
        return line

    @cached_property
    def columns(self) -> Columns:
        """Columns of all comparisons; the first access ends the adding of comparisons."""
        # `raw` reads by file descriptor and does not see bytes still in Python's buffer.
        with self._in_words():
            self._file.flush()
        columns = self._builder.columns()
        del self._builder
        return columns

    @property
    def ends(self) -> Sequence[int]:
        """Offsets of the comparisons in the file, and the end of the last: [G + 1]."""
        return self._ends

    @property
    def marks(self) -> np.ndarray:
        """Hash of the bytes of each comparison: [G, `MARK_BYTES`]."""
        return np.frombuffer(self._marks, dtype=np.uint8).reshape(-1, MARK_BYTES)

    def raw(self, number: int) -> bytes:
        """Read a comparison's bytes from disk."""
        assert self.columns is not None, "flushes what was written"
        # `pread` moves no file position: threads may read at the same time.
        start, end = int(self.ends[number]), int(self.ends[number + 1])
        return os.pread(self._file.fileno(), end - start, start)

    def __getitem__(self, number: int) -> Comparison:
        return decode(self.raw(number))


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Turn an error of the disk of temporary files into a `DiskError`."""
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"the data do not fit on the disk of temporary files ({tempfile.gettempdir()}): {error.strerror}",
            "free some space there, or set TMPDIR to a larger disk",
        ) from error


class Selection(Sequence[Comparison]):
    """Comparisons of a table in a chosen order, without the judgments removed by policies.

    Attributes:
        pool: the table.
        numbers: [M] numbers in the table.
        first: [N + 1] offsets into `numbers`: comparison i is numbers[first[i] : first[i + 1]], merged if several.
        kept: [J of the table] bool, True for remaining judgments.
        names: ids of merged comparisons, by place.
        votes: probability and weight of gathered judgments, each [J of the table]; None before judges are gathered.
    """

    def __init__(
        self,
        pool: ComparisonTable,
        numbers: np.ndarray,
        kept: np.ndarray,
        first: np.ndarray | None = None,
        names: dict[int, str] | None = None,
        votes: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.pool = pool
        self.numbers = numbers
        self.kept = kept
        self.first = np.arange(len(numbers) + 1) if first is None else first
        self.names = names or {}
        self.votes = votes

    def __len__(self) -> int:
        return len(self.first) - 1

    @overload
    def __getitem__(self, place: int) -> Comparison: ...

    @overload
    def __getitem__(self, place: slice) -> list[Comparison]: ...

    def __getitem__(self, place: int | slice) -> Comparison | list[Comparison]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        members = [self._member(int(number)) for number in self.numbers[self.first[place] : self.first[place + 1]]]
        return members[0] if len(members) == 1 else merged(members, self.names[place])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @property
    def heads(self) -> np.ndarray:
        """Number of the first member of each comparison: [N]."""
        return self.numbers[self.first[:-1]]

    @property
    def alone(self) -> bool:
        """True if no comparison is merged yet."""
        return len(self) == len(self.numbers)

    def column(self, name: str) -> np.ndarray:
        """Return a column [G] of `Columns` for the first member of each comparison: [N]."""
        return np.asarray(getattr(self.pool.columns, name)[self.heads])

    def topics(self) -> np.ndarray:
        """Return the different topics of all comparisons, for tests of leaks."""
        return np.unique(self.column("topic"))

    def take(self, places: np.ndarray) -> "Selection":
        """Select the comparisons at `places`, in the order given."""
        sizes = np.diff(self.first)[places]
        first = np.concatenate([[0], np.cumsum(sizes)])
        # A merged comparison moves with all its members, so places become runs of numbers.
        inside = np.arange(first[-1]) - np.repeat(first[:-1], sizes)
        numbers = self.numbers[np.repeat(self.first[:-1][places], sizes) + inside]
        names = {new: self.names[int(old)] for new, old in enumerate(places) if int(old) in self.names}
        return Selection(self.pool, numbers, self.kept, first, names, self.votes)

    def count_judgments(self) -> int:
        """Count the judgments of all comparisons."""
        return int(self.judgments_left()[self.numbers].sum())

    def judgments_left(self) -> np.ndarray:
        """Count the remaining judgments of each comparison: [G of the table]."""
        ends = np.concatenate([[0], np.cumsum(self.kept)])[self.pool.columns.first_judgment]
        return np.diff(ends)

    def digest(self) -> str:
        """Hash the contents.

        Raises:
            StopRequested: the process was asked to stop.
        """
        check_stopping()
        found = sha256(f"{self.names}".encode())
        # Relative numbers: where the rows lie in the table must not change the hash of their contents.
        for column in (self.numbers, self.first):
            found.update((column - column[:1]).tobytes())
        # Hashes made while the rows were read: reading every row again would cost more than the hash is worth.
        found.update(self.pool.marks[self.numbers].tobytes())
        first = self.pool.columns.first_judgment
        sizes = np.diff(first)[self.numbers]
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = np.repeat(first[self.numbers], sizes) + inside
        for column in (self.kept, *(self.votes or ())):
            found.update(column[places].tobytes())
        return found.hexdigest()

    def _member(self, number: int) -> Comparison:
        """Read a comparison, without removed judgments."""
        comparison = self.pool[number]
        start, end = self.pool.columns.first_judgment[number : number + 2]
        if self.votes is not None:
            comparison = self._voted(comparison, int(start))
        if self.kept[start:end].all():
            return comparison
        judgments = tuple(j for j, kept in zip(comparison.judgments, self.kept[start:end], strict=True) if kept)
        # The ranking goes too: judgments derived from it would bring the removed ones back.
        return replace(comparison, judgments=judgments, rank=None)

    def _voted(self, comparison: Comparison, start: int) -> Comparison:
        """Give the judgments of a comparison, from `start` in the table, the probability and weight of its judges."""
        assert self.votes is not None
        probability, weight = self.votes
        judgments = []
        for place, judgment in enumerate(comparison.judgments, start=start):
            chance, heavy = float(probability[place]), float(weight[place])
            # Judges who disagree do not share the margin of one of them.
            margin = judgment.margin if chance == judgment.probability else None
            judgments.append(replace(judgment, probability=chance, weight=heavy, margin=margin))
        return (
            comparison if judgments == list(comparison.judgments) else replace(comparison, judgments=tuple(judgments))
        )


def everything(pool: ComparisonTable) -> Selection:
    """Select all comparisons of a table."""
    return Selection(pool, np.arange(len(pool)), np.ones(len(pool.columns.probability), dtype=bool))


def select(comparisons: Iterable[Comparison]) -> Selection:
    """Select comparisons in memory, by a new table."""
    pool = ComparisonTable()
    for comparison in comparisons:
        pool.add(comparison)
    return everything(pool)


def digest(comparisons: Sequence[Comparison]) -> str:
    """Hash the contents of comparisons on disk or in memory."""
    if isinstance(comparisons, Selection):
        return comparisons.digest()
    found = sha256()
    for comparison in comparisons:
        found.update(encode(comparison))
    return found.hexdigest()


def merged(members: Sequence[Comparison], name: str) -> Comparison:
    """Merge comparisons of a prompt into a comparison called `name`: responses deduplicated by text, every judgment
    kept.

    The result has no rank vector. Prompt, source and scores are taken from the first member, and tags are kept if all
    members agree.
    """
    responses: dict[Turns, Response] = {}
    for member in members:
        for response in member.responses:
            responses.setdefault(response.messages, response)
    places = {turns: place for place, turns in enumerate(responses)}
    first = members[0]
    return replace(
        first,
        id=name,
        responses=tuple(responses.values()),
        judgments=tuple(_moved(member, judgment, places) for member in members for judgment in member.judgments),
        rank=None,
        tags={key: value for key, value in first.tags.items() if all(m.tags.get(key) == value for m in members)},
    )


def _moved(member: Comparison, judgment: Judgment, places: dict[Turns, int]) -> Judgment:
    """Renumber the responses of a judgment for the merged comparison."""
    better, worse = (member.responses[i].messages for i in (judgment.better, judgment.worse))
    return replace(judgment, better=places[better], worse=places[worse])


WITHOUT_REFERENCES = 2
"""Version of `marshal` with equal bytes for equal values; later versions refer back to values written before."""


def encode(comparison: Comparison) -> bytes:
    """Encode a comparison as bytes, equal for equal comparisons.

    The bytes serve this process and local caches, not files for exchange.
    """
    c = comparison
    # Exact built-in types: `marshal` refuses subclasses, and NumPy's numbers would be written as raw bytes.
    row = (
        str(c.id),
        str(c.prompt_key),
        _turns(c.prompt),
        [(_turns(response.messages), _number(response.score)) for response in c.responses],
        [(int(j.better), int(j.worse), float(j.probability), _number(j.margin), float(j.weight)) for j in c.judgments],
        None if c.rank is None else tuple(map(float, c.rank)),
        str(c.source),
        {str(key): str(value) for key, value in c.tags.items()},
        json.dumps(c.template_args) if c.template_args else "",
    )
    return marshal.dumps(row, WITHOUT_REFERENCES)


def decode(raw: bytes) -> Comparison:
    """Invert `encode`."""
    id, key, prompt, responses, judgments, rank, source, tags, args = marshal.loads(raw)
    return Comparison(
        id,
        key,
        tuple([Message(*turn) for turn in prompt]),
        tuple([Response(tuple([Message(*turn) for turn in turns]), score) for turns, score in responses]),
        tuple([Judgment(*judgment) for judgment in judgments]),
        rank,
        source,
        tags,
        json.loads(args) if args else {},
    )


def _number(value: float | None) -> float | None:
    """Convert to a plain float; None stays."""
    return None if value is None else float(value)


def _turns(messages: Iterable[Message]) -> list[tuple[str, str, str]]:
    """Convert messages to tuples of plain texts."""
    return [(str(message.role), str(message.content), str(message.extra)) for message in messages]
