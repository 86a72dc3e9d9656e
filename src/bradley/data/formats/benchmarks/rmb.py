"""Rows of RMB (Zhou et al. 2024): pairs, and a best response with its losers."""

from ....records import Comparison, Judgment, Message, Rejected, Response
from ... import rows as fields
from ...rows import Row, RowPlace, kind, quoted
from ..base import comparison
from .base import Benchmark, labelled, turns_of, writer


def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a pair, or a best response that beats each of its losers.

    `category_path` is KIND/GOAL/CATEGORY, such as `BoN_set/Helpfulness/Chat/Discussion`, and becomes three tags. The
    writers of a pair become tags; of several losers only the best response's writer does.
    """
    pair = "chosen" in row
    best = _object(row, "chosen" if pair else "bon_best", at)
    losers = [_object(row, "reject", at)] if pair else fields.objects(row, "loser_list", "a list of answers", at)
    if not losers:
        return Rejected(at.row, "one_response", "a best response without losers")
    sides = [Response((Message("assistant", fields.text(each, "answer", at)),)) for each in (best, *losers)]
    judgments = [Judgment(0, worse) for worse in range(1, len(sides))]
    found = comparison(turns_of(row, "conversation_input", at), sides, judgments, at)
    tags = {**_path(row, at), "chosen_model": writer(best, "llm_name")}
    if len(losers) == 1:
        tags["rejected_model"] = writer(losers[0], "llm_name")
    return labelled(found, row.get("pair_uid", row.get("bon_uid")), tags)


def _object(row: Row, key: str, at: RowPlace) -> Row:
    """Return an answer with its writer; raise `RowFault` for anything else."""
    found = row.get(key)
    if not isinstance(found, dict):
        raise at.fault(f"{kind(found)} in {key}", 'an object {"answer": ..., "llm_name": ...}')
    return found


def _path(row: Row, at: RowPlace) -> dict[str, str]:
    """Return kind, goal and category of a row; a path of two parts has its goal as category."""
    parts = fields.text(row, "category_path", at).split("/", 2)
    if len(parts) < 2:
        raise at.fault(f"{quoted('/'.join(parts))} in category_path", "KIND/GOAL/CATEGORY")
    return {"kind": parts[0], "goal": parts[1], "category": parts[-1]}


RMB = Benchmark(
    "rmb",
    "RMB",
    (
        ("conversation_input", "chosen", "reject", "category_path"),
        ("conversation_input", "bon_best", "loser_list", "category_path"),
    ),
    convert,
)
