"""Rows of RewardBench 1 (Lambert et al. 2024) and RewardBench 2 (Malik et al. 2025)."""

from ....records import Comparison, Judgment, Rejected, Response
from ... import rows as fields
from ...rows import Row, RowPlace
from ..base import comparison, texts_as_turns
from ..public import convert_rewardbench2
from .base import Benchmark, labelled, last_word, turns_of, two_texts, writer

PRIOR = (
    *("anthropic_harmless", "anthropic_helpful", "anthropic_hhh", "mtbench_gpt4", "mtbench_human", "shp", "summarize"),
)
"""Splits of the authors' set of earlier test sets, of which four make up the fifth section."""


def convert_first(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a pair of RewardBench 1: the chosen response first, the writers of both as tags.

    A row of the prior sets has a prompt of messages, and its subset is the split: the name stands in the source.
    """
    chosen, rejected = (fields.text(row, key, at) for key in ("chosen", "rejected"))
    if isinstance(row["prompt"], list):
        return _prior(row, chosen, rejected, at)
    tags = {"subset": fields.text(row, "subset", at)}
    tags |= {key: writer(row, key) for key in ("chosen_model", "rejected_model")}
    return two_texts(fields.text(row, "prompt", at), chosen, rejected, 0, at, row.get("id"), tags)


def _prior(row: Row, chosen: str, rejected: str, at: RowPlace) -> Comparison | Rejected:
    """Convert a row of the prior sets."""
    subset = last_word(at.name, PRIOR)
    if not subset:
        raise at.fault("messages in prompt, and no split in the name", f"a file or split of one of {', '.join(PRIOR)}")
    _, sides = texts_as_turns("", chosen, rejected)
    responses = [Response(side) for side in sides]
    found = comparison(turns_of(row, "prompt", at), responses, [Judgment(0, 1)], at)
    return labelled(found, row.get("id"), {"subset": subset})


def convert_second(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a prompt of RewardBench 2: every chosen response beats every rejected response.

    A row of the subset Ties gets the published id, such as `ref:12`, as the tag `tie`: the score of Ties pairs prompts
    by this id.
    """
    subset = fields.text(row, "subset", at)
    tie = str(row["id"]) if subset == "Ties" else ""
    return labelled(convert_rewardbench2(row, at), row["id"], {"subset": subset, "tie": tie})


FIRST = Benchmark("rewardbench", "RewardBench 1", (("prompt", "chosen", "rejected"),), convert_first)
SECOND = Benchmark("rewardbench2", "RewardBench 2", (("id", "prompt", "chosen", "rejected", "subset"),), convert_second)
