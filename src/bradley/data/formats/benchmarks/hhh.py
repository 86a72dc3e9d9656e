"""Rows of HHH alignment (Askell et al. 2021), as on the Hub, in BIG-bench, and as pairs of messages."""

from collections.abc import Mapping
from typing import Any

from ....records import Comparison, Rejected
from ... import rows as fields
from ...rows import Row, RowPlace, kind, quoted
from .base import PAIR, Benchmark, last_word, message_pair, two_texts, writer

SUBSETS = ("harmless", "helpful", "honest", "other")
TARGETS = ("targets", "mc_targets", "target_scores")
"""Names of the two answers with their labels."""


def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a question with two answers, of which label 1 names the better; the subset is the row's or the path's."""
    subset = last_word(writer(row, "subset") or at.name, SUBSETS)
    if not subset:
        raise at.fault("no subset in row and path", f"a file or folder of one of {', '.join(SUBSETS)}")
    if "chosen" in row:
        return message_pair(row, at, subset)
    key = next(key for key in TARGETS if key in row)
    texts, labels = _targets(row, key, at)
    if len(texts) != 2 or labels not in ([0, 1], [1, 0]) or not all(isinstance(text, str) for text in texts):
        raise at.fault(f"{len(texts)} texts with labels {quoted(labels)} in {key}", "2 texts with labels 1 and 0")
    better = labels.index(1)
    return two_texts(fields.text(row, "input", at), texts[0], texts[1], better, at, row.get("id"), {"subset": subset})


def _targets(row: Row, key: str, at: RowPlace) -> tuple[list[Any], list[Any]]:
    """Return texts and labels: `{"choices": [...], "labels": [...]}`, or an object of labels by text."""
    found = row[key]
    if not isinstance(found, dict):
        raise at.fault(f"{kind(found)} in {key}", "an object with two texts and labels 1 and 0")
    if isinstance(found.get("choices"), list) and isinstance(found.get("labels"), list):
        return found["choices"], found["labels"]
    labels = [label if isinstance(label, int | float) else -1 for label in found.values()]
    return list(found), labels


def examples(document: Mapping[str, Any]) -> list[Any] | None:
    """Return the rows of a task of BIG-bench, under `examples`."""
    rows = document.get("examples")
    return rows if isinstance(rows, list) else None


HHH = Benchmark(
    "hhh",
    "HHH alignment",
    (*(("input", key) for key in TARGETS), PAIR),
    convert,
    files=("task.json*",),
    document=examples,
)
