"""Malicious data are refused with exit code 3: no code that comes with them runs, and no memory is filled."""

import gzip
import json
import sys

import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset

from bradley.config import Data
from bradley.data.load import load_splits
from bradley.errors import DataError
from tests.security.artefacts import DEEP, GIGABYTE, array, pickled, script, torch_zip
from tests.security.children import tried

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
MOST_MEGABYTES = 900
"""A line may have 256 MB, and is held twice while it is read."""
ROWS = [{"prompt": f"p{i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(20)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def written(name, content):
    return lambda folder, canary: (folder / name).write_bytes(content(canary))


def sparse(name):
    def change(folder, canary):
        with (folder / name).open("wb") as file:
            file.truncate(GIGABYTE)

    return change


def bomb(name):
    """A gigabyte of blanks in a megabyte."""

    def change(folder, canary):
        member = gzip.compress(b" " * 2**24)
        (folder / name).write_bytes(member * (GIGABYTE // 2**24))

    return change


def beside_rows(name, content):
    """A folder of good rows and one file more."""

    def change(folder, canary):
        (folder / "rows.jsonl").write_text(LINES)
        (folder / name).write_bytes(content(canary))

    return change


def saved(change):
    """A dataset saved with `datasets`, and what is wrong with it."""

    def made(folder, canary):
        Dataset.from_list(ROWS).save_to_disk(folder / "saved")
        change(folder / "saved", canary)

    return made


def extension(folder, canary):
    """A column of a type that old versions of pyarrow unpickled."""
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled(canary)}
    names = ("prompt", "chosen", "rejected")
    schema = pyarrow.schema([pyarrow.field(name, pyarrow.string(), metadata=metadata) for name in names])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS[:1], schema), folder / "rows.parquet")


SOURCES = {
    **{
        f"a pickle called {name}": (name, written(name, pickled))
        for name in ("rows.jsonl", "rows.json", "rows.csv", "rows.parquet", "rows.jsonl.gz", "rows.csv.gz")
    },
    "a torch archive called rows.jsonl": ("rows.jsonl", written("rows.jsonl", torch_zip)),
    "an array of objects called rows.json": ("rows.json", written("rows.json", array)),
    "a packed pickle": ("rows.jsonl.gz", written("rows.jsonl.gz", lambda canary: gzip.compress(pickled(canary)))),
    "a loading script": ("", beside_rows("rows.py", script)),
    "an array of objects beside rows": ("", beside_rows("rows.npy", array)),
    "a pickle beside rows": ("", beside_rows("cache.pkl", pickled)),
    "a saved dataset of pickles": ("saved", saved(written("data-00000-of-00001.arrow", pickled))),
    "a saved dataset with a pickled state": ("saved", saved(written("state.json", pickled))),
    "a saved dataset with pickled information": ("saved", saved(written("dataset_info.json", pickled))),
    "a saved dataset as deep as a well": ("saved", saved(written("state.json", lambda canary: DEEP.encode()))),
    "rows as deep as a well": ("rows.jsonl", written("rows.jsonl", lambda canary: DEEP.encode())),
    "a list as deep as a well": ("rows.json", written("rows.json", lambda canary: DEEP.encode())),
    "a gigabyte of nothing in lines": ("rows.jsonl", sparse("rows.jsonl")),
    "a gigabyte of nothing in a list": ("rows.json", sparse("rows.json")),
    "a gigabyte of nothing in a table": ("rows.csv", sparse("rows.csv")),
    "a gigabyte in a megabyte": ("rows.jsonl.gz", bomb("rows.jsonl.gz")),
}


SLOW = ("a gigabyte of nothing in lines", "a gigabyte of nothing in a table")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly if name in SLOW else ()) for name in SOURCES]
)
def test_a_malicious_source_is_refused(tmp_path, name):
    source, change = SOURCES[name]
    folder, canary = tmp_path / "in", tmp_path / "canary"
    folder.mkdir()
    change(folder, canary)
    found = tried(lambda: load_splits(Data(train=str(folder / source)), 0))
    assert not canary.exists()
    assert found.code == DataError.exit_code, found
    assert found.megabytes < MOST_MEGABYTES and len(found.said) < 2000, found


def test_a_column_of_a_foreign_type_is_read_as_what_it_holds(tmp_path):
    extension(tmp_path, tmp_path / "canary")
    tried(lambda: load_splits(Data(train=str(tmp_path / "rows.parquet"), valid_share=0), 0))
    assert not (tmp_path / "canary").exists()


def test_good_rows_load_within_the_same_bounds(tmp_path):
    (tmp_path / "rows.jsonl").write_text(LINES)
    found = tried(lambda: load_splits(Data(train=str(tmp_path / "rows.jsonl")), 0))
    assert found.code == 0 and found.megabytes < MOST_MEGABYTES, found
