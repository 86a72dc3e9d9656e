"""Packed files: read whole or refused with the place of the fault, in memory that no file can break."""

import gzip
import json
import tracemalloc
import zlib

import pytest

from bradley.data.sources import resolve, text
from bradley.data.sources.files import read_rows
from bradley.errors import DataError
from tests.data import packed
from tests.data.packed import PLAIN, ROWS, rows_of

PACKED = gzip.compress(PLAIN)


def written(tmp_path, content, name="a.jsonl.gz"):
    return packed.written(tmp_path, content, name)


def fault_of(tmp_path, content, name="a.jsonl.gz"):
    return packed.fault_of(tmp_path, content, name)


def bomb(megabytes):
    """A gzip file that unpacks to so many times 2**20 equal bytes."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b"x" * 2**20) for _ in range(megabytes)) + packer.flush()


def test_every_cut_is_found_and_whole_rows_before_it_are_right(tmp_path):
    for cut in range(len(PACKED)):
        read = []
        path = written(tmp_path, PACKED[:cut])
        with pytest.raises(DataError, match=r"is not a whole gzip file: it ends too early, after \d+ bytes of text"):
            read.extend(row for _, row in read_rows(path))
        assert read == ROWS[: len(read)]


@pytest.mark.parametrize("block", [1, 7, 100, 2**17])
def test_members_are_read_one_after_the_other_however_they_are_cut(tmp_path, block, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", block)
    members = [gzip.compress(PLAIN[:100]), gzip.compress(b""), gzip.compress(PLAIN[100:])]
    assert rows_of(written(tmp_path, b"".join(members))) == ROWS
    assert rows_of(written(tmp_path, b"\0\0".join(members) + b"\0" * 512)) == ROWS
    for cut in (1, len(members[2]) - 1):
        assert "ends too early" in fault_of(tmp_path, b"".join(members)[:-cut]).message


@pytest.mark.parametrize("rest", [b"{}", b"\0\0x", PLAIN, b"PK\x03\x04"])
def test_what_follows_the_end_is_an_error(tmp_path, rest):
    found = fault_of(tmp_path, PACKED + rest).message
    assert f"something else follows its end, after {len(PLAIN)} bytes of text" in found


def test_a_flipped_bit_never_changes_a_row(tmp_path):
    for place in range(10, len(PACKED)):
        broken = bytearray(PACKED)
        broken[place] ^= 4
        try:
            assert rows_of(written(tmp_path, bytes(broken))) == ROWS
            assert place == len(PACKED) - 9, "bits that fill the last byte before the checksum up mean nothing"
        except DataError as error:
            assert str(tmp_path) in error.message


def test_wrong_names_are_recognized(tmp_path):
    for name in ("a.jsonl", "a.json", "a.csv", "a.parquet"):
        found = fault_of(tmp_path, PACKED, name)
        assert "begins like a .gz file" in found.message and found.hint.startswith("rename it: mv ")
    assert "begins like a .parquet file" in fault_of(tmp_path, b"PAR1" + b"0" * 99, "a.csv").message
    assert "begins like a .zst file" in fault_of(tmp_path, b"\x28\xb5\x2f\xfd" + b"0" * 99, "a.jsonl").message
    found = fault_of(tmp_path, PLAIN)
    assert "does not begin like one" in found.message and found.hint.endswith("a.jsonl")


def test_a_packed_file_of_every_kind_is_read(tmp_path):
    table = b"n,text\n" + b"".join(f"{row['n']},{row['text']}\n".encode() for row in ROWS)
    contents = {"a.jsonl": PLAIN, "a.json": json.dumps(ROWS).encode(), "a.csv": table}
    for name, content in contents.items():
        written(tmp_path, gzip.compress(content), f"{name}.gz")
    for source in resolve(str(tmp_path)):
        assert [row for _, row in source.rows()] == ROWS


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz"])
def test_a_bomb_is_stopped(tmp_path, name, monkeypatch):
    monkeypatch.setattr(text, "LARGEST_UNCHECKED", 2**20)
    found = fault_of(tmp_path, bomb(8), name).message
    unpacked = int(found.split("more than ")[1].split(",")[0])
    assert 2**20 < unpacked < 2 * 2**20 and "which no text does" in found


def test_what_packs_well_but_is_small_or_packs_less_is_no_bomb(tmp_path, monkeypatch):
    row = b'{"a": "' + b"x" * 2**20 + b'"}'
    assert len(rows_of(written(tmp_path, gzip.compress(row)))) == 1
    monkeypatch.setattr(text, "LARGEST_UNCHECKED", 1000)
    assert rows_of(written(tmp_path, PACKED)) == ROWS


def test_a_bomb_in_one_line_is_stopped_in_bounded_memory(tmp_path):
    content = bomb(160)
    assert len(content) < 2**18
    tracemalloc.start()
    try:
        assert "which no text does" in fault_of(tmp_path, content).message
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text.LARGEST_UNCHECKED < peak < 3 * text.LARGEST_UNCHECKED, "the line so far, and a copy of it at most"
