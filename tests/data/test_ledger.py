"""Ledgers of chunks, made in other processes, add up to the ledger of the whole split."""

import pickle
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bradley.data.truncate import Ledger
from bradley.errors import DataError
from tests.helpers import comparisons

ROW = comparisons(1)[0]
LOSSES = st.lists(
    st.tuples(st.sampled_from(["refused", "over_long", "glued"]), st.integers(0, 15)), min_size=1, max_size=60
)


def count(ledger, losses):
    for cause, number in losses:
        row = replace(ROW, id=f"{cause} {number}")
        counts = ledger.add(cause, row, number, dropped=cause != "glued")
        if cause == "refused":
            reasons = counts.setdefault("reasons", {})
            reasons[f"reason {number}"] = reasons.get(f"reason {number}", 0) + 1
            ledger.stop(f"stop {number}", DataError(f"{row.id} stops", "mend it"))
        ledger.unread.add(row, {f"tags.{number % 3}": number % 2 == 0})
        ledger.kinds["messages"] += 1


def told(ledger):
    stops = {name: (row["comparisons"], row["error"].message, row["error"].hint) for name, row in ledger.stops.items()}
    return ledger.to_note(), stops


@given(LOSSES, st.integers(1, 60))
def test_ledgers_of_chunks_add_up(losses, size):
    whole, merged = Ledger(), Ledger()
    count(whole, losses)
    for start in range(0, len(losses), size):
        part = Ledger()
        count(part, losses[start : start + size])
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert told(merged) == told(whole)


def test_reasons_beyond_the_limit_are_counted_together():
    merged = Ledger()
    for number in range(30):
        part = Ledger()
        count(part, [("refused", number)])
        merged.merge(part)
    reasons = merged.causes["refused"]["reasons"]
    assert reasons["other reasons"] == 10 and len(reasons) == len(merged.stops) == 21
