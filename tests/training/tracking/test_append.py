"""Files of a run that goes on: what the checkpoint knew of them stays, what came after it is cut off."""

import csv
import hashlib
import json
import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bradley.errors import CheckpointError
from bradley.training.tracking.jsonl_csv import COLUMNS, CsvTable, JsonLines


def test_a_file_that_goes_on_ends_where_the_checkpoint_knew_it(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = JsonLines(path, ("train",))
    lines.event({"kind": "train", "text": "né"})
    known = lines.sync()
    lines.event({"kind": "train", "text": "lost"})
    lines.close()
    first = b'{"kind": "train", "text": "n\\u00e9"}\n'
    assert known == {"bytes": len(first), "sha256": hashlib.sha256(first).hexdigest()}
    assert known["bytes"] < path.stat().st_size
    again = JsonLines(path, ("train",), known)
    again.event({"kind": "train", "text": "next"})
    again.close()
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["né", "next"]


def test_a_file_that_lacks_what_the_checkpoint_knows_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match="has 3 bytes, and 4 at the checkpoint"):
        JsonLines(tmp_path / "a.jsonl", (), 4)
    with pytest.raises(CheckpointError, match=r"gone\.jsonl is missing"):
        JsonLines(tmp_path / "gone.jsonl", (), 1)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(CheckpointError, match=r"pipe\.jsonl is no file"):
        JsonLines(tmp_path / "pipe.jsonl", (), 1)


@given(lines=st.lists(st.text(st.characters(exclude_categories=("Cs",))), min_size=1, max_size=6), data=st.data())
def test_any_change_before_the_checkpoint_is_refused_and_nothing_is_cut(tmp_path_factory, lines, data):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    file = JsonLines(path)
    for line in lines:
        file.event({"text": line})
    known = file.sync()
    file.event({"text": "after the checkpoint"})
    file.close()
    content = path.read_bytes()
    at = data.draw(st.integers(0, known["bytes"] - 1))
    bit, more = data.draw(st.integers(0, 7)), data.draw(st.sampled_from([b"", b"x", b"\n", b"{}\n"]))
    harmed = content[:at] + (more or bytes([content[at] ^ 1 << bit])) + content[at + 1 - bool(more) :]
    assume(harmed[: known["bytes"]] != content[: known["bytes"]])
    path.write_bytes(harmed)
    with pytest.raises(CheckpointError, match="was changed"):
        JsonLines(path, (), known)
    assert path.read_bytes() == harmed


def test_the_hash_goes_on_where_the_file_does(tmp_path):
    path = tmp_path / "a.jsonl"
    first = JsonLines(path)
    first.event({"text": "é" * 2**20})
    known = first.sync()
    first.close()
    again = JsonLines(path, (), known)
    again.event({"text": "next"})
    found = again.sync()
    again.close()
    data = path.read_bytes()
    assert found == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


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
