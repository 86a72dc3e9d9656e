"""Rows of RM-Bench (Liu et al. 2024)."""

import itertools
from pathlib import Path

from ....records import Comparison, Judgment, Rejected, Response
from ... import rows as fields
from ...rows import Row, RowPlace
from ..base import comparison, texts_as_turns
from .base import Benchmark, labelled, last_word

DOMAINS = ("chat", "code", "math", "safety-refuse", "safety-response")


def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a prompt with three chosen and three rejected responses: 6 responses, 9 judgments.

    Responses stand as concise, detailed plain, detailed with markdown, chosen before rejected. Judgments stand by
    chosen style, then by rejected style. The domain is the row's, as in the file of all rows, or stands in the file's
    name.
    """
    chosen, rejected = fields.texts(row, "chosen", at), fields.texts(row, "rejected", at)
    if len(chosen) != 3 or len(rejected) != 3:
        raise at.fault(f"{len(chosen)} chosen and {len(rejected)} rejected", "3 chosen and 3 rejected responses")
    prompt, sides = texts_as_turns(fields.text(row, "prompt", at), *chosen, *rejected)
    judgments = [Judgment(better, 3 + worse) for better, worse in itertools.product(range(3), range(3))]
    found = comparison(prompt, [Response(side) for side in sides], judgments, at)
    return labelled(found, row.get("id"), {"domain": _domain(row, at)})


def _domain(row: Row, at: RowPlace) -> str:
    """Return the domain of a row; raise `RowFault` for none."""
    said = row.get("domain")
    domain = last_word(said if isinstance(said, str) else Path(at.name).name, DOMAINS)
    if not domain:
        raise at.fault("no domain in row and file name", f"a file such as chat_filtered.json, of {', '.join(DOMAINS)}")
    return domain


RM_BENCH = Benchmark(
    "rm-bench",
    "RM-Bench",
    (("prompt", "chosen", "rejected"),),
    convert,
    # The file of all rows stands beside the five files with the same rows.
    files=("*_filtered.json*", "total_dataset.json*"),
)
