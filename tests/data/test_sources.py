"""Files and rows: every fault is named by file and line, and nothing that is right is refused."""

import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.sources import read_rows, resolve, sha256, stem
from bradley.errors import BradleyError, DataError, UserError


def rows_of(path):
    return [row for _, row in read_rows(path)]


def fault_of(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        rows_of(path)
    assert str(path) in caught.value.message and caught.value.hint
    return caught.value


def test_keys_that_a_message_quotes_stay_on_one_line(tmp_path):
    assert r"the keys a\nb, c" in fault_of(tmp_path, "x.json", b'{"a\\nb": 1, "c": 2}').message


def test_globs_are_sorted_and_files_keep_their_order(tmp_path):
    for name in ("b.jsonl", "a.json", "c.jsonl.gz"):
        (tmp_path / name).touch()
    assert [file.name for file in resolve(str(tmp_path / "*"))] == ["a.json", "b.jsonl", "c.jsonl.gz"]
    named = [str(tmp_path / "c.jsonl.gz"), str(tmp_path / "a.*"), ""]
    assert [file.name for file in resolve(named)] == ["c.jsonl.gz", "a.json"]
    assert resolve("") == []


@pytest.mark.parametrize(
    ("source", "error", "says", "hint"),
    [
        ("train.json", DataError, "does not exist", "train.jsonl"),
        ("datta/train.jsonl", DataError, "does not exist", "data?"),
        ("*.json", DataError, "matches no file", "ls "),
        ("data", DataError, "is a folder", "data/*.jsonl"),
        ("rows.csv", UserError, "not a file of a known kind", ".jsonl.gz"),
    ],
)
def test_a_source_that_names_no_data_file_is_an_error(tmp_path, source, error, says, hint):
    (tmp_path / "train.jsonl").touch()
    (tmp_path / "rows.csv").touch()
    (tmp_path / "data").mkdir()
    with pytest.raises(error, match=says) as caught:
        resolve(str(tmp_path / source))
    assert hint in caught.value.hint


def test_one_file_by_two_names_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=r"b\.jsonl is given twice"):
        resolve(str(tmp_path / "*.jsonl"))


def test_a_file_with_a_bracket_in_its_name_is_a_file(tmp_path):
    (tmp_path / "a[1].jsonl").touch()
    assert resolve(str(tmp_path / "a[1].jsonl")) == [tmp_path / "a[1].jsonl"]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.integers(), st.none()), max_size=3)))
def test_whatever_json_writes_is_read_back_from_every_kind_of_file(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    rows = [*rows, {"last": "\u2028\x0b\x0c\x85 is not a line"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode() for row in rows).encode()
    expected = [json.loads(line) for line in lines.split(b"\n")]
    texts = {"a.jsonl": lines, "a.json": b"[" + lines.replace(b"\n", b",") + b"]"}
    texts["b.json"] = b'{"data": ' + texts["a.json"] + b"}"
    for name, text in texts.items():
        (folder / name).write_bytes(text)
        (folder / f"{name}.gz").write_bytes(gzip.compress(text))
        assert rows_of(folder / name) == rows_of(folder / f"{name}.gz") == expected


def test_marks_blank_lines_and_carriage_returns_are_no_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n\r\n   \n{"n": 2}')
    assert list(read_rows(path)) == [(1, {"n": 1}), (4, {"n": 2})]
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf[{"n": 1},\r\n{"n": 2}]\n')
    assert list(read_rows(path)) == [(1, {"n": 1}), (2, {"n": 2})]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"a": 1', "not JSON"),
        (b'{"a": "\xff"}', "byte 0xff is not UTF-8"),
        (b'{"a": 1, "a": 2}', "not JSON: the key 'a' is there twice"),
        (b'{"b": [{"a": 1, "a": 1}]}', "not JSON: the key 'a' is there twice"),
        (b'{"a": NaN}', "not JSON: NaN is not a JSON number"),
        (b'{"a": [-Infinity]}', "not JSON: -Infinity is not a JSON number"),
        (b'["a"]', "found a list"),
        (b"null", "found null"),
        (b'{"a": 1} {"a": 2}', "not JSON: Extra data"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, says):
    assert f"a.jsonl, line 3: {says}" in fault_of(tmp_path, "a.jsonl", b'{"a": 0}\n\n' + line + b"\n{}").message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[\n{"a": 1},\n{"a": }]', "line 3: not JSON"),
        (b'[\n{"a": 1},\n{"a": "\xe9"}]', "line 3: byte 0xe9"),
        (b'[{"a": 1}, 2]', "row 2: found a number"),
        (b'{"rows": []}', "an object with the keys rows"),
        (b'"text"', "holds a string"),
        (b'{"a": 1}\n{"a": 2}', "line 2: not JSON: Extra data"),
    ],
)
def test_a_broken_list_is_named(tmp_path, content, says):
    assert says in fault_of(tmp_path, "a.json", content).message


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_file_without_rows_is_an_error(tmp_path, name, content):
    assert "holds no rows" in fault_of(tmp_path, name, content).message


def test_a_document_over_several_lines_is_recognized(tmp_path):
    assert ".json file" in fault_of(tmp_path, "a.jsonl", b'[\n  {"a": 1}\n]').hint


def test_broken_archives_are_named(tmp_path):
    lines = [json.dumps({"a": hashlib.sha256(str(i).encode()).hexdigest()}) for i in range(99)]
    whole = gzip.compress("\n".join(lines).encode())
    for content in (whole[: len(whole) // 2], whole[:-4], lines[0].encode(), whole[:10] + b"\xff" * 20 + whole[30:]):
        assert "not a whole gzip file" in fault_of(tmp_path, "a.jsonl.gz", content).message


def test_a_file_that_vanished_is_an_error_of_ours(tmp_path):
    with pytest.raises(BradleyError, match="cannot be read"):
        rows_of(tmp_path / "a.jsonl")


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"abc")
    assert sha256(tmp_path / "a.jsonl") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert stem(tmp_path / "a.b.jsonl.gz") == "a.b"
