"""Rows of the wrong shape: all of them are counted by reason in one pass, then the run stops or leaves them out."""

import gzip
import json
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.faults import MOST_FAULTS_ALONE, NEARLY_ALL
from bradley.data.formats import to_comparisons
from bradley.data.report import describe
from bradley.errors import DataError
from tests.data.loading import load, rows

USER, REPLY = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
FAULTS = {
    "null": {"chosen": None},
    "missing": {"rejected": ...},
    "kinds": {"chosen": [REPLY]},
    "role": {"chosen": [{"role": "robot", "content": "x"}], "rejected": [REPLY]},
    "last turn": {"chosen": [REPLY, USER], "rejected": [REPLY]},
    "system turn": {"prompt": [USER, {"role": "system", "content": "s"}], "chosen": [REPLY], "rejected": [REPLY]},
    "number": {"margin": "large"},
}
"""Changes to a row by the kind of the fault; `...` takes a key away."""


def faulty(kind, number=0):
    changed = rows(number + 1)[number] | FAULTS[kind]
    return {key: value for key, value in changed.items() if value is not ...}


def caught(train, **data):
    with pytest.raises(DataError) as found:
        load(Data(valid_share=0.0, **data), train=train)
    return found.value


def test_one_pass_reports_every_fault_by_reason_with_its_rows():
    train = rows(30)
    for place, kind in ((3, "null"), (8, "null"), (11, "role"), (20, "missing"), (21, "null"), (25, "null")):
        train[place] = faulty(kind, place)
    error = caught(train)
    assert error.lines == (
        "train rows: 4 of 30 rows (rows 4, 9, 22 and more), such as row 4: "
        "found null in chosen, wanted text or messages",
        "train rows, row 12: found the role 'robot' in the response, wanted one of system, user, assistant, tool",
        "train rows, row 21: found the keys id, prompt, chosen, wanted the key rejected",
    )
    assert error.hint == "correct or remove the rows; or leave faulty rows out: --data.faulty drop"


def test_the_faults_of_every_split_and_file_are_reported_together(tmp_path):
    for name in ("a", "b"):
        lines = [*rows(20, prefix=name), faulty("null"), faulty("number")]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    data = Data(train=str(tmp_path / "a.jsonl"), valid=str(tmp_path / "b.jsonl"))
    with pytest.raises(DataError) as found:
        load(data)
    assert [line.partition(", row")[0][-7:] for line in found.value.lines] == ["a.jsonl"] * 2 + ["b.jsonl"] * 2


def test_a_single_fault_reads_as_before_and_names_the_setting():
    error = caught([*rows(5), faulty("null", 5)])
    assert error.message == "train rows, row 6: found null in chosen, wanted text or messages"
    assert error.hint == "correct or remove the row; or leave faulty rows out: --data.faulty drop"


def test_the_error_speaks_of_the_file_where_nearly_every_row_has_the_same_fault():
    error = caught([*rows(2), *(faulty("null", n) for n in range(2, 40))])
    assert error.message.startswith(
        "train rows: 38 of 40 rows have the same fault, such as row 3: found null in chosen"
    )
    assert "data.columns" in error.hint and "module:function" in error.hint and "correct or remove" not in error.hint


def test_a_file_of_another_shape_is_given_up_early():
    def endless():
        yield from (faulty("null", 0) for _ in range(10 * MOST_FAULTS_ALONE))
        raise AssertionError("read to its end")

    error = caught(endless())
    assert f"{MOST_FAULTS_ALONE:,} of the first {MOST_FAULTS_ALONE:,} rows have the same fault" in error.message


@pytest.mark.parametrize("columns", [{"margin": "by"}, {}])
def test_rows_without_a_column_and_rows_on_which_a_function_fails_are_counted(columns, tmp_path, monkeypatch):
    (tmp_path / "rows_of_mine.py").write_text("def read(row):\n    return row | {'prompt': row['by']}\n")
    monkeypatch.chdir(tmp_path)
    train = [row | {"by": 1.0 if columns else "p"} for row in rows(20)]
    for place in (0, 5, 6):
        del train[place]["by"]
    how = {"columns": columns} if columns else {"format": "rows_of_mine:read"}
    assert "3 of 20 rows (rows 1, 6, 7)" in caught(train, **how).message
    left = load(Data(valid_share=0.0, faulty="drop", **how), train=train)
    assert [c.id for c in left.train] == [str(n) for n in range(20) if n not in (0, 5, 6)]


def test_dropped_rows_are_counted_on_screen_and_never_held_against_the_share():
    train = [*rows(10), *(faulty("null", n) for n in range(10, 19)), faulty("role", 19)]
    splits = load(Data(valid_share=0.0, faulty="drop", max_rejected_share=0.0), train=train)
    assert len(splits.train) == 10
    reason = "null in chosen, wanted text or messages"
    entry = splits.report["splits"]["train"]["rejected"][reason]
    assert (entry["count"], entry["examples"][0]["row"]) == (9, 11)
    assert f"left out 9 faulty ({reason}), such as train rows, row 11" in describe(splits.report)


def test_a_split_of_faults_alone_says_so():
    with pytest.raises(DataError, match=r"train is empty: 3 rows, none is left \(null in chosen"):
        load(Data(valid_share=0.0, faulty="drop"), train=[faulty("null")] * 3)


def test_rows_that_are_converted_one_by_one_still_raise():
    with pytest.raises(DataError, match="x, row 2: found null in chosen"):
        list(to_comparisons([*rows(1), faulty("null", 1)], name="x"))


kinds = st.lists(st.sampled_from(["clean"] * 3 + sorted(FAULTS)), min_size=1, max_size=30)


@given(train=kinds, valid=kinds, policy=st.sampled_from(["error", "drop"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_are_rows_used_and_rows_counted_in_every_split(train, valid, policy, tmp_path):
    paths = {}
    for name, made in (("train", train), ("valid", valid)):
        lines = [rows(n + 1, prefix=name)[n] if kind == "clean" else faulty(kind, n) for n, kind in enumerate(made)]
        # A clean row at the beginning shows the format.
        lines = [rows(1, prefix=f"{name} first ")[0] | {"id": "first"}, *lines]
        paths[name] = str(tmp_path / f"{name}.jsonl")
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    bad = sum(kind != "clean" for kind in train + valid)
    if policy == "error" and bad:
        with pytest.raises(DataError) as found:
            load(Data(**paths))
        # Each line says its number of rows, or speaks of a single row.
        said = [re.match(r".*?: (\d+) of |.*?, row \d+: |(\d+) more faulty", line) for line in found.value.lines]
        assert sum(int(line[1] or line[2] or 1) for line in said) == bad
        return
    splits = load(Data(**paths, faulty=policy))
    used = {"train": splits.train, "valid": splits.evals["valid"]}
    for name, made in (("train", train), ("valid", valid)):
        account = splits.report["splits"][name]
        counted = Counter({reason: entry["count"] for reason, entry in account["rejected"].items()})
        assert account["rows"] == len(made) + 1 == len(used[name]) + counted.total()
        expected = Counter(kind for kind in made if kind != "clean")
        assert sorted(counted.values()) == sorted(expected.values())
        assert [c.id for c in used[name]] == ["first", *(str(n) for n, kind in enumerate(made) if kind == "clean")]


@given(st.integers(1, 60), st.integers(0, 60))
def test_the_file_is_blamed_from_the_stated_share_on(bad, good):
    error = caught([*rows(good), *(faulty("null", good + n) for n in range(bad))])
    whole = bad > 1 and bad >= NEARLY_ALL * (bad + good)
    assert ("have the same fault" in error.message) is whole is ("data.columns" in error.hint)


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_broken_lines_are_faulty_rows(tmp_path, policy):
    lines = [json.dumps(row) for row in [*rows(25), faulty("null", 25)]]
    lines += ["{broken", json.dumps(rows(28)[27]), '{"prompt": "p", "prompt": "q"}', "[1]", "{also broken"]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    data = Data(train=str(tmp_path / "x.jsonl"), valid_share=0.0, faulty=policy)
    if policy == "drop":
        splits = load(data)
        assert [c.id for c in splits.train] == [*map(str, range(25)), "27"]
        assert sum(entry["count"] for entry in splits.report["splits"]["train"]["rejected"].values()) == 5
        return
    with pytest.raises(DataError) as found:
        load(data)
    said = "\n".join(found.value.lines)
    assert "row 26: found null in chosen" in said and "the key 'prompt' is there twice" in said
    assert "2 of 31 rows (rows 27, 31), such as row 27: not JSON: Expecting property name" in said
    assert "line 30: found a list, and an object is wanted" in said and len(found.value.lines) == 4


def test_a_reader_that_fails_tells_the_faults_before(tmp_path):
    lines = [*rows(25), faulty("null", 25), faulty("null", 26)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in lines).encode())
    (tmp_path / "x.jsonl.gz").write_bytes(whole + gzip.compress(b"{}" * 5000)[:-9])
    with pytest.raises(DataError) as found:
        load(Data(train=str(tmp_path / "x.jsonl.gz"), valid_share=0.0))
    assert len(found.value.lines) == 2 and "is not a whole gzip file" in found.value.lines[0]
    assert "2 of the first 27 rows (rows 26, 27), such as row 26: found null in chosen" in found.value.lines[1]
    with pytest.raises(DataError) as alone:
        load(Data(train=str(tmp_path / "x.jsonl.gz"), valid_share=0.0, faulty="drop"))
    assert len(alone.value.lines) == 1


def test_the_faults_of_a_split_are_in_its_report_by_file():
    account = load(Data(valid_share=0.0, faulty="drop"), train=[*rows(4), faulty("null", 4), faulty("role", 5)])
    (entry,) = account.report["splits"]["train"]["faulty"]
    assert (entry["file"], entry["rows"], entry["whole"]) == ("train rows", 6, True)
    assert [reason["rows"] for reason in entry["reasons"].values()] == [[5], [6]]
    assert load(Data(valid_share=0.0), train=rows(4)).report["splits"]["train"]["faulty"] == []


def test_rows_read_from_the_cache_keep_their_faults(tmp_path):
    lines = [row | {"chosen": "yes " * 300} for row in rows(1200)]
    lines[7] = faulty("null", 7)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    for _ in range(2):
        with pytest.raises(DataError, match="row 8: found null in chosen"):
            load(Data(train=str(tmp_path / "x.jsonl"), valid_share=0.0), cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir())
    for _ in range(2):
        splits = load(Data(train=str(tmp_path / "x.jsonl"), valid_share=0.0, faulty="drop"), cache=tmp_path / "cache")
        assert len(splits.train) == 1199 and "left out 1 faulty" in describe(splits.report)
