"""Token store: comparisons as flat, memory-mapped arrays, made once and cached by contents and rules.

Legend: G comparisons, R responses, S segments, J judgments, N tokens. Each comparison is a run of segments, see
`segments`.

A few hundred comparisons are written at a time, to keep texts and tokens of a large set out of memory.
"""

import contextlib
import errno
import json
import mmap
import tempfile
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..common import signals
from ..common.console import to_stderr
from ..common.files import disk_errors
from ..config import Render
from ..records import Comparison, Judgment
from .copies import in_order
from .dropped import check_unread
from .render import Renderer
from .row_info import INFO, Infos, RowInfo, info_line, info_of, offsets_of
from .segments import segments_of
from .table import digest
from .token_cache import Contents, Opener, cached, too_many_files
from .tokenizer import fingerprint
from .truncate import Fitted, Ledger, fit

CHUNK = 512
FORMAT = 5
"""Part of the cache key; rises when the meaning of an array changes."""
ARRAYS: dict[str, str] = {
    "tokens": "uint32",
    "segment_sizes": "int32",
    "segment_counts": "int32",
    "own": "int32",
    "prefix": "int32",
    "responses": "int32",
    "judged": "int32",
    "number": "int64",
    "better": "int32",
    "worse": "int32",
    "probability": "float32",
    "margin": "float32",
    "weight": "float32",
    "rank": "float32",
    "response_tokens": "int32",
    "truncated": "bool",
    "info_sizes": "int32",
}
"""Arrays on disk, with the type of each."""
FILES = (*(f"{name}.bin" for name in ARRAYS), INFO)
"""Files of a store."""
MAPPED = ("tokens.bin", INFO)
"""Files mapped even if small; each mapping holds an open file, and 20 evaluation sets shall not reach a limit of 256.
"""
SMALL = 2**20
"""Bytes of any other file up to which the content is held in memory."""


@dataclass(frozen=True)
class TokenStore:
    """Comparisons of a split as arrays.

    Attributes:
        tokens: [N] uint32 token ids.
        segments: [S + 1] offsets into `tokens`.
        first_segment: [G + 1] number of the first segment of each comparison.
        own: [R] segment with the own tokens of each response, counted within the comparison.
        prefix: [R] segment with the shared prefix of each response, counted within the comparison.
        first_response: [G + 1] number of the first response of each comparison.
        first_judgment: [G + 1] number of the first judgment of each comparison.
        number: [G] place of each comparison in the sequence used to build the store.
        better, worse: [J] responses judged, counted within the comparison.
        probability, margin, weight: [J] float32 (margin NaN without a margin in the source).
        rank: [R] float32 place in a full ranking, NaN without a ranking.
        response_tokens: [R] tokens of the response alone, without prompt, before any cut.
        truncated: [R] True if tokens were cut.
        info: G rows.
        ledger: losses caused by limits.
    """

    tokens: np.ndarray
    segments: np.ndarray
    first_segment: np.ndarray
    own: np.ndarray
    prefix: np.ndarray
    first_response: np.ndarray
    first_judgment: np.ndarray
    number: np.ndarray
    better: np.ndarray
    worse: np.ndarray
    probability: np.ndarray
    margin: np.ndarray
    weight: np.ndarray
    rank: np.ndarray
    response_tokens: np.ndarray
    truncated: np.ndarray
    info: Sequence[RowInfo]
    ledger: Ledger

    def __len__(self) -> int:
        return len(self.first_response) - 1

    def full_lengths(self) -> np.ndarray:
        """Count the tokens of each response with prompt, as read by a model without sharing: [R]."""
        sizes = np.diff(self.segments)
        first = np.repeat(self.first_segment[:-1], np.diff(self.first_response))
        return np.asarray(sizes[first + self.own] + sizes[first + self.prefix])

    def longest(self) -> np.ndarray:
        """Return the longest full length in each comparison: [G]."""
        return np.maximum.reduceat(self.full_lengths(), self.first_response[:-1]) if len(self) else np.zeros(0, int)

    def judgment_weights(self, weight_by: str) -> np.ndarray:
        """Return the weight of each judgment: [J].

        Args:
            weight_by: `pair` for the weights of the source, `prompt` for weights scaled to a sum of 1 per comparison.
        """
        if weight_by == "pair" or not len(self):
            return self.weight
        # float64 for the sums: the scaled weights of a comparison should add up to 1 as exactly as float32 allows.
        totals = np.add.reduceat(self.weight.astype(np.float64), self.first_judgment[:-1])
        return np.asarray(self.weight / np.repeat(totals, np.diff(self.first_judgment)), dtype=np.float32)

    def response_ids(self, comparison: int, response: int) -> np.ndarray:
        """Return the full token ids of a response, prompt included: [L]."""
        place, first = int(self.first_response[comparison]) + response, int(self.first_segment[comparison])
        numbers = (first + int(self.prefix[place]), first + int(self.own[place]))
        return np.concatenate([self.tokens[self.segments[s] : self.segments[s + 1]] for s in numbers])

    def judgments(self, comparison: int) -> tuple[Judgment, ...]:
        """Return the judgments of a comparison as records."""
        span = range(int(self.first_judgment[comparison]), int(self.first_judgment[comparison + 1]))
        return tuple(
            Judgment(
                int(self.better[j]),
                int(self.worse[j]),
                float(self.probability[j]),
                None if np.isnan(self.margin[j]) else float(self.margin[j]),
                float(self.weight[j]),
            )
            for j in span
        )


def build_store(
    comparisons: Sequence[Comparison],
    renderer: Renderer,
    *,
    training: bool,
    cache: Path | None = None,
    say: Callable[[str], None] = to_stderr,
) -> TokenStore:
    """Render comparisons, apply limits and lay out the arrays; reuse cached arrays of the same contents, tokenizer and
    rules.

    Args:
        comparisons: a split.
        renderer: template, tokenizer and limits.
        training: True if over-long and indistinguishable comparisons may be dropped; evaluation keeps every row.
        cache: folder of cached stores; None for no cache.
        say: prints a line about a damaged entry of the cache, or a wait for another process.

    Raises:
        DataError: no comparison is left, or an evaluation row exceeds the limits.
        RunFolderError: the cache is no cache of bradley.
        DiskError: the disk is full, or too many files are open.
    """

    def fill(folder: Path) -> dict[str, Any]:
        with contextlib.ExitStack() as opened:
            files = {name: opened.enter_context((folder / name).open("wb")) for name in FILES}
            return _write(comparisons, renderer, training, files).to_note()

    if cache is not None:
        key = _cache_key(comparisons, renderer, training)
        store: TokenStore | None = cached(cache, key, Contents(FILES, fill, read_store), say)
        if store is not None:
            return store
    return _unnamed(comparisons, renderer, training)


def _unnamed(comparisons: Sequence[Comparison], renderer: Renderer, training: bool) -> TokenStore:
    """Build a store in temporary files without a name: the system removes these with the process."""
    with disk_errors(Path(tempfile.gettempdir())), contextlib.ExitStack() as opened:
        try:
            files = {name: opened.enter_context(tempfile.TemporaryFile(prefix="bradley-")) for name in FILES}
            ledger = _write(comparisons, renderer, training, files)
            # A mapping outlives the open file.
            return read_store(lambda name: contextlib.nullcontext(files[name]), ledger.to_note())
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                too_many_files(error)
            raise


def read_store(opened: Opener, note: dict[str, Any]) -> TokenStore:
    """Read a store from open files, with memory-mapped arrays.

    Args:
        opened: opens a file of `FILES` at the beginning.
        note: the ledger as plain data.

    Raises:
        OSError: a file cannot be read.
        ValueError: the arrays do not fit each other.
    """
    arrays = {name: _array(opened, f"{name}.bin", kind) for name, kind in ARRAYS.items()}
    info = Infos(_text(opened, INFO), arrays.pop("info_sizes"))
    store = _assembled(arrays, info, Ledger.from_note(note))
    sizes = {
        "tokens": store.segments[-1],
        "segment_sizes": store.first_segment[-1],
        **dict.fromkeys(("own", "prefix", "rank"), store.first_response[-1]),
        "better": store.first_judgment[-1],
        "number": len(info),
    }
    if any(len(arrays[name]) != size for name, size in sizes.items()):
        raise ValueError("the arrays do not fit each other")
    return store


def store_of(kept: Sequence[tuple[Comparison, Fitted]]) -> TokenStore:
    """Build a store in memory from rendered and fitted comparisons; none is left out."""
    numbered = [(place, comparison, fitted) for place, (comparison, fitted) in enumerate(kept)]
    arrays = {name: np.asarray(values, dtype=ARRAYS[name]) for name, values in _arrays(numbered).items()}
    return _assembled(arrays, [info_of(comparison) for comparison, _ in kept], Ledger())


def _write(
    comparisons: Sequence[Comparison], renderer: Renderer, training: bool, files: Mapping[str, BinaryIO]
) -> Ledger:
    """Render comparisons in chunks, and append each chunk to the files of a store."""
    ledger = Ledger()
    written = 0
    starts = range(0, len(comparisons), CHUNK)
    for part in in_order(lambda start: _part(comparisons, start, renderer, training), starts):
        # Tokenizing can take minutes; a stop request is honoured between chunks.
        signals.check()
        for name, content in part.files.items():
            files[name].write(content)
        ledger.merge(part.ledger)
        written += part.written
    ledger.check(len(comparisons), training)
    if not written:
        check_unread(renderer.settings.max_unread, "training" if training else "evaluation", ledger.unread)
        ledger.check_left(len(comparisons))
    for file in files.values():
        file.flush()
    return ledger


class _Part(NamedTuple):
    """Chunk of a store: content of each file by name, losses, and the number of comparisons."""

    files: dict[str, bytes]
    ledger: Ledger
    written: int


def _part(comparisons: Sequence[Comparison], start: int, renderer: Renderer, training: bool) -> _Part:
    """Render `CHUNK` comparisons from `start` on, apply limits and lay out the arrays."""
    ledger = Ledger()
    chunk = comparisons[start : start + CHUNK]
    fitted = [
        fit(comparison, outcome, renderer.settings, training, ledger)
        for comparison, outcome in zip(chunk, renderer.outcomes(chunk), strict=True)
    ]
    kept = [(start + i, c, f) for i, (c, f) in enumerate(zip(chunk, fitted, strict=True)) if f is not None]
    rows = [info_line(comparison) for _, comparison, _ in kept]
    arrays = _arrays(kept) | {"info_sizes": list(map(len, rows))}
    content = {f"{name}.bin": np.asarray(values, dtype=ARRAYS[name]).tobytes() for name, values in arrays.items()}
    return _Part(content | {INFO: b"".join(rows)}, ledger, len(kept))


def _arrays(kept: Sequence[tuple[int, Comparison, Fitted]]) -> dict[str, Any]:
    """Lay out a few comparisons as arrays, each with the place in the whole sequence."""
    layouts = [segments_of(fitted.ids, fitted.removed) for _, _, fitted in kept]
    segments = [segment for layout in layouts for segment in layout.tokens]
    # One flat array, filled by C code: an array of NumPy for each segment takes several times as long.
    tokens = array("I")
    for segment in segments:
        tokens.fromlist(segment)
    judgments = [judgment for _, _, fitted in kept for judgment in fitted.judgments]
    return {
        "tokens": tokens,
        "segment_sizes": list(map(len, segments)),
        "segment_counts": [len(layout.tokens) for layout in layouts],
        "own": [number for layout in layouts for number in layout.own],
        "prefix": [number for layout in layouts for number in layout.prefix],
        "responses": [len(fitted.ids) for _, _, fitted in kept],
        "judged": [len(fitted.judgments) for _, _, fitted in kept],
        "number": [number for number, _, _ in kept],
        "better": [j.better for j in judgments],
        "worse": [j.worse for j in judgments],
        "probability": [j.probability for j in judgments],
        "margin": [np.nan if j.margin is None else j.margin for j in judgments],
        "weight": [j.weight for j in judgments],
        "rank": [rank for _, comparison, fitted in kept for rank in _ranks(comparison, fitted)],
        "response_tokens": [count for _, _, fitted in kept for count in fitted.response_tokens],
        "truncated": [count > 0 for _, _, fitted in kept for count in fitted.removed],
    }


def _ranks(comparison: Comparison, fitted: Fitted) -> Sequence[float]:
    """Return the ranking; NaN for every response if judgments are missing, since a ranking would bring these back."""
    whole = comparison.rank is not None and len(fitted.judgments) == len(comparison.judgments)
    return comparison.rank if whole and comparison.rank is not None else [np.nan] * len(comparison.responses)


def _cache_key(comparisons: Sequence[Comparison], renderer: Renderer, training: bool) -> str:
    """Hash everything that decides the arrays: contents, rules, tokenizer, template and versions."""
    # Another version of these libraries may split text differently, and old ids would be reused without notice.
    versions = [version(name) for name in ("bradley", "transformers", "tokenizers")]
    rules: tuple[Any, ...] = (_rules(renderer.settings), renderer.template, renderer.eos, training, FORMAT, versions)
    parts = (digest(comparisons), rules, fingerprint(renderer.tokenizer))
    return sha256(repr(parts).encode()).hexdigest()[:32]


def _rules(settings: Render) -> str:
    """Encode the render settings with sorted keys."""
    # Limits of what the template drops decide about a run, not about the arrays.
    return json.dumps(settings.model_dump(exclude={"max_unread"}), sort_keys=True)


def _assembled(arrays: dict[str, np.ndarray], info: Sequence[RowInfo], ledger: Ledger) -> TokenStore:
    """Build a store from the arrays of `_arrays`, with offsets instead of sizes."""
    sizes = {
        **{"segments": "segment_sizes", "first_segment": "segment_counts"},
        **{"first_response": "responses", "first_judgment": "judged"},
    }
    offsets = {name: offsets_of(arrays[size]) for name, size in sizes.items()}
    rest = {name: values for name, values in arrays.items() if name not in sizes.values()}
    return TokenStore(**rest, **offsets, info=info, ledger=ledger)


def _array(opened: Opener, name: str, kind: str) -> np.ndarray:
    """Read or map an array file."""
    with opened(name) as file:
        return np.memmap(file, kind, "r") if _is_mapped(file, name) else np.frombuffer(file.read(), kind)


def _text(opened: Opener, name: str) -> bytes | mmap.mmap:
    """Read or map a file of text."""
    with opened(name) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if _is_mapped(file, name) else file.read()


def _is_mapped(file: BinaryIO, name: str) -> bool:
    """Return True for a file to map, and go to the beginning of the file."""
    size = file.seek(0, 2)
    file.seek(0)
    # An empty file cannot be mapped.
    return size > SMALL or (size > 0 and name in MAPPED)
