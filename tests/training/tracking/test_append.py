"""Files of a run that goes on: what the checkpoint knew of them stays, what came after it is cut off."""

import csv
import json

import pytest

from bradley.errors import CheckpointError, DiskError
from bradley.training.tracking.jsonl_csv import COLUMNS, CsvTable, JsonLines


def test_a_file_that_goes_on_ends_where_the_checkpoint_knew_it(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = JsonLines(path, ("train",))
    lines.event({"kind": "train", "text": "né"})
    known = lines.sync()
    lines.event({"kind": "train", "text": "lost"})
    lines.close()
    assert known == len('{"kind": "train", "text": "n\\u00e9"}\n') < path.stat().st_size
    again = JsonLines(path, ("train",), known)
    again.event({"kind": "train", "text": "next"})
    again.close()
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["né", "next"]


def test_a_file_that_lacks_what_the_checkpoint_knows_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match="has 3 bytes, and 4 at the checkpoint"):
        JsonLines(tmp_path / "a.jsonl", (), 4)
    with pytest.raises(DiskError, match="gone"):
        JsonLines(tmp_path / "gone.jsonl", (), 1)


def test_a_table_that_goes_on_has_one_header(tmp_path):
    table = CsvTable(tmp_path / "a.csv")
    known = table.sync()
    table.close()
    again = CsvTable(tmp_path / "a.csv", known)
    again.event({"kind": "train", "step": 3})
    again.close()
    with (tmp_path / "a.csv").open(newline="") as file:
        read = list(csv.reader(file))
    assert read[0] == list(COLUMNS) and [row[0] for row in read[1:]] == ["3"]
