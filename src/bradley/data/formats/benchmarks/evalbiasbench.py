"""Rows of EvalBiasBench (Park et al. 2024), an object of lists by bias, and as pairs of messages."""

import re
from collections.abc import Mapping
from typing import Any

from ....records import Comparison, Rejected
from ... import rows as fields
from ...rows import Row, RowPlace, quoted
from .base import PAIR, Benchmark, message_pair, side, two_texts

BIASES = (
    *("length", "concreteness", "empty reference", "content continuation", "nested instruction", "familiar knowledge"),
)


def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a pair of responses with label 1 or 2, and the bias as the tag `subset`."""
    if "chosen" in row:
        return message_pair(row, at, _bias(fields.text(row, "subset", at), at))
    texts = [fields.text(row, key, at) for key in ("instruction", "response1", "response2")]
    tags = {"subset": _bias(fields.text(row, "bias", at), at)}
    return two_texts(texts[0], texts[1], texts[2], side(row, "label", at), at, row.get("id"), tags)


def _bias(name: str, at: RowPlace) -> str:
    """Return the name of a bias without the spelling of the file: `length bias` is length."""
    plain = " ".join(re.split(r"[\s_-]+", name.lower()))
    bias = re.sub(r"( preference)?( bias)?$", "", plain)
    if bias not in BIASES:
        raise at.fault(f"the bias {quoted(name)}", f"one of {', '.join(BIASES)}")
    return bias


def by_bias(document: Mapping[str, Any]) -> list[Any] | None:
    """Return the rows of all lists; a row without a bias gets the name of its list."""
    if not document or not all(isinstance(rows, list) for rows in document.values()):
        return None
    return [{"bias": name, **row} if isinstance(row, dict) else row for name, rows in document.items() for row in rows]


EVALBIASBENCH = Benchmark(
    "evalbiasbench",
    "EvalBiasBench",
    (("bias", "instruction", "response1", "response2", "label"), PAIR),
    convert,
    document=by_bias,
)
