"""Dirt of every kind mixed into clean rows: each row is counted once, and the clean ones come through as they were.

Faults of structure stop the run and have their tests beside the reader or the format that names them; here are faults
of content, from the file to the token store.
"""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.config import Data, Render
from bradley.data.load import load_splits
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.data.tokenizer import train_tokenizer
from tests.helpers import WORDS

TOKENIZER = train_tokenizer([" ".join(WORDS)] * 3, 300)
RENDERER = Renderer(TOKENIZER, Render(max_tokens=96, over_long="drop", min_response_tokens=4), causal=True)
CLEAN = [
    {"id": f"clean-{n}", "prompt": f"question {n}", "chosen": f"a good answer {n}", "rejected": f"a bad answer {n}"}
    for n in range(12)
]
HELD_OUT = [{"id": "held", "prompt": "held out", "chosen": "one answer", "rejected": "another"}]


def pair(n, chosen, rejected, prompt="dirt"):
    return {"id": f"dirt-{n}", "prompt": f"{prompt} {n}", "chosen": chosen, "rejected": rejected}


DIRT = {
    "bad_characters": lambda n: pair(n, f"half a pair \ud83d {n}", "fine answer"),
    "bad_characters too": lambda n: pair(n, "fine answer", f"a nul \x00 {n}"),
    "identical": lambda n: pair(n, f"same answer {n}", f"same answer {n}"),
    "empty": lambda n: pair(n, f"an answer {n}", "  \n"),
    "bidirectional": lambda n: pair(n, f"an \u202eanswer {n}", "another one"),
    "duplicate": lambda n: {**CLEAN[n % len(CLEAN)], "id": f"dirt-{n}"},
    "leaked": lambda n: {**HELD_OUT[0], "id": f"dirt-{n}", "chosen": f"one answer {n}"},
    "over_long": lambda n: pair(n, f"word {n} " * 60, "a short answer"),
    "short_response": lambda n: pair(n, f"an answer {n}", "x"),
}
"""Rows by the reason that they must be counted under; `too` marks a second way to the same reason."""
LEDGER = {"over_long", "short_response"}


@st.composite
def dirty(draw):
    kinds = draw(st.lists(st.sampled_from(sorted(DIRT)), max_size=20))
    rows = [(kind, DIRT[kind](n)) for n, kind in enumerate(kinds)]
    places = sorted(draw(st.lists(st.integers(0, len(CLEAN)), min_size=len(rows), max_size=len(rows))))
    mixed = [(place, 0, row) for place, row in enumerate(CLEAN)]
    mixed += [(place, 1, row) for place, (_, row) in zip(places, rows, strict=True)]
    if any(kind == "duplicate" for kind in kinds):  # a repetition comes after what it repeats
        mixed = [*((0, 0, row) for row in CLEAN), *((1, 0, row) for _, row in rows)]
    return [row for *_, row in sorted(mixed, key=lambda entry: entry[:2])], Counter(kind.split()[0] for kind in kinds)


@given(dirty())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_used_or_counted_and_clean_rows_keep_order_and_ids(tmp_path_factory, made):
    rows, expected = made
    path = tmp_path_factory.mktemp("dirt") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    policies = dict.fromkeys(("empty", "bidirectional", "duplicate", "leaked"), "drop")
    splits = load_splits(Data(train=str(path), max_rejected_share=0.99, **policies), 0, valid=HELD_OUT)
    store = build_store(splits.train, RENDERER, training=True)
    account = splits.report["splits"]["train"]
    counted = Counter({reason: entry["count"] for reason, entry in account["rejected"].items()})
    counted += Counter({check: finding["dropped"] for check, finding in account["findings"].items()})
    counted += Counter({cause: row["dropped"] for cause, row in store.ledger.causes.items()})
    assert counted == expected
    assert len(rows) == account["rows"] == len(store) + sum(counted.values())
    assert [info.id for info in store.info] == [row["id"] for row in CLEAN]
    assert account["comparisons"] == len(rows) - sum(n for kind, n in expected.items() if kind not in LEDGER)


ASKED = {"empty", "bidirectional", "leaked"}
"""Dropped only where a policy says so."""


@pytest.mark.parametrize("kind", sorted(DIRT))
def test_too_much_dirt_stops_the_run(kind):
    rows = [*CLEAN[:4], *(DIRT[kind](n) for n in range(4))]
    policies = dict.fromkeys(ASKED, "drop")
    reason = kind.split()[0]
    if reason in LEDGER:
        splits = load_splits(Data(train="-", **policies), 0, train=rows, valid=HELD_OUT)
        assert build_store(splits.train, RENDERER, training=True).ledger.causes[reason]["dropped"] == 4
    elif reason in ASKED:
        splits = load_splits(Data(train="-", **policies), 0, train=rows, valid=HELD_OUT)
        assert splits.report["splits"]["train"]["findings"][reason]["dropped"] == 4
    else:
        with pytest.raises(Exception, match=rf"4 of 8 rows of train cannot be used \({reason} 4\)"):
            load_splits(Data(train="-", **policies), 0, train=rows, valid=HELD_OUT)
