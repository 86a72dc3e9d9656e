"""Encode comparisons while later rows are still read: reading keeps one core busy, and a copy of the process the next.

The reader never waits. A single chunk of comparisons waits for the copy to be idle; chunks read meanwhile are left to
the token store, which asks here first. Ids do not depend on who encodes a comparison, or when. Threads
would not do: reading and rendering hold the lock of the interpreter most of the time.
"""

import os
import tempfile
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from ..common.processes import Forked, forked
from ..errors import BradleyError
from ..records import Comparison
from .copies import cores
from .dropped import Parts
from .encoder import Ids, on_one_core
from .table import decode

CHUNK = 512
"""Comparisons encoded in one go."""
FIRST = 4 * CHUNK
"""Comparisons after which the copy is started: a small set is read sooner than a process starts."""
LOOK = 32
"""Comparisons between two looks at the copy."""
MOST_KEPT = 300_000
"""Most comparisons kept, about 300 bytes each; the ids themselves lie in a temporary file."""
Key = tuple[str, int]


class Encoded(NamedTuple):
    """A comparison encoded ahead.

    Attributes:
        rows: ids of each response with its prompt, then of the prompt alone, before any end token.
        parts: see `dropped.parts_of`.
    """

    rows: list[Ids]
    parts: Parts


class Encodes(Protocol):
    """Renderer of comparisons."""

    def encode(self, comparisons: Sequence[Comparison]) -> list[Encoded | None]:
        """Encode comparisons; None for a comparison that needs more than the usual path."""


class _Place(NamedTuple):
    """Place of the ids of a comparison in the temporary file: first token, tokens of each row, parts."""

    start: int
    sizes: list[int]
    parts: Parts


class Prefetch:
    """Comparisons encoded ahead, each given out once.

    Args:
        renderer: renders and encodes, as `render.Renderer`.

    Example:
        prefetch = Prefetch(renderer)
        for comparison in comparisons:
            prefetch.add(table.encode(comparison))
        prefetch.finish()
        prefetch.pop(comparisons[0])  # Encoded, or None
    """

    def __init__(self, renderer: Encodes) -> None:
        self._renderer = renderer
        self._filling: list[bytes] = []
        self._ready: list[bytes] = []
        self._seen = 0
        self._kept: dict[Key, _Place] = {}
        self._file: Any = None
        self._copy: Forked | None = None
        self._busy = False
        # A copy competes with the reader for a single core.
        self._on = cores() > 1

    def add(self, line: bytes) -> None:
        """Take a comparison as `table.encode` gives it."""
        self._seen += 1
        if not self._on or self._seen < FIRST or len(self._kept) >= MOST_KEPT:
            return
        # While a full chunk waits, the comparisons read are left to the token store.
        if not self._ready:
            self._filling.append(line)
            if len(self._filling) == CHUNK:
                self._ready, self._filling = self._filling, []
        if self._seen % LOOK == 0:
            self._look()

    def _look(self) -> None:
        """Collect what the copy has encoded, and send off the chunk that waits; the copy is started for the first."""
        # The copy may be killed, and the disk be full: the token store then encodes everything, and says what is wrong.
        try:
            if self._busy and self._copy is not None and self._copy.pipe.poll():
                self._collect(self._copy)
            if self._ready and not self._busy:
                if self._copy is None:
                    self._file = tempfile.TemporaryFile(prefix="bradley-")  # noqa: SIM115 open until `pop` has read
                    self._copy = forked(self._work)
                self._copy.pipe.send(self._ready)
                self._ready, self._busy = [], True
        except (OSError, EOFError):
            self._on = False

    def finish(self) -> None:
        """Wait for the chunk at work, and end the copy."""
        self._filling, self._ready = [], []
        if self._copy is None:
            return
        with suppress(OSError, EOFError):
            if self._busy:
                self._collect(self._copy)
        self._copy.end()
        self._copy, self._on = None, False

    def pop(self, comparison: Comparison) -> Encoded | None:
        """Give out the ids of a comparison; None if this comparison was not encoded."""
        place = self._kept.pop(_key(comparison), None) if self._kept else None
        if place is None:
            return None
        tokens = array("I")
        tokens.frombytes(os.pread(self._file.fileno(), 4 * sum(place.sizes), 4 * place.start))
        rows, begin = [], 0
        for size in place.sizes:
            rows.append(tokens[begin : begin + size].tolist())
            begin += size
        return Encoded(rows, place.parts)

    def _collect(self, copy: Forked) -> None:
        """Keep what the copy says about a chunk; None ends the work."""
        self._busy = False
        found = copy.pipe.recv()
        if found is None:
            self._on = False
        else:
            self._kept |= found

    def _work(self, pipe: Any) -> None:
        """Encode chunks in the copy, until the parent ends the copy."""
        start = 0
        with suppress(EOFError, OSError), on_one_core():
            while True:
                chunk = [decode(line) for line in pipe.recv()]
                # The token store meets the same error in the order of the comparisons, and raises the error there.
                try:
                    found, start = self._encode(chunk, start)
                except (BradleyError, OSError):
                    pipe.send(None)
                    return
                pipe.send(found)

    def _encode(self, chunk: Sequence[Comparison], start: int) -> tuple[dict[Key, _Place], int]:
        """Write the ids of a chunk to the file from token `start` on; return the places and the next token."""
        tokens, found = array("I"), {}
        for comparison, encoded in zip(chunk, self._renderer.encode(chunk), strict=True):
            if encoded is not None:
                found[_key(comparison)] = _Place(start + len(tokens), list(map(len, encoded.rows)), encoded.parts)
                for row in encoded.rows:
                    tokens.fromlist(row)
        os.pwrite(self._file.fileno(), tokens.tobytes(), 4 * start)
        return found, start + len(tokens)


def _key(comparison: Comparison) -> Key:
    """Return the identity of what is rendered: policies may have removed judgments since a comparison was read."""
    args = str(comparison.template_args) if comparison.template_args else ""
    return comparison.id, hash((comparison.prompt, *(r.messages for r in comparison.responses), args))
