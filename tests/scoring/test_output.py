"""Rows to bytes and parts to a file, read back with other libraries."""

import datetime
import gzip
import io
import json
import math

import pyarrow.parquet as pq
import pytest

from bradley.errors import DataError, UserError
from bradley.scoring.output import KINDS, suffix_of

FIRST = [{"a": 1, "score": 0.1 + 0.2, "note": None}, {"a": 2, "score": 5e-324, "note": None}]
SECOND = [{"a": 3, "score": None, "note": "naïve \u2028", "error": "shape: x"}]


def joined(tmp_path, suffix, *parts):
    kind, paths, target = KINDS[suffix], [], io.BytesIO()
    for number, rows in enumerate(parts):
        paths.append(tmp_path / f"{number}{suffix}")
        paths[-1].write_bytes(kind.encode(rows))
    kind.join(paths, target)
    return target.getvalue()


def test_lines_keep_every_float_and_stay_lines(tmp_path):
    data = joined(tmp_path, ".jsonl", FIRST, SECOND)
    assert [json.loads(line) for line in data.decode().split("\n")[:-1]] == FIRST + SECOND
    assert b"0.30000000000000004" in data and "naïve".encode() in data


def test_gzip_members_unpack_to_the_same_lines_and_hold_no_clock(tmp_path):
    data = joined(tmp_path, ".jsonl.gz", FIRST, SECOND)
    assert gzip.decompress(data) == joined(tmp_path, ".jsonl", FIRST, SECOND)
    assert data[4:8] == bytes(4)  # RFC 1952: the time of the first member


def test_parquet_parts_get_the_columns_of_all(tmp_path):
    table = pq.read_table(io.BytesIO(joined(tmp_path, ".parquet", FIRST, SECOND)))
    expected = [{"error": None, **row} for row in FIRST + SECOND]
    assert table.to_pylist() == expected
    assert str(table.schema.field("score").type) == "double" and str(table.schema.field("note").type) == "string"


def test_dates_become_text_and_what_json_does_not_know_is_refused():
    assert KINDS[".jsonl"].encode([{"day": datetime.date(2024, 7, 26)}]) == b'{"day": "2024-07-26"}\n'
    assert json.loads(KINDS[".jsonl"].encode([{"x": "\ud800"}])) == {"x": "\ud800"}
    for value in (math.nan, b"bytes"):
        with pytest.raises(DataError, match="cannot be written as JSON") as caught:
            KINDS[".jsonl"].encode([{"x": value}])
        assert ".parquet" in caught.value.hint


def test_a_column_of_two_types_is_refused_by_parquet():
    with pytest.raises(DataError, match="cannot be written as Parquet") as caught:
        KINDS[".parquet"].encode([{"prompt": "Q"}, {"prompt": [{"role": "user"}]}])
    assert ".jsonl" in caught.value.hint


def test_suffixes():
    assert [suffix_of(f"a.b{suffix}") for suffix in KINDS] == list(KINDS)
    with pytest.raises(UserError, match=r"scores.csv is not a kind of file that can be written"):
        suffix_of("scores.csv")
