"""The token store: comparisons as flat, memory-mapped arrays, made once and cached by what they were made from.

Legend: G comparisons, R responses, S = G + R segments, J judgments, N tokens. Each comparison is a run of segments: the
token prefix that all its responses share, once, and then each response's own tokens.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config import Render
from ..errors import DataError
from ..files import replace_folder
from ..records import Comparison, Judgment
from .clean import topic
from .limits import Fitted, Ledger, fit
from .render import Renderer, common_prefix
from .tokenizer import fingerprint

CHUNK = 1024
FORMAT = 1
"""Part of the cache key; rises when the meaning of an array changes."""


class RowInfo(NamedTuple):
    """What a scored row needs to know of its comparison besides ids and judgments."""

    id: str
    prompt_key: str
    source: str
    tags: dict[str, str]
    source_scores: tuple[float, ...] | None


@dataclass(frozen=True)
class TokenStore:
    """Comparisons of one split as arrays.

    Attributes:
        tokens: [N] uint32 token ids.
        segments: [S + 1] offsets into `tokens`; segment `first_response[g] + g` is comparison g's shared prefix.
        first_response: [G + 1] number of the first response of each comparison.
        first_judgment: [G + 1] likewise for judgments.
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
    better: np.ndarray
    worse: np.ndarray
    probability: np.ndarray
    margin: np.ndarray
    weight: np.ndarray
    rank: np.ndarray
    response_tokens: np.ndarray
    truncated: np.ndarray
    info: list[RowInfo]
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
        cache: folder of cached stores; None builds in memory.

    Raises:
        DataError: nothing is left, or an evaluation row cannot be fitted into the limits.
    """
    if cache is None:
        return _build(comparisons, renderer, training)
    folder = cache / _cache_key(comparisons, renderer, training)
    try:
        return read_store(folder)
    except (OSError, ValueError, KeyError):  # absent, or broken by other hands: it is only a cache
        store = _build(comparisons, renderer, training)
        replace_folder(folder, lambda target: _write(store, target))
        return store


def _build(comparisons: Sequence[Comparison], renderer: Renderer, training: bool) -> TokenStore:
    ledger = Ledger()
    kept = [pair for pair in _fitted(comparisons, renderer, training, ledger) if pair is not None]
    if not kept:
        causes = ", ".join(f"{row['dropped']} {cause}" for cause, row in ledger.causes.items())
        raise DataError(
            f"no comparison is left after rendering: {causes}", "raise render.max_tokens, or look at the data"
        )
    segments: list[list[int]] = []
    for _, fitted in kept:
        shared = min(common_prefix(fitted.ids[0], row) for row in fitted.ids[1:])
        shared = min(shared, min(map(len, fitted.ids)) - 1)  # each response keeps at least its last token
        segments.append(fitted.ids[0][:shared])
        segments.extend(row[shared:] for row in fitted.ids)
    judgments = [j for _, fitted in kept for j in fitted.judgments]
    return TokenStore(
        tokens=np.fromiter((t for s in segments for t in s), dtype=np.uint32),
        segments=_offsets(len(s) for s in segments),
        first_response=_offsets(len(fitted.ids) for _, fitted in kept),
        first_judgment=_offsets(len(fitted.judgments) for _, fitted in kept),
        better=np.array([j.better for j in judgments], dtype=np.int32),
        worse=np.array([j.worse for j in judgments], dtype=np.int32),
        probability=np.array([j.probability for j in judgments], dtype=np.float32),
        margin=np.array([np.nan if j.margin is None else j.margin for j in judgments], dtype=np.float32),
        weight=np.array([j.weight for j in judgments], dtype=np.float32),
        rank=np.array([r for c, _ in kept for r in (c.rank or [np.nan] * len(c.responses))], dtype=np.float32),
        response_tokens=np.array([n for _, fitted in kept for n in fitted.response_tokens], dtype=np.int32),
        truncated=np.array([flag for _, fitted in kept for flag in fitted.truncated], dtype=bool),
        info=[_info(c) for c, _ in kept],
        ledger=ledger,
    )


def _fitted(
    comparisons: Sequence[Comparison], renderer: Renderer, training: bool, ledger: Ledger
) -> Iterator[tuple[Comparison, Fitted] | None]:
    for start in range(0, len(comparisons), CHUNK):
        chunk = comparisons[start : start + CHUNK]
        for comparison, rendered in zip(chunk, renderer.comparisons(chunk), strict=True):
            fitted = fit(comparison, rendered, renderer.settings, training, ledger)
            yield None if fitted is None else (comparison, fitted)


def _info(c: Comparison) -> RowInfo:
    scores = [r.score for r in c.responses]
    known = None if any(s is None for s in scores) else tuple(float(s) for s in scores if s is not None)
    return RowInfo(c.id, topic(c), c.source, c.tags, known)


def _offsets(sizes: Iterator[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))])


# --- on disk -----------------------------------------------------------------------------------------------------


def _cache_key(comparisons: Sequence[Comparison], renderer: Renderer, training: bool) -> str:
    digest = sha256()
    for comparison in comparisons:
        digest.update(repr(comparison).encode("utf-8", "surrogatepass"))
    versions = [version(name) for name in ("bradley", "transformers", "tokenizers")]
    rules: tuple[Any, ...] = (_rules(renderer.settings), renderer.template, renderer.eos, training, FORMAT, versions)
    digest.update(repr((rules, fingerprint(renderer.tokenizer))).encode())
    return digest.hexdigest()[:32]


def _rules(settings: Render) -> str:
    return json.dumps(settings.model_dump(), sort_keys=True)


def _array_names() -> list[str]:
    return [f.name for f in fields(TokenStore) if f.name not in ("info", "ledger")]


def _write(store: TokenStore, folder: Path) -> None:
    for name in _array_names():
        np.save(folder / f"{name}.npy", getattr(store, name), allow_pickle=False)
    rows = "".join(json.dumps(row._asdict()) + "\n" for row in store.info)
    (folder / "info.jsonl").write_text(rows, encoding="utf-8")
    (folder / "ledger.json").write_text(json.dumps(store.ledger.to_json()), encoding="utf-8")


def read_store(folder: Path) -> TokenStore:
    """A store from its folder, its arrays memory-mapped."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _array_names()}
    info = [_read_info(line) for line in (folder / "info.jsonl").read_text(encoding="utf-8").split("\n") if line]
    ledger = Ledger.from_json(json.loads((folder / "ledger.json").read_text(encoding="utf-8")))
    return TokenStore(**arrays, info=info, ledger=ledger)


def _read_info(line: str) -> RowInfo:
    row = json.loads(line)
    scores = row["source_scores"]
    return RowInfo(**{**row, "source_scores": None if scores is None else tuple(scores)})
