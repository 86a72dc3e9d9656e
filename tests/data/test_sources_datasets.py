"""Parquet, saved datasets and the Hub: the rows that went in come out, and one line says what is wrong."""

import hashlib
import json
import shutil
import sys

import pytest

from bradley.data.sources import resolve
from bradley.data.sources.files import read_rows
from bradley.data.sources.hub import ONLINE
from bradley.errors import DataError, UserError

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "\u2028"}]
ROWS = [
    {"chosen": f"text {n}", "turns": TURNS * (n % 3), "margin": n / 8, "label": n, "info": {"good": None, "n": [n]}}
    for n in range(1200)
]


def numbered(rows):
    """The rows as a source gives them: without the null that the tables hold in `info`."""
    return [(n, {**row, "info": {"n": row["info"]["n"]}}) for n, row in enumerate(rows, start=1)]


def fault_of(given, error=DataError):
    with pytest.raises(error) as caught:
        [list(source.rows()) for source in resolve(given)]
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub: what `load_dataset` is asked, and splits of its own as answers."""
    calls = []
    splits = {"test": ROWS[10:14], "train": ROWS[:10]}

    def load(*args, **options):
        calls.append((args, options))
        parts = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
        return parts[options["split"]] if options["split"] else datasets.DatasetDict(parts)

    monkeypatch.setattr(datasets, "load_dataset", load)
    return calls, splits


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A dataset `owner/name` in the cache of `datasets`, and no network."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:20]))
    made = datasets.load_dataset("json", data_files=str(tmp_path / "a.jsonl"), cache_dir=str(tmp_path / "made"))
    folder = tmp_path / "cache" / "owner___name" / "default" / "0.0.0" / "0123abcd"
    shutil.copytree(next((tmp_path / "made").glob("json/*/0.0.0/*/")), folder)
    (folder / "json-train.arrow").rename(folder / "name-train.arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return [row for _, row in numbered(made["train"])]


def test_a_parquet_file_is_read_with_everything_nested_in_it(tmp_path):
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=500)
    (source,) = resolve(str(path))
    assert list(source.rows()) == list(source.rows()) == numbered(ROWS)
    assert source.stem == "a" and source.digest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_broken_parquet_files_are_named(tmp_path):
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.Table.from_pylist(ROWS[:50]), path)
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:100], b"", b"PAR1", whole[:4] + b"\xff" * (len(whole) - 200) + whole[-196:]):
        path.write_bytes(content)
        assert f"{path} is not a whole Parquet file" in fault_of(str(path)).message
    pa.parquet.write_table(pa.Table.from_pylist(ROWS[:50]).slice(0, 0), path)
    assert "holds no rows" in fault_of(str(path)).message
    pa.parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    assert "two columns called a" in fault_of(str(path)).message


def test_a_missing_package_is_an_extra_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    datasets.Dataset.from_list(ROWS[:2]).save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    for given in (str(tmp_path / "a.parquet"), str(tmp_path / "saved"), "hub:owner/name"):
        found = fault_of(given, UserError)
        assert given in found.message and found.hint == 'pip install "bradley[data]"'


def test_a_saved_dataset_is_read(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "pairs", num_shards=3)
    (source,) = resolve(str(tmp_path / "pairs"))
    assert list(source.rows()) == list(source.rows()) == numbered(ROWS)
    assert (source.name, source.stem, source.given) == (str(tmp_path / "pairs"), "pairs", str(tmp_path / "pairs"))
    assert "no split is called train" in fault_of(f"{tmp_path}/pairs?split=train").message


def test_the_digest_of_a_saved_dataset_is_that_of_its_content(tmp_path):
    datasets.Dataset.from_list(ROWS[:9]).save_to_disk(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    digests = [resolve(str(tmp_path / name))[0].digest() for name in "ab"]
    assert digests[0] == digests[1] and len(digests[0]) == 64
    file = next((tmp_path / "b").glob("*.arrow"))
    file.write_bytes(file.read_bytes().replace(b"text 3", b"text 4"))
    assert resolve(str(tmp_path / "b"))[0].digest() != digests[0]


def test_a_split_of_several_is_named(tmp_path):
    parts = {"train": ROWS[:5], "test": ROWS[5:8]}
    saved = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()})
    saved.save_to_disk(tmp_path / "both")
    both = str(tmp_path / "both")
    found = resolve([f"{both}?split=train", f"{both}?split=test"])
    assert [list(source.rows()) for source in found] == [numbered(rows) for rows in parts.values()]
    assert [source.stem for source in found] == ["both/train", "both/test"]
    assert found[0].name == found[0].given == f"{both}?split=train" and found[0].digest() != found[1].digest()
    missing = fault_of(both)
    assert "has several splits, and one is wanted: train, test" in missing.message
    assert missing.hint == f"write {both}?split=train"
    assert fault_of(f"{both}?split=tset").hint == "did you mean ?split=test"
    assert fault_of(f"{both}?splt=test", UserError).hint == "did you mean split=?"
    assert "is given twice" in fault_of([f"{both}?split=test", f"{both}/test"], UserError).message
    datasets.DatasetDict({"only": saved["test"]}).save_to_disk(tmp_path / "one")
    assert len(list(resolve(str(tmp_path / "one"))[0].rows())) == 3


def test_a_broken_saved_dataset_is_named(tmp_path):
    datasets.Dataset.from_list(ROWS[:9]).save_to_disk(tmp_path / "a")
    next((tmp_path / "a").glob("*.arrow")).write_bytes(b"nothing")
    assert "is not a whole saved dataset" in fault_of(str(tmp_path / "a")).message
    datasets.Dataset.from_list(ROWS[:9]).select([]).save_to_disk(tmp_path / "empty")
    assert "is not a whole saved dataset" in fault_of(str(tmp_path / "empty")).message
    datasets.DatasetDict({"a": datasets.Dataset.from_list(ROWS[:9])}).save_to_disk(tmp_path / "b")
    (tmp_path / "b" / "dataset_dict.json").write_text("[]")
    assert "does not describe a saved dataset" in fault_of(str(tmp_path / "b")).message


def test_the_hub_is_asked_for_what_was_named(hub):
    calls, splits = hub
    given = "hub:owner/na-me_1.0?config=a b&data_dir=x/y&revision=refs/convert/parquet&split=test"
    (source,) = resolve(given)
    assert calls == []
    assert list(source.rows()) == numbered(splits["test"])
    options = {"name": "a b", "data_dir": "x/y", "revision": "refs/convert/parquet", "split": "test"}
    assert calls == [(("owner/na-me_1.0",), options)]
    assert list(source.rows()) == numbered(splits["test"]) and len(source.digest()) == 64 and len(calls) == 1
    assert (source.name, source.stem, source.given) == (given, "na-me_1.0", given)
    splits["test"] = ROWS[20:24]
    assert resolve(given)[0].digest() != source.digest()


def test_without_a_split_train_is_read_or_the_only_one(hub):
    calls, splits = hub
    assert list(resolve("hub:owner/name")[0].rows()) == numbered(splits["train"])
    nothing = dict.fromkeys(("name", "data_dir", "revision", "split"))
    assert calls == [(("owner/name",), nothing)]
    splits["validation"] = splits.pop("train")
    found = fault_of("hub:owner/name?revision=main")
    assert "has several splits, and one is wanted: test, validation" in found.message
    assert found.hint == "write hub:owner/name?split=test"
    del splits["test"]
    assert list(resolve("hub:owner/name")[0].rows()) == numbered(splits["validation"])
    splits["validation"] = []
    assert "hub:owner/name holds no rows" in fault_of("hub:owner/name").message


@pytest.mark.parametrize(
    ("given", "says", "hint"),
    [
        ("hub:name", "is not hub:owner/name", "hub:Anthropic"),
        ("hub:a/b/c", "is not hub:owner/name", "hub:Anthropic"),
        ("hub:https://x/y", "is not hub:owner/name", "hub:Anthropic"),
        ("hub:a/b?splits=train", "'splits' is not known after ?", "did you mean split=?"),
        ("hub:a/b?name=x", "wanted config, data_dir, revision, split", "did you mean "),
        ("hub:a/b?split=", "split has no value", "write split=VALUE once"),
        ("hub:a/b?split", "split has no value", "write split=VALUE once"),
        ("hub:a/b?split=x&split=y", "split has two values", "write split=VALUE once"),
    ],
)
def test_a_name_of_the_hub_that_is_none_is_an_error(hub, given, says, hint):
    found = fault_of(given, UserError)
    assert says in found.message and given in found.message and hint in found.hint
    assert hub[0] == []


def test_options_in_another_order_name_the_same_rows(hub):
    again = ["hub:a/b?split=train[:10%]&revision=x", "hub:a/b?revision=x&split=train[:10%]"]
    assert "is given twice" in fault_of(again, UserError).message
    assert len(resolve(["hub:a/b?split=train[:10%]", "hub:a/b?split=train[10%:]", "hub:a/c?split=train[:10%]"])) == 3


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b'\ndoesn't exist"), "hf auth login"),
        (ConnectionError("Couldn't reach\n'a/b' on the Hub"), ONLINE),
        (ValueError('Unknown split "x". Should be one of [train].'), "correct config"),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "refs/convert/parquet"),
        (type("ConnectError", (Exception,), {})("no route"), ONLINE),
    ],
)
def test_what_goes_wrong_on_the_way_is_one_line_with_a_hint(monkeypatch, error, hint):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    found = fault_of("hub:a/b")
    assert found.message.startswith(f"hub:a/b cannot be read: {type(error).__name__}: ") and hint in found.hint
    assert found.__cause__ is error


def test_a_cached_dataset_is_read_offline_and_sliced(cached):
    def read(options):
        return list(resolve(f"hub:owner/name{options}")[0].rows())

    assert read("") == read("?config=default&split=train") == numbered(cached) and len(cached) == 20
    assert read("?split=train[:10%]") == numbered(cached[:2])
    assert read("?split=train[90%:]+train[:1]") == numbered([*cached[18:], cached[0]])
    assert 'Unknown split "test"' in fault_of("hub:owner/name?split=test").message
    assert "ConnectionError" in fault_of("hub:owner/other").message
    digests = [resolve(f"hub:owner/name{options}")[0].digest() for options in ("?split=train", "?split=train[:10%]")]
    assert digests[0] == resolve("hub:owner/name?split=train")[0].digest() != digests[1]


def test_a_folder_of_the_same_name_does_not_stand_in_for_the_hub(cached, tmp_path):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert "would read in place of the Hub" in fault_of("hub:owner/name", UserError).message


def test_a_loading_script_is_never_run(tmp_path):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    with pytest.raises(RuntimeError, match="scripts are no longer supported"):
        datasets.load_dataset(str(tmp_path / "evil"))
    assert "a script" in fault_of(str(tmp_path / "evil")).message
    assert not (tmp_path / "canary").exists()


def test_rows_of_a_file_and_of_a_dataset_are_the_same(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:30]))
    pa.parquet.write_table(pa.Table.from_pylist(ROWS[:30]), tmp_path / "a.parquet")
    datasets.Dataset.from_list(ROWS[:30]).save_to_disk(tmp_path / "a")
    saved = resolve(str(tmp_path / "a"))[0]
    assert list(read_rows(tmp_path / "a.jsonl")) == list(read_rows(tmp_path / "a.parquet")) == list(saved.rows())
