"""Facts about the comparisons of a token store besides arrays: a line of JSON for each, read on access."""

import json
import mmap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..records import Comparison
from .columns import topic

INFO = "info.jsonl"
"""File of a store with a line for each comparison."""
INFO_LINE = json.JSONEncoder(separators=(",", ":")).encode
"""Encoder of `RowInfo`, made once: `json.dumps` with separators makes an encoder per row."""


class RowInfo(NamedTuple):
    """Facts about a comparison for a scored row, besides ids and judgments."""

    id: str
    prompt_key: str
    source: str
    tags: dict[str, str]
    source_scores: tuple[float, ...] | None


class Infos(Sequence[RowInfo]):
    """G rows of JSON on disk, read on access."""

    def __init__(self, text: bytes | mmap.mmap, sizes: np.ndarray) -> None:
        self.ends = offsets_of(sizes)
        self._text = text
        if len(text) != self.ends[-1]:
            raise ValueError(f"{INFO} has {len(text)} bytes, wanted {self.ends[-1]}")

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, place: int) -> RowInfo:  # type: ignore[override]
        place = range(len(self))[place]
        id, key, source, tags, scores = json.loads(self._text[self.ends[place] : self.ends[place + 1]])
        return RowInfo(id, key, source, tags, None if scores is None else tuple(scores))


def info_of(c: Comparison) -> RowInfo:
    """Collect the facts of a comparison for scored rows."""
    scores = tuple(response.score for response in c.responses if response.score is not None)
    return RowInfo(c.id, topic(c), c.source, c.tags, scores if len(scores) == len(c.responses) else None)


def info_line(c: Comparison) -> bytes:
    """Encode the facts of a comparison as JSON."""
    return INFO_LINE(info_of(c)).encode()


def offsets_of(sizes: np.ndarray) -> np.ndarray:
    """Turn sizes into offsets, starting at 0."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
