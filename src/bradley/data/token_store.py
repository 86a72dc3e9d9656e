"""The token store: comparisons as flat, memory-mapped arrays, made once and cached by what they were made from.

Legend: G comparisons, R responses, S = G + R segments, J judgments, N tokens. Each comparison is a run of segments: the
token prefix that all its responses share, once, and then each response's own tokens.

It is written a few hundred comparisons at a time, so that neither texts nor tokens of a large set ever lie in memory.
"""

import json
import mmap
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..common import signals
from ..common.files import disk_errors, replace_folder
from ..config import Render
from ..errors import DataError, DiskError
from ..records import Comparison, Judgment
from .columns import topic
from .render import Renderer, common_prefix
from .table import digest
from .tokenizer import fingerprint
from .truncate import Fitted, Ledger, truncate

CHUNK = 512
FORMAT = 2
"""Part of the cache key; rises when the meaning of an array changes."""
ARRAYS: dict[str, str] = {
    "tokens": "uint32",
    "segment_sizes": "int32",
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
"""What lies on disk, and as what."""


class RowInfo(NamedTuple):
    """What a scored row needs to know of its comparison besides ids and judgments."""

    id: str
    prompt_key: str
    source: str
    tags: dict[str, str]
    source_scores: tuple[float, ...] | None


class Infos(Sequence[RowInfo]):
    """G rows of JSON on disk, read when they are asked for."""

    def __init__(self, path: Path, sizes: np.ndarray) -> None:
        self.ends = _offsets(sizes)
        with path.open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if len(sizes) else b""
        if len(self._text) != self.ends[-1]:
            raise ValueError(f"{path} has {len(self._text)} bytes, wanted {self.ends[-1]}")

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, place: int) -> RowInfo:  # type: ignore[override]
        place = range(len(self))[place]
        id, key, source, tags, scores = json.loads(self._text[self.ends[place] : self.ends[place + 1]])
        return RowInfo(id, key, source, tags, None if scores is None else tuple(scores))


@dataclass(frozen=True)
class TokenStore:
    """Comparisons of one split as arrays.

    Attributes:
        tokens: [N] uint32 token ids.
        segments: [S + 1] offsets into `tokens`; segment `first_response[g] + g` is comparison g's shared prefix.
        first_response: [G + 1] number of the first response of each comparison.
        first_judgment: [G + 1] likewise for judgments.
        number: [G] place of each comparison in the sequence that the store was built from.
        better, worse: [J] responses judged, counted within their comparison.
        probability, margin, weight: [J] float32 (margin NaN where the source gives none).
        rank: [R] float32 place in a full ranking, NaN where there is none.
        response_tokens: [R] tokens of the response alone, prompt aside.
        truncated: [R] whether tokens were cut to fit.
        info: G rows.
        ledger: what the limits cost.
    """

    tokens: np.ndarray
    segments: np.ndarray
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
        """[R] tokens of each response with its prompt, as a model reads it without sharing."""
        sizes = np.diff(self.segments)
        is_prefix = np.zeros(len(sizes), dtype=bool)
        prefix = self.first_response[:-1] + np.arange(len(self))
        is_prefix[prefix] = True
        return np.asarray(sizes[~is_prefix] + np.repeat(sizes[prefix], np.diff(self.first_response)))

    def longest(self) -> np.ndarray:
        """[G] the longest full length in each comparison."""
        return np.maximum.reduceat(self.full_lengths(), self.first_response[:-1]) if len(self) else np.zeros(0, int)

    def judgment_weights(self, weight_by: str) -> np.ndarray:
        """[J] what each judgment counts: as the source says (`pair`), or scaled to one per comparison (`prompt`)."""
        if weight_by == "pair" or not len(self):
            return self.weight
        totals = np.add.reduceat(self.weight.astype(np.float64), self.first_judgment[:-1])
        return np.asarray(self.weight / np.repeat(totals, np.diff(self.first_judgment)), dtype=np.float32)

    def response_ids(self, comparison: int, response: int) -> np.ndarray:
        """[L] the full token ids of one response, prompt included."""
        prefix = int(self.first_response[comparison]) + comparison
        own = prefix + 1 + response
        parts = [self.tokens[self.segments[s] : self.segments[s + 1]] for s in (prefix, own)]
        return np.concatenate(parts)

    def judgments(self, comparison: int) -> tuple[Judgment, ...]:
        """The judgments of one comparison, as records."""
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
    comparisons: Sequence[Comparison], renderer: Renderer, *, training: bool, cache: Path | None = None
) -> TokenStore:
    """Render, limit and lay out `comparisons`; reuse the cached arrays of the same content, tokenizer and rules.

    Args:
        training: whether over-long and indistinguishable comparisons may be dropped; evaluation keeps every row.
        cache: folder of cached stores; None keeps nothing.

    Raises:
        DataError: nothing is left, or an evaluation row cannot be fitted into the limits.
        DiskError: the disk is full.
    """
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="bradley-") as temporary, disk_errors(Path(temporary)):
            _write(comparisons, renderer, training, Path(temporary))
            return read_store(Path(temporary))  # mapped files outlive their names
    folder = cache / _cache_key(comparisons, renderer, training)
    try:
        return read_store(folder)
    except (OSError, ValueError, KeyError):  # absent, or broken by other hands: it is only a cache
        return _built(comparisons, renderer, training, folder)


def _built(comparisons: Sequence[Comparison], renderer: Renderer, training: bool, folder: Path) -> TokenStore:
    try:
        replace_folder(folder, lambda target: _write(comparisons, renderer, training, target))
    except DiskError:
        if not (folder / "ledger.json").is_file():  # else another process has just written the same store
            raise
    return read_store(folder)


def store_of(kept: Sequence[tuple[Comparison, Fitted]]) -> TokenStore:
    """A store in memory of comparisons that are rendered and fitted already; nothing is left out of it."""
    numbered = [(place, comparison, fitted) for place, (comparison, fitted) in enumerate(kept)]
    arrays = {name: np.asarray(values, dtype=ARRAYS[name]) for name, values in _arrays(numbered).items()}
    return _assembled(arrays, [_info(comparison) for comparison, _ in kept], Ledger())


def _write(comparisons: Sequence[Comparison], renderer: Renderer, training: bool, folder: Path) -> None:
    ledger = Ledger()
    files: dict[str, BinaryIO] = {name: (folder / f"{name}.bin").open("wb") for name in ARRAYS}
    written = 0
    with (folder / "info.jsonl").open("wb") as info:
        chunks = (comparisons[start : start + CHUNK] for start in range(0, len(comparisons), CHUNK))
        start = 0
        for chunk, rendered in renderer.stream(chunks):
            signals.check()
            fitted = [truncate(c, r, renderer.settings, training, ledger) for c, r in zip(chunk, rendered, strict=True)]
            kept = [(start + i, c, f) for i, (c, f) in enumerate(zip(chunk, fitted, strict=True)) if f is not None]
            rows = [_info_line(comparison) for _, comparison, _ in kept]
            for name, values in (_arrays(kept) | {"info_sizes": list(map(len, rows))}).items():
                files[name].write(np.asarray(values, dtype=ARRAYS[name]).tobytes())
            info.write(b"".join(rows))
            written += len(kept)
            start += len(chunk)
    for file in files.values():
        file.close()
    if not written:
        causes = ", ".join(f"{row['dropped']} {cause}" for cause, row in ledger.causes.items())
        raise DataError(
            f"no comparison is left after rendering: {causes}", "raise render.max_tokens, or look at the data"
        )
    (folder / "ledger.json").write_text(json.dumps(ledger.to_json()), encoding="utf-8")


def _arrays(kept: Sequence[tuple[int, Comparison, Fitted]]) -> dict[str, Any]:
    """The arrays of a few comparisons, each with its place in the whole sequence."""
    segments = [segment for _, _, fitted in kept for segment in _segments(fitted.ids)]
    judgments = [judgment for _, _, fitted in kept for judgment in fitted.judgments]
    return {
        "tokens": np.concatenate([np.asarray(segment, dtype=np.uint32) for segment in segments]) if segments else [],
        "segment_sizes": list(map(len, segments)),
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
        "truncated": [flag for _, _, fitted in kept for flag in fitted.truncated],
    }


def _segments(ids: Sequence[list[int]]) -> Iterator[list[int]]:
    """The shared prefix of full renderings, then each one's own tokens, at least its last. One alone shares nothing."""
    shared = min((common_prefix(ids[0], row) for row in ids[1:]), default=0)
    shared = min(shared, min(map(len, ids)) - 1)
    yield ids[0][:shared]
    yield from (row[shared:] for row in ids)


def _ranks(comparison: Comparison, fitted: Fitted) -> Sequence[float]:
    """The ranking, unless judgments are gone that it would bring back."""
    whole = comparison.rank is not None and len(fitted.judgments) == len(comparison.judgments)
    return comparison.rank if whole and comparison.rank is not None else [np.nan] * len(comparison.responses)


def _info(c: Comparison) -> RowInfo:
    scores = tuple(response.score for response in c.responses if response.score is not None)
    return RowInfo(c.id, topic(c), c.source, c.tags, scores if len(scores) == len(c.responses) else None)


def _info_line(c: Comparison) -> bytes:
    return json.dumps(_info(c), separators=(",", ":")).encode()


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _cache_key(comparisons: Sequence[Comparison], renderer: Renderer, training: bool) -> str:
    versions = [version(name) for name in ("bradley", "transformers", "tokenizers")]
    rules: tuple[Any, ...] = (_rules(renderer.settings), renderer.template, renderer.eos, training, FORMAT, versions)
    parts = (digest(comparisons), rules, fingerprint(renderer.tokenizer))
    return sha256(repr(parts).encode()).hexdigest()[:32]


def _rules(settings: Render) -> str:
    return json.dumps(settings.model_dump(), sort_keys=True)


def read_store(folder: Path) -> TokenStore:
    """A store from its folder, its arrays memory-mapped.

    Raises:
        OSError, ValueError, KeyError: it is not there, or not whole.
    """
    arrays = {name: _mapped(folder / f"{name}.bin", kind) for name, kind in ARRAYS.items()}
    ledger = Ledger.from_json(json.loads((folder / "ledger.json").read_text(encoding="utf-8")))
    info = Infos(folder / "info.jsonl", arrays.pop("info_sizes"))
    store = _assembled(arrays, info, ledger)
    sizes = {
        "tokens": store.segments[-1],
        "rank": store.first_response[-1],
        "better": store.first_judgment[-1],
        "number": len(info),
    }
    if any(len(arrays[name]) != size for name, size in sizes.items()):
        raise ValueError(f"{folder} holds arrays that do not fit each other")
    return store


def _assembled(arrays: dict[str, np.ndarray], info: Sequence[RowInfo], ledger: Ledger) -> TokenStore:
    """Arrays as `_arrays` gives them, with offsets instead of sizes."""
    sizes = {"segments": "segment_sizes", "first_response": "responses", "first_judgment": "judged"}
    offsets = {name: _offsets(arrays[size]) for name, size in sizes.items()}
    rest = {name: values for name, values in arrays.items() if name not in sizes.values()}
    return TokenStore(**rest, **offsets, info=info, ledger=ledger)


def _mapped(path: Path, kind: str) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r")
