"""Files of .xz: read whole or refused with the place of the fault, in memory that no file can break."""

import json
import lzma
import subprocess
import tracemalloc
from shutil import which

import pytest

from bradley.data.sources import resolve, text
from bradley.data.sources.files import read_rows
from bradley.errors import DataError, UserError
from tests.data import packed
from tests.data.packed import PLAIN, ROWS, rows_of
from tests.helpers import needs_data

PACKED = lzma.compress(PLAIN)


def written(tmp_path, content, name="a.jsonl.xz"):
    return packed.written(tmp_path, content, name)


def fault_of(tmp_path, content, name="a.jsonl.xz"):
    return packed.fault_of(tmp_path, content, name)


def test_every_kind_of_text_is_read(tmp_path):
    table = b"n,text\n" + b"".join(f"{row['n']},{row['text']}\n".encode() for row in ROWS)
    contents = {"a.jsonl": PLAIN, "b.json": json.dumps(ROWS).encode(), "c.csv": table}
    contents["d.tsv"] = table.replace(b",", b"\t")
    for name, content in contents.items():
        written(tmp_path, lzma.compress(content), f"{name}.xz")
    sources = resolve(str(tmp_path))
    assert [source.stem for source in sources] == ["a", "b", "c", "d"]
    for source in sources:
        assert [row for _, row in source.rows()] == ROWS


@pytest.mark.parametrize("block", [1, 7, 100, 2**17])
def test_streams_are_read_one_after_the_other_however_they_are_cut(tmp_path, block, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", block)
    streams = [lzma.compress(PLAIN[:100]), lzma.compress(b""), lzma.compress(PLAIN[100:])]
    assert rows_of(written(tmp_path, b"".join(streams))) == ROWS
    assert rows_of(written(tmp_path, (b"\0" * 4).join(streams) + b"\0" * 512)) == ROWS
    for cut in (1, len(streams[2]) - 1):
        assert "ends too early" in fault_of(tmp_path, b"".join(streams)[:-cut]).message


@pytest.mark.parametrize("block", [64, 2**17])
def test_every_cut_is_found_and_whole_rows_before_it_are_right(tmp_path, block, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", block)
    for cut in range(0, len(PACKED), 5):
        read = []
        path = written(tmp_path, PACKED[:cut])
        with pytest.raises(DataError, match=r"is not a whole xz file: it ends too early, after \d+ bytes of text"):
            read.extend(row for _, row in read_rows(path))
        assert read == ROWS[: len(read)]


def test_a_flipped_bit_never_changes_a_row(tmp_path):
    for place in range(6, len(PACKED), 3):
        broken = bytearray(PACKED)
        broken[place] ^= 4
        assert "is not a whole xz file" in fault_of(tmp_path, bytes(broken)).message


@pytest.mark.parametrize("rest", [b"{}", b"\0\0\0\0x", PLAIN, b"PK\x03\x04"])
def test_what_follows_the_end_is_an_error(tmp_path, rest):
    found = fault_of(tmp_path, PACKED + rest)
    assert f"something else follows its end, after {len(PLAIN)} bytes of text" in found.message
    assert "xz -t" in found.hint


def test_wrong_names_are_recognized(tmp_path):
    found = fault_of(tmp_path, PACKED, "a.jsonl")
    assert "begins like a .xz file" in found.message and found.hint.startswith("rename it: mv ")
    found = fault_of(tmp_path, PLAIN)
    assert "does not begin like one" in found.message and found.hint.endswith("a.jsonl")
    for name, hint in (("a.jsonl.zst", "unzstd "), ("a.csv.bz2", "bunzip2 "), ("a.zip", "unzip ")):
        with pytest.raises(UserError, match="is not a file of a known kind") as caught:
            resolve(str(written(tmp_path, b"", name)))
        assert caught.value.hint.startswith(f"unpack it: {hint}")


def test_a_bomb_is_stopped_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LARGEST_UNCHECKED", 2**24)
    packer = lzma.LZMACompressor()
    content = b"".join(packer.compress(b"x" * 2**20) for _ in range(40)) + packer.flush()
    assert len(content) < 2**18
    tracemalloc.start()
    try:
        assert "which no text does" in fault_of(tmp_path, content).message
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text.LARGEST_UNCHECKED < peak < 3 * text.LARGEST_UNCHECKED, "the line so far, and a copy of it at most"


def test_a_dictionary_beyond_measure_is_refused(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**28}]
    assert "is not a whole xz file" in fault_of(tmp_path, lzma.compress(PLAIN, filters=filters)).message


@pytest.mark.skipif(not which("xz"), reason="needs the program xz")
def test_what_the_program_writes_is_read(tmp_path):
    written(tmp_path, PLAIN, "a.jsonl")
    subprocess.run(["xz", "-9e", tmp_path / "a.jsonl"], check=True)
    assert rows_of(tmp_path / "a.jsonl.xz") == ROWS


def test_a_public_file_is_read():
    path = needs_data("layouts", "pku_saferlhf_10k.jsonl.xz")
    assert rows_of(path) == [json.loads(line) for line in lzma.decompress(path.read_bytes()).splitlines()]
