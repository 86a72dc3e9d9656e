"""Rows of JudgeBench (Tan et al. 2024), one file for each response model."""

import re

from ....records import Comparison, Rejected
from ... import rows as fields
from ...rows import Row, RowPlace, quoted
from .base import Benchmark, two_texts, writer

BETTER = {"A>B": 0, "B>A": 1}
CATEGORIES = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}
"""First letters of a source -> category."""
MODEL = re.compile(r"response_model=([^,/\\]+?)(?:\.jsonl.*)?(?:,|$)")


def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a pair of responses: the category of its source as `domain`, and the response model as tags.

    The response model is the row's, or stands in the file's name.
    """
    label = fields.text(row, "label", at)
    if label not in BETTER:
        raise at.fault(f"{quoted(label)} in label", "A>B or B>A")
    source, named = fields.text(row, "source", at), MODEL.search(at.name)
    category = next((name for start, name in CATEGORIES.items() if source.startswith(start)), "")
    model = writer(row, "response_model") or (named[1] if named else "")
    texts = [fields.text(row, key, at) for key in ("question", "response_A", "response_B")]
    tags = {"subset": source, "domain": category, "response_model": model}
    return two_texts(texts[0], texts[1], texts[2], BETTER[label], at, row["pair_id"], tags)


JUDGEBENCH = Benchmark(
    "judgebench",
    "JudgeBench",
    (("pair_id", "question", "response_A", "response_B", "label", "source"),),
    convert,
)
