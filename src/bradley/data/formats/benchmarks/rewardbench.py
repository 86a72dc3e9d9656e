"""Rows of RewardBench 1 (Lambert et al. 2024) and RewardBench 2 (Malik et al. 2025)."""

from ....records import Comparison, Rejected
from ... import rows as fields
from ...rows import Row, RowPlace
from ..public import convert_rewardbench2
from .base import Benchmark, labelled, two_texts, writer


def convert_first(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a pair of RewardBench 1: the chosen response first, the writers of both as tags."""
    texts = [fields.text(row, key, at) for key in ("prompt", "chosen", "rejected")]
    tags = {"subset": fields.text(row, "subset", at)}
    tags |= {key: writer(row, key) for key in ("chosen_model", "rejected_model")}
    return two_texts(texts[0], texts[1], texts[2], 0, at, row.get("id"), tags)


def convert_second(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a prompt of RewardBench 2: every chosen response beats every rejected response.

    A row of the subset Ties gets the published id, such as `ref:12`, as the tag `tie`: the score of Ties pairs prompts
    by this id.
    """
    subset = fields.text(row, "subset", at)
    tie = str(row["id"]) if subset == "Ties" else ""
    return labelled(convert_rewardbench2(row, at), row["id"], {"subset": subset, "tie": tie})


FIRST = Benchmark("rewardbench", "RewardBench 1", (("prompt", "chosen", "rejected", "subset"),), convert_first)
SECOND = Benchmark("rewardbench2", "RewardBench 2", (("id", "prompt", "chosen", "rejected", "subset"),), convert_second)
