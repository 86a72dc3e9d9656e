"""Inputs that the system refuses, or that change while they are read: one line with the name, and exit code 3."""

import gzip
import json
import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.cli.main import run
from bradley.config import Data
from bradley.data.load import load_splits
from bradley.data.sources import resolve
from bradley.data.table import ComparisonTable
from bradley.errors import DataError, DiskError
from tests.helpers import comparisons

ROWS = [{"prompt": f"p {n}", "chosen": "yes", "rejected": "no"} for n in range(6)]
SUFFIXES = [".jsonl", ".json", ".csv", ".parquet"]


def write(path, rows=ROWS):
    """Rows in a file of any kind."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        path.write_text("\n".join([",".join(ROWS[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def appended(path):
    write(path, [*ROWS, ROWS[0]])


def replaced(path):
    write(path.with_name(f"new{path.suffix}"), ROWS[::-1])
    os.replace(path.with_name(f"new{path.suffix}"), path)


def edited(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b"yes", b"not"))
    os.utime(path, ns=(0, 12345))


def gone(path):
    path.unlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("change", [appended, replaced, edited, gone])
@pytest.mark.parametrize("moment", ["rows", "hash"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, suffix, change, moment):
    path = write(tmp_path / f"rows{suffix}")
    (source,) = resolve(str(path))
    rows = source.rows()
    next(rows)
    if moment == "rows":
        change(path)
    with pytest.raises(DataError, match=rf"rows\{suffix} (changed while it was read|cannot be read)"):
        list(rows)
        change(path)
        source.digest()


def test_a_saved_dataset_that_changes_while_it_is_read_is_an_error(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    (source,) = resolve(str(tmp_path / "saved"))
    assert len(list(source.rows())) == 6 and source.digest() == resolve(str(tmp_path / "saved"))[0].digest()
    os.utime(next((tmp_path / "saved").glob("*.arrow")), ns=(0, 12345))
    with pytest.raises(DataError, match=r"\.arrow changed while it was read"):
        source.digest()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch, suffix):
    path, usual = write(tmp_path / f"rows{suffix}"), Path.open

    def refusing(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refusing)
    (source,) = resolve(str(path))
    for read in (lambda: list(source.rows()), source.digest):
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            read()


@pytest.mark.parametrize(
    "given",
    [
        "~nosuchuser/x.jsonl",
        "~nosuchuser/*.jsonl",
        "~nosuchuser/x?split=train",
        "x" * 300 + ".jsonl",
        "x/" * 3000 + "y.jsonl",
        "nul\0.jsonl",
        "n\0/*.jsonl",
        "\udcff.jsonl",
        "\udcff/*.jsonl",
        "/dev/null",
        "/dev/zero",
        "line\nbreak.jsonl",
        "",
    ],
)
def test_a_name_that_the_system_refuses_is_a_data_error(given, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    if not given:
        assert resolve(given) == []
        return
    with pytest.raises(DataError) as caught:
        resolve(given)
    assert caught.value.hint


@given(st.text(min_size=1, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_is_found_or_refused_in_words(tmp_path, name):
    with pytest.raises(Exception) as caught:
        resolve(f"{tmp_path}/nothing/{name}.jsonl")
    assert type(caught.value).__mro__[-4].__name__ == "BradleyError"


def test_a_pipe_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match="is a pipe or a device"):
        resolve(str(tmp_path / "pipe.jsonl"))


def test_a_name_that_is_not_utf8_is_read(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/rows\xff.jsonl"))
    write(path)
    splits = load_splits(Data(train=str(path), valid_share=0.5), 0)
    assert len(splits.train) + len(splits.evals["valid"]) == 6
    json.dumps(splits.report).encode()


@pytest.mark.parametrize("limit", [0, 1, 100])
def test_a_limit_of_temporary_files_is_met_in_the_last_block(limit):
    table = ComparisonTable()
    for row in comparisons(3):
        table.add(row)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(DiskError, match="do not fit on the disk of temporary files"):
            _ = table.columns
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(table.columns.topic) == 3


def test_the_command_ends_with_three(tmp_path, capsys):
    assert run(["data", "~nosuchuser/x.jsonl"]) == 3
    assert capsys.readouterr().err.count("error:") == 1


@pytest.mark.parametrize("kind", ["timestamp", "date64", "date32", "nested"])
def test_a_date_beyond_the_years_of_python_is_told(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    far = {
        "timestamp": pa.array([2**62], pa.timestamp("us")),
        "date64": pa.array([2**62], pa.date64()),
        "date32": pa.array([2**31 - 1], pa.date32()),
        "nested": pa.array([[2**62]], pa.list_(pa.timestamp("us"))),
    }
    table = pa.table({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"], "at": far[kind]})
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds a date out of range"):
        load_splits(Data(train=str(tmp_path / "x.parquet")), 0)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".jsonl"])
def test_blank_lines_without_end_are_told(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("bradley.data.sources.text.MOST_BLANK", 1000)
    path = tmp_path / f"x{suffix}"
    text = b"prompt,chosen,rejected\na,b,c\n" if "csv" in suffix else json.dumps(ROWS[0]).encode() + b"\n"
    for blank in (b"\n", b"\r\n"):
        content = text + blank * 1001
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
        with pytest.raises(DataError, match="more than 1,000 blank lines"):
            load_splits(Data(train=str(path), valid_share=0.0, duplicate="keep"), 0)
        content = text + blank * 999 + text
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
        if "csv" not in suffix:
            load_splits(Data(train=str(path), valid_share=0.0, duplicate="keep"), 0)
