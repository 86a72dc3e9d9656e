"""Files and rows: every fault is named by file and line, and nothing that is right is refused."""

import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.sources import json_rows, resolve, text
from bradley.data.sources.files import read_rows
from bradley.errors import BradleyError, DataError, UserError
from tests.helpers import needs_data, read_gz


def rows_of(path):
    return [row for _, row in read_rows(path)]


def names_of(sources):
    return [source.name.rpartition("/")[2] for source in resolve(sources)]


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
    everything = str(tmp_path / "*")
    assert names_of(everything) == ["a.json", "b.jsonl", "c.jsonl.gz"]
    named = [str(tmp_path / "c.jsonl.gz"), str(tmp_path / "a.*"), ""]
    assert names_of(named) == ["c.jsonl.gz", "a.json"]
    assert {source.given for source in resolve(everything)} == {everything}
    assert resolve("") == []


@pytest.mark.parametrize(
    ("source", "error", "says", "hint"),
    [
        ("train.json", DataError, "does not exist", "train.jsonl"),
        ("datta/train.jsonl", DataError, "does not exist", "data?"),
        ("*.json", DataError, "matches no file", "ls "),
        ("data", DataError, "is a folder without data files", ".csv.gz"),
        ("rows.txt", UserError, "not a file of a known kind", ".jsonl.gz"),
        ("data?split=train", UserError, "is no dataset saved", "leave out ?split=train"),
    ],
)
def test_a_source_that_names_no_data_file_is_an_error(tmp_path, source, error, says, hint):
    (tmp_path / "train.jsonl").touch()
    (tmp_path / "rows.txt").touch()
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
    assert names_of(str(tmp_path / "a[1].jsonl")) == ["a[1].jsonl"]


def test_a_name_that_is_not_here_may_be_one_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        resolve("Anthropic/hh-rlhf")
    assert caught.value.hint == "did you mean hub:Anthropic/hh-rlhf?"
    (tmp_path / "Anthropic" / "hh_rlhf").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        resolve("Anthropic/hh-rlhf")
    assert caught.value.hint == "did you mean Anthropic/hh_rlhf or hub:Anthropic/hh-rlhf?"


@given(st.lists(st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.integers(), st.none()), max_size=3)))
def test_whatever_json_writes_is_read_back_from_every_kind_of_file(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    rows = [*rows, {"last": "\u2028\x0b\x0c\x85 is not a line"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode() for row in rows).encode()
    expected = [json.loads(line) for line in lines.split(b"\n")]
    texts = {"a.jsonl": lines, "a.json": b"[" + lines.replace(b"\n", b",") + b"]"}
    texts["b.json"] = b'{"data": ' + texts["a.json"] + b"}"
    for name, content in texts.items():
        (folder / name).write_bytes(content)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
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
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "not JSON"),
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
        (b'"text"', "holds text"),
        (b'{"a": 1}\n[]', "line 2: not JSON: Extra data"),
        (b'{\n"a": 1}\n{"a": 2}', "line 3: not JSON: Extra data"),
        (b'{"a": 1}\n{"a": 2', "line 2: not JSON: Expecting ',' delimiter"),
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


def test_the_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a.b.jsonl.gz").write_bytes(b"abc")
    (source,) = resolve(str(tmp_path / "a.b.jsonl.gz"))
    assert source.digest() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert source.stem == "a.b" and source.name == source.given == str(tmp_path / "a.b.jsonl.gz")


def test_rows_can_be_read_twice(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n{"n": 2}\n')
    (source,) = resolve(str(tmp_path / "a.jsonl"))
    assert list(source.rows()) == list(source.rows()) == [(1, {"n": 1}), (2, {"n": 2})]


def test_a_fault_says_at_which_byte(tmp_path):
    before = b'\xef\xbb\xbf{"a": "\xc3\xa9"}\r\n\n'
    for line, wrong in ((b'{"b": "\xc3\xa9" 3}', b"3"), (b'{"b": "\xc3\xa9\xff"}', b"\xff")):
        found = fault_of(tmp_path, "a.jsonl", before + line + b"\n{}\n").message
        assert "a.jsonl, line 3: " in found and f"byte {len(before) + line.index(wrong)})" in found
        found = fault_of(tmp_path, "a.json", b"[" + (before + line).replace(b"\r\n\n", b",\n\n")[3:] + b"]").message
        assert "a.json, line 3: " in found and f"byte {len(before) - 3 + line.index(wrong) + 1})" in found


@given(
    st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=2), min_size=1, max_size=4), st.data()
)
def test_a_torn_last_line_is_named_by_line_and_byte(tmp_path_factory, rows, data):
    whole = "\n".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode() for row in rows).encode()
    start = whole.rfind(b"\n") + 1
    cut = data.draw(st.integers(start + 1, len(whole) - 1))
    path = tmp_path_factory.mktemp("torn") / "a.jsonl"
    path.write_bytes(whole[:cut])
    read = []
    with pytest.raises(DataError, match="has no line end, so the file may have been cut short") as caught:
        read.extend(row for _, row in read_rows(path))
    assert read == [json.loads(line) for line in whole[:start].split(b"\n")[:-1]]
    assert f"line {len(rows)}: " in caught.value.message
    place = int(caught.value.message.partition("byte ")[2].split(")")[0].split(" ")[-1])
    assert start <= place <= cut


def test_a_fault_elsewhere_does_not_say_that_the_file_was_cut(tmp_path):
    for lines in (b'{"a": 1\n{"a": 2}', b'{"a": 1}\n["a"]'):
        assert "cut short" not in fault_of(tmp_path, "a.jsonl", lines).message


def test_a_line_of_ten_megabytes_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n{"text": "' + b"x" * 10**7 + b'"}\n{"n": 3}\n')
    assert [len(str(row)) for row in rows_of(tmp_path / "a.jsonl")] == [8, 10**7 + 12, 8]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_what_is_too_long_to_be_held_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(text, "LONGEST", 1000)
    monkeypatch.setattr(json_rows, "LONGEST", 1000)
    form = {"a.jsonl": b'{"a": "%s"}', "a.json": b'[{"a": "%s"}]', "a.csv": b"a,%s\n"}[name]
    fits = form % (b"x" * (1002 - len(form)))
    assert len(fits) == 1000
    (tmp_path / name).write_bytes(fits + (b"1,2" if name == "a.csv" else b""))
    assert len(rows_of(tmp_path / name)) == 1
    assert "more than 1000 bytes" in fault_of(tmp_path, name, fits.replace(b"x", b"xx", 1)).message


def test_real_data_is_read_as_other_tools_read_it():
    path = needs_data("human_mix", "val.jsonl.gz")
    assert rows_of(path) == read_gz(path)


ROWS = [{"prompt": f"Which box is {number}?", "chosen": "Two.", "rejected": "Three."} for number in range(3)]


@given(
    st.sampled_from([*sorted(json_rows.OF_EVERY_ROW), "System", "test", "validation", "more"]),
    st.sampled_from([ROWS[:1], ROWS[1:]]),
    st.sampled_from(["Answer in French.", [{"role": "system", "content": "Be brief."}], {"text": "Be brief."}]),
    st.booleans(),
)
def test_what_stands_beside_the_rows_of_a_document_is_no_loss(tmp_path_factory, key, rows, text, first):
    path = tmp_path_factory.getbasetemp() / "beside.json"
    other = text if key.lower() in json_rows.OF_EVERY_ROW else rows
    whole = {key: other, "data": ROWS} if first else {"data": ROWS, key: other}
    path.write_text(json.dumps(whole))
    with pytest.raises(DataError, match=f'{key}.* beside "data"') as caught:
        rows_of(path)
    assert caught.value.hint
    # What describes the file passes, and so does an empty value.
    about = {"version": "1.0", "license": "MIT", "description": "Rows of boxes. " * 30, "authors": [{"name": "A"}]}
    path.write_text(json.dumps({**about, "data": ROWS, key: type(other)()}))
    assert rows_of(path) == ROWS
