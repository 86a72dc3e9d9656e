"""A request to stop is heeded while rows are read, cleaned and merged, and not only once they are tokenised."""

import contextlib
import json
import os
import signal

import pytest

from bradley.common import signals
from bradley.config import Data
from bradley.data import filters, table
from bradley.data.formats import to_comparisons
from bradley.data.load import load_splits
from bradley.data.table import digest, select
from bradley.data.tokenizer import texts_of

ROWS, AT = 1000, 300


def rows(heard=None):
    """Rows of a source; a signal comes at one of them, and those that are read are counted."""
    for number in range(ROWS):
        if heard is not None:
            heard.append(number)
            if number == AT:
                os.kill(os.getpid(), signal.SIGTERM)
        yield {"prompt": f"What follows {number // 2}?", "chosen": f"{number + 1}", "rejected": f"not {number}"}


def files(folder):
    """The same rows, in a file of each kind."""
    lines = [json.dumps(row) for row in rows()]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    (folder / "rows.json").write_text(f"[{','.join(lines)}]")
    (folder / "rows.csv").write_text("".join(f"{','.join(row.values())}\n" for row in [HEAD, *rows()]))
    return [folder / f"rows.{kind}" for kind in ("jsonl", "json", "csv")]


HEAD = {name: name for name in ("prompt", "chosen", "rejected")}


def test_rows_in_memory_are_read_no_further():
    heard = []
    with signals.listening(), pytest.raises(signals.StopRequested, match="SIGTERM"):
        load_splits(Data(valid_share=0.1), 0, train=rows(heard))
    assert len(heard) == AT + 1


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_file_is_read_no_further(tmp_path, monkeypatch, kind):
    path = next(path for path in files(tmp_path) if path.suffix == f".{kind}")
    added, add = [], table.ComparisonTable.add

    def signalled(self, *given):
        added.append(add(self, *given))
        if len(added) == AT:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(table.ComparisonTable, "add", signalled)
    with signals.listening(), pytest.raises(signals.StopRequested, match="SIGTERM"):
        load_splits(Data(train=str(path), valid_share=0.1), 0)
    assert len(added) == AT


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_file_that_is_read_before_its_first_row_is_read_no_further(tmp_path, kind):
    """The whole document, or the cells that show what a column holds."""
    path = next(path for path in files(tmp_path) if path.suffix == f".{kind}")
    with signals.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(signals.StopRequested) as caught:
            load_splits(Data(train=str(path), valid_share=0.1), 0)
    assert {"_without_repeats", "_readings"} & {entry.name for entry in caught.traceback}


PASSES = {
    "clean": lambda chosen: filters.apply_filters(chosen, {"identical": "keep"}),
    "merge": lambda chosen: filters.group_by_prompt(chosen, 8),
    "digest": digest,
    "texts": lambda chosen: list(texts_of(chosen)),
}
"""What goes through all rows after they were read."""


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_through_the_rows_is_given_up(name):
    chosen = select(to_comparisons(list(rows())[:4]))
    PASSES[name](chosen)
    with signals.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(signals.StopRequested):
            PASSES[name](chosen)


@pytest.mark.parametrize("listening", [contextlib.nullcontext, signals.listening])
def test_rows_are_all_read_where_nobody_asks(listening):
    with listening():
        splits = load_splits(Data(valid_share=0.1), 0, train=rows())
    assert len(splits.train) + len(splits.evals["valid"]) == ROWS
