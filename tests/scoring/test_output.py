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


def encoded(rows, suffix=".parquet", kind=None, earlier=()):
    places = [f"in.jsonl, row {number}" for number in range(1, len(rows) + 1)]
    return (kind or KINDS[suffix]()).encode(rows, places, list(earlier))


def joined(tmp_path, suffix, *parts):
    kind, paths, target = KINDS[suffix](), [], io.BytesIO()
    for number, rows in enumerate(parts):
        data = encoded(rows, suffix, kind, paths)
        paths.append(tmp_path / f"{number}{suffix}")
        paths[-1].write_bytes(data)
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
    assert encoded([{"day": datetime.date(2024, 7, 26)}], ".jsonl") == b'{"day": "2024-07-26"}\n'
    for row in ({"x": "\ud800"}, {"\udfff": ["a", {"b": "\udc80"}]}):
        assert json.loads(encoded([row], ".jsonl")) == row
    for value in (math.nan, b"bytes", [[1.0, -math.inf]], {"a": {1, 2}}):
        with pytest.raises(DataError, match="row 2, field x: cannot be written as JSON") as caught:
            encoded([{"x": 1}, {"a": 1, "x": value}], ".jsonl")
        assert ".parquet" in caught.value.hint


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {
    "surrogate": "\ud800",
    "surrogate inside": {"a": ["\udfff"]},
    "surrogate in a key": {"\ud800": 1},
    "large integer": 2**63,
    "larger integer": -(2**70),
    "empty object": {},
    "mixed list": [1, "a"],
    "deep list": nested(60),
    "endless list": nested(400),
}
"""Values without a form in Parquet, by kind."""


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_row_and_field_of_a_value_that_arrow_refuses_are_named(value):
    for rows in ([{"a": 1, "x": None}] * 6 + [{"a": 1, "x": value}] + [{"a": 2, "x": None}] * 3,):
        with pytest.raises(DataError, match=r"in.jsonl, row 7, field x: cannot be written as Parquet") as caught:
            encoded(rows)
        assert ".jsonl" in caught.value.hint and "\n" not in caught.value.message


def test_a_field_name_that_arrow_refuses_is_named():
    with pytest.raises(DataError, match=r"row 1, field \\udc80: cannot be written as Parquet"):
        encoded([{"a": 1, "\udc80": 2}])


@pytest.mark.parametrize(
    "first, later",
    [
        ("text", [{"role": "user"}]),
        (1, "text"),
        (True, 1),
        ("text", 2.5),
        ({"a": 1}, {"a": "text"}),
        ([1], ["a"]),
        (2**60 + 1, 0.5),  # the earlier integer has no float
        (0.5, 2**60 + 1),
    ],
    ids=str,
)
def test_a_field_of_another_type_is_found_at_its_part(first, later, tmp_path):
    part = tmp_path / "000000.parquet"
    part.write_bytes(encoded([{"b": 1, "x": first}]))
    with pytest.raises(DataError, match=r"in.jsonl, row 3, field x: cannot be written as Parquet") as caught:
        encoded([{"b": 1}, {"b": 1, "x": None}, {"b": 1, "x": later}, {"b": 1}], earlier=[part])
    assert ".jsonl" in caught.value.hint


def test_a_wider_type_of_a_later_part_is_no_fault(tmp_path):
    parts = [[{"x": None, "y": []}], [{"x": 1, "y": [1]}], [{"x": 2.5, "z": {"a": 1}}], [{"z": {"b": "c"}}]]
    table = pq.read_table(io.BytesIO(joined(tmp_path, ".parquet", *parts))).to_pylist()
    assert [row["x"] for row in table] == [None, 1.0, 2.5, None]
    assert [row["z"] for row in table][2:] == [{"a": 1, "b": None}, {"a": None, "b": "c"}]


def test_suffixes():
    assert [suffix_of(f"a.b{suffix}") for suffix in KINDS] == list(KINDS)
    with pytest.raises(UserError, match=r"scores.csv is not a kind of file that can be written"):
        suffix_of("scores.csv")
