"""Rows of LLMBar (Zeng et al. 2023), one `dataset.json` in the folder of each set."""

from ....records import Comparison, Rejected
from ... import rows as fields
from ...rows import Row, RowPlace
from .base import Benchmark, last_word, side, two_texts, writer

SETS = ("Natural", "Neighbor", "GPTInst", "GPTOut", "Manual")


def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a pair of outputs with label 1 or 2; the set is the row's, or stands in the folder's name."""
    subset = last_word(writer(row, "subset") or at.name, SETS)
    if not subset:
        raise at.fault("no set in row and path", f"a folder of the set, one of {', '.join(SETS)}")
    texts = [fields.text(row, key, at) for key in ("input", "output_1", "output_2")]
    return two_texts(texts[0], texts[1], texts[2], side(row, "label", at), at, row.get("id"), {"subset": subset})


LLMBAR = Benchmark("llmbar", "LLMBar", (("input", "output_1", "output_2", "label"),), convert, files=("dataset.json*",))
