"""A small Parquet file cannot ask for much memory, and usual files are read as they are."""

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.data.sources import resolve
from bradley.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
TEXT = "x" * 1_200_000


def shared(count, text=TEXT):
    """A column that holds one text `count` times, in the memory of one."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [text])


def turns(sizes):
    """A column of lists of turns, all with the same text."""
    count = sum(sizes)
    turn = pa.StructArray.from_arrays([shared(count, "user"), shared(count)], ["role", "content"])
    return pa.ListArray.from_arrays([sum(sizes[:n]) for n in range(len(sizes) + 1)], turn)


BOMBS = {
    "shared text": lambda: {"prompt": shared(512)},
    "shared text in turns": lambda: {"prompt": turns([1] * 512)},
    "shared text, many rows": lambda: {"prompt": shared(5_000, "y" * 40_000)},
    "shared bytes": lambda: {"prompt": shared(512, TEXT.encode())},
    "one row that repeats a text": lambda: {"prompt": turns([5_000])},
    "one text": lambda: {"prompt": ["x" * 80_000_000]},
    "empty rows": lambda: {"prompt": pa.nulls(9_000_000, pa.int8())},
    "endless list": lambda: {"prompt": pa.ListArray.from_arrays([0, 10**7], pa.repeat(0, 10**7))},
}


def rows(path):
    (source,) = resolve(str(path))
    return [row for _, row in source.rows()]


@pytest.mark.parametrize(
    ("name", "store_schema"),
    [
        *((name, name != "one text") for name in BOMBS),
        *(pytest.param(name, name == "one text", marks=pytest.mark.nightly) for name in BOMBS),
    ],
)
def test_a_bomb_is_refused_before_its_rows_are_made(tmp_path, name, store_schema):
    path = tmp_path / "bomb.parquet"
    table = pa.table(BOMBS[name]())
    parquet.write_table(table, path, compression="zstd", row_group_size=10**8, store_schema=store_schema)
    assert path.stat().st_size < 300_000
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with pytest.raises(DataError, match="unpack to") as caught:
        rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.message.startswith(f"{path}: ") and peak < 128 * 1024**2
    assert pa.total_allocated_bytes() - before < 128 * 1024**2


VALUES = st.none() | st.text(max_size=5)
ROWS = st.fixed_dictionaries(
    {
        "prompt": VALUES,
        "turns": st.none() | st.lists(st.fixed_dictionaries({"role": VALUES, "content": VALUES}), max_size=3),
        "score": st.none() | st.floats(allow_nan=False),
        "tags": st.lists(st.lists(VALUES, max_size=2), max_size=2),
    }
)


@given(st.lists(ROWS, min_size=1, max_size=12), st.sampled_from([1, 5]))
@settings(suppress_health_check=list(HealthCheck))
def test_usual_rows_come_as_written(tmp_path, made, group):
    kind = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        [
            ("prompt", pa.string()),
            ("turns", pa.list_(kind)),
            ("score", pa.float64()),
            ("tags", pa.large_list(pa.list_(pa.string()))),
        ]
    )
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist(made, schema=schema), path, row_group_size=group)
    for row in made:
        turns = None if row["turns"] is None else [without_nulls(turn) for turn in row["turns"]]
        row["turns"] = turns
    assert rows(path) == made


def without_nulls(turn):
    return {key: value for key, value in turn.items() if value is not None}


def test_repeated_texts_of_a_usual_size_are_read(tmp_path):
    path = tmp_path / "rows.parquet"
    made = [{"prompt": "the same question " * 200, "number": n} for n in range(3000)]
    parquet.write_table(pa.Table.from_pylist(made), path)
    assert json.dumps(rows(path)) == json.dumps(made)
