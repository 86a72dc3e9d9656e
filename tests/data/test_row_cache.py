"""The cache of rows: what is read from it is what reading gives, and what decides the rows makes a new entry."""

import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.config import Data, Render
from bradley.data import row_cache
from bradley.data.load import load_splits
from bradley.data.render import Renderer
from bradley.data.table import ComparisonTable, digest
from bradley.data.token_cache import LEDGER, ROW_FILES
from bradley.data.token_store import build_store
from bradley.errors import DataError
from tests.data.loading import rows, write
from tests.helpers import comparisons, tokenizer_for


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Rows of any number are cached."""
    monkeypatch.setattr(row_cache, "LEAST_BYTES", 0)
    monkeypatch.setattr(row_cache, "LEAST_ROWS", 0)


@pytest.fixture
def reads(monkeypatch):
    """Number of every row that a format converts."""
    seen = []
    real = ComparisonTable.add

    def counted(table, comparison, *more):
        seen.append(comparison.id)
        real(table, comparison, *more)

    monkeypatch.setattr(ComparisonTable, "add", counted)
    return seen


def everything(splits):
    """Every comparison, the report, and the hash of each split."""
    found = {name: list(split) for name, split in splits.by_name.items()}
    return found, splits.report, {name: digest(split) for name, split in splits.by_name.items()}


def dirty(count):
    """Rows with every fate: used, rejected, repeated, tied, with tags and sources."""
    found = rows(count)
    for place, row in enumerate(found):
        row |= {"source": f"s{place % 3}", "subset": "a" if place % 2 else "b", "weight": 1 + place % 4}
    return [*found, {**found[0], "id": 10**6}, {**found[1], "weight": 0}, {**found[2], "chosen": "\ud83d"}]


def test_a_second_load_converts_no_row_and_gives_the_same(tmp_path, reads):
    file, cache = write(tmp_path / "rows.jsonl.gz", dirty(60)), tmp_path / "cache"
    data = Data(train=file, valid_share=0.2, max_rejected_share=0.9, duplicate="drop", limit=30)
    plain = everything(load_splits(data, 3, cache=None))
    cold, count = everything(load_splits(data, 3, cache=cache)), len(reads)
    warm = everything(load_splits(data, 3, cache=cache))
    assert cold == plain == warm
    assert len(reads) == count > 60


def test_ids_and_groups_of_a_mapped_table_are_those_of_the_rows(tmp_path):
    same = [{**row, "prompt": f"p{place // 3}"} for place, row in enumerate(rows(30))]
    data = Data(train=write(tmp_path / "rows.jsonl.gz", same), group_by="prompt", valid_share=0.2)
    load_splits(data, 0, cache=tmp_path / "cache")
    warm, plain = load_splits(data, 0, cache=tmp_path / "cache"), load_splits(data, 0, cache=None)
    assert isinstance(warm.train.pool, row_cache.MappedTable)
    assert everything(warm) == everything(plain) and warm.train.pool.ids == {str(number) for number in range(30)}


def test_settings_after_reading_share_an_entry_and_settings_of_reading_do_not(tmp_path, reads):
    file, cache = write(tmp_path / "rows.jsonl.gz", rows(40)), tmp_path / "cache"
    load_splits(Data(train=file), 0, cache=cache)
    count = len(reads)
    for data in (Data(train=file, limit=5), Data(train=file, valid_share=0.5, identical="keep", max_per_prompt=1)):
        assert everything(load_splits(data, 1, cache=cache)) == everything(load_splits(data, 1, cache=None))
        del reads[count + 40 :]
    assert len(list(cache.iterdir())) == 1
    load_splits(Data(train=file, equal_scores="tie"), 0, cache=cache)
    load_splits(Data(train=file, columns={"source": "id"}), 0, cache=cache)
    assert len(list(cache.iterdir())) == 3


def test_a_reader_never_sees_a_setting_outside_of_the_key():
    odd = Data(limit=7, max_rejected_share=0.5, leaked="drop", equal_scores="tie", eval_sets={"more": "x.jsonl"})
    seen = row_cache.reading_settings(odd)
    assert seen == Data(equal_scores="tie") and seen.equal_scores == "tie"
    assert set(Data.model_fields) >= row_cache.AFTER_READING


def test_one_byte_of_a_file_of_equal_size_and_time_makes_a_new_entry(tmp_path):
    path, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    path.write_text("\n".join(map(json.dumps, rows(30))))
    before = path.stat()
    first = load_splits(Data(train=str(path)), 0, cache=cache)
    path.write_text(path.read_text().replace("yes 7", "yes 8"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = load_splits(Data(train=str(path)), 0, cache=cache)
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    assert everything(second) == everything(load_splits(Data(train=str(path)), 0, cache=None)) != everything(first)


def test_a_file_that_changes_while_it_is_read_is_no_entry(tmp_path, monkeypatch):
    path, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    path.write_text("\n".join(map(json.dumps, rows(30))))
    real = row_cache.content_of

    def late(inputs):
        found = real(inputs)
        path.write_text("\n".join(map(json.dumps, rows(31))))
        return found

    monkeypatch.setattr(row_cache, "content_of", late)
    with pytest.raises(DataError, match="changed while"):
        load_splits(Data(train=str(path)), 0, cache=cache)
    assert not list(cache.iterdir())


FUNCTION = """from {name}_helper import mark


def shape(row):
    return {{**row, "chosen": row["chosen"] + mark()}}
"""


@pytest.mark.parametrize("changed", ["function", "helper"])
def test_the_code_of_a_function_and_of_its_neighbours_is_part_of_the_key(tmp_path, monkeypatch, changed):
    import importlib
    import sys

    name = f"shape_{changed}"
    main, helper = tmp_path / f"{name}.py", tmp_path / f"{name}_helper.py"
    main.write_text(FUNCTION.format(name=name))
    helper.write_text("def mark():\n    return '!'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = write(tmp_path / "rows.jsonl.gz", rows(30))
    data, cache = Data(train=file, format=f"{name}:shape"), tmp_path / "cache"
    first = everything(load_splits(data, 0, cache=cache))
    edited = helper if changed == "helper" else main
    edited.write_text(edited.read_text().replace("'!'", "'??'").replace("+ mark()", "+ mark() + '.'"))
    for module in (name, f"{name}_helper"):
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    second = everything(load_splits(data, 0, cache=cache))
    assert second != first and second == everything(load_splits(data, 0, cache=None))


def test_a_function_edited_since_its_import_is_not_cached(tmp_path, monkeypatch):
    main = tmp_path / "edited_shape.py"
    main.write_text("def shape(row):\n    return {**row, 'chosen': 'a ' + row['chosen']}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = Data(train=write(tmp_path / "rows.jsonl.gz", rows(30)), format="edited_shape:shape")
    load_splits(data, 0, cache=tmp_path / "cache")
    main.write_text("def shape(row):\n    return {**row, 'chosen': 'another ' + row['chosen']}\n")
    load_splits(data, 0, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_code_that_reads_is_part_of_the_key(tmp_path, monkeypatch):
    file, cache = write(tmp_path / "rows.jsonl.gz", rows(30)), tmp_path / "cache"
    load_splits(Data(train=file), 0, cache=cache)
    monkeypatch.setattr(row_cache, "code_of_reading", lambda: "another")
    load_splits(Data(train=file), 0, cache=cache)
    assert len(list(cache.iterdir())) == 2


def test_rows_in_memory_are_known_by_content(tmp_path, reads):
    cache, given = tmp_path / "cache", rows(30)
    load_splits(Data(), 0, train=given, cache=cache)
    count = len(reads)
    load_splits(Data(), 0, train=[dict(row) for row in given], cache=cache)
    assert len(reads) == count
    given[3]["chosen"] = "another"
    changed = load_splits(Data(), 0, train=given, cache=cache)
    assert everything(changed) == everything(load_splits(Data(), 0, train=given, cache=None))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("odd", [np.array([1.0, 2.0]), b"bytes", {1, 2}])
def test_rows_of_other_values_and_streams_are_read_without_an_entry(tmp_path, odd):
    given = [{**row, "more": odd} for row in rows(30)]
    assert row_cache.content_of(row_cache.Inputs("train", [], given, Data())) is None
    load_splits(Data(), 0, train=iter(rows(30)), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_comparisons_in_memory_are_cached_as_well(tmp_path):
    given = comparisons(40)
    first, second = (load_splits(Data(), 0, train=given, cache=tmp_path / "cache") for _ in range(2))
    assert everything(first) == everything(second) == everything(load_splits(Data(), 0, train=given, cache=None))


@given(
    name=st.sampled_from([*ROW_FILES, LEDGER]),
    place=st.integers(0, 10**6),
    kind=st.sampled_from(["byte", "cut", "gone", "longer", "link"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_damage_of_any_kind_is_made_anew(tmp_path_factory, name, place, kind):
    folder = tmp_path_factory.mktemp("damage")
    data, cache = Data(train=write(folder / "rows.jsonl.gz", dirty(30)), max_rejected_share=0.9), folder / "cache"
    whole = everything(load_splits(data, 0, cache=cache))
    (entry,) = cache.iterdir()
    path = entry / name
    content = path.read_bytes()
    if kind == "byte":
        at = place % len(content)
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif kind == "cut":
        path.write_bytes(content[: place % len(content)])
    elif kind == "longer":
        path.write_bytes(content + b"\0")
    else:
        path.unlink()
        if kind == "link":
            path.symlink_to(__file__)
    again = everything(load_splits(data, 0, cache=cache))
    assert again == whole


def test_one_process_reads_and_the_others_wait(tmp_path, monkeypatch):
    file, cache = write(tmp_path / "rows.jsonl.gz", rows(60)), tmp_path / "cache"
    fills, real = [], row_cache._write

    def slow(draft, fill):
        fills.append(draft)
        time.sleep(0.3)
        return real(draft, fill)

    monkeypatch.setattr(row_cache, "_write", slow)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(everything(load_splits(Data(train=file), 0, cache=cache))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fills) == 1 and len(found) == 3 and found[0] == found[1] == found[2]


def test_a_cache_that_cannot_be_written_costs_a_line_and_nothing_else(tmp_path, capfd):
    (tmp_path / "cache").write_text("a file")
    file = write(tmp_path / "rows.jsonl.gz", rows(30))
    found = load_splits(Data(train=file), 0, cache=tmp_path / "cache")
    assert everything(found) == everything(load_splits(Data(train=file), 0, cache=None))
    assert "read without a cache" in capfd.readouterr().err


def test_a_file_that_cannot_be_read_on_leaves_no_entry(tmp_path):
    path = Path(write(tmp_path / "rows.jsonl.gz", rows(30)))
    path.write_bytes(path.read_bytes()[:-9])
    for _ in range(2):
        with pytest.raises(DataError, match="is not a whole gzip file"):
            load_splits(Data(train=str(path)), 0, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_token_store_is_found_without_reading_a_row(tmp_path, monkeypatch):
    file, cache = write(tmp_path / "rows.jsonl.gz", rows(40)), tmp_path / "cache"
    splits = load_splits(Data(train=file), 0, cache=cache)
    renderer = Renderer(tokenizer_for(list(splits.train)), Render(max_tokens=64), causal=True)
    first = build_store(splits.train, renderer, training=True, cache=cache)

    def never(table, number):
        raise AssertionError("a row was read")

    monkeypatch.setattr(ComparisonTable, "raw", never)
    again = build_store(load_splits(Data(train=file), 0, cache=cache).train, renderer, training=True, cache=cache)
    np.testing.assert_array_equal(first.tokens, again.tokens)


def test_what_a_killed_reader_left_is_removed_by_a_builder_of_tokens(tmp_path):
    cache = tmp_path / "cache"
    draft = cache / f".tmp-{'0' * 32}"
    draft.mkdir(parents=True)
    for name in (*ROW_FILES, ".lock"):
        (draft / name).write_bytes(b"")
    rows_of = comparisons(6)
    build_store(rows_of, Renderer(tokenizer_for(rows_of), Render(), causal=True), training=True, cache=cache)
    assert not draft.exists()


def test_a_saved_dataset_is_known_by_its_files(tmp_path, reads):
    datasets = pytest.importorskip("datasets")
    cache, data = tmp_path / "cache", Data(train=str(tmp_path / "saved"))
    datasets.Dataset.from_list(rows(30)).save_to_disk(str(tmp_path / "saved"))
    first, count = everything(load_splits(data, 0, cache=cache)), len(reads)
    assert everything(load_splits(data, 0, cache=cache)) == first and len(reads) == count
    shutil.rmtree(tmp_path / "saved")
    datasets.Dataset.from_list(rows(31)).save_to_disk(str(tmp_path / "saved"))
    second = everything(load_splits(data, 0, cache=cache))
    assert len(reads) > count and second == everything(load_splits(data, 0, cache=None)) != first


def test_formats_of_single_sources_are_part_of_the_key(tmp_path, reads):
    file, cache = write(tmp_path / "rows.jsonl.gz", rows(30)), tmp_path / "cache"
    data = Data(train=file, columns={file: {"chosen": "rejected", "rejected": "chosen"}})
    plain, turned = (list(load_splits(each, 0, cache=cache).train) for each in (Data(train=file), data))
    assert turned == list(load_splits(data, 0, cache=None).train) != plain
