"""One set of rows gives one set of comparisons, whatever container holds the rows."""

import csv
import datetime
import decimal
import gzip
import json
import lzma
import uuid

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import to_comparisons
from bradley.data.load import load_splits
from bradley.data.rows import Foreign
from bradley.data.sources import arrow_rows, resolve
from bradley.data.sources.csv_rows import text_columns
from bradley.data.sources.plain import numbered, plain_row
from bradley.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("datasets")
pd = pytest.importorskip("pandas")
datasets.disable_progress_bars()

USER, YES, NO = ({"role": r, "content": c} for r, c in (("user", "q"), ("assistant", "yes"), ("assistant", "no")))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)


def fixed(**fields):
    """Objects with these keys in this order, which every row of a table shares."""
    return st.tuples(*fields.values()).map(lambda values: dict(zip(fields, values, strict=True)))


ARGUMENTS = {
    "search": fixed(query=TEXT, exact=st.booleans()),
    "weather": fixed(city=TEXT, days=st.lists(st.integers(0, 6), min_size=1, max_size=2)),
    "book": fixed(guest=fixed(name=TEXT, vip=st.booleans())),
}
"""Arguments by tool; no two tools share a name, so that a table of all of them has a null beside each value.

No argument is a whole number: pandas reads a field with numbers and nulls as numbers with a fraction.
"""


def call(name):
    return fixed(type=st.just("function"), function=fixed(name=st.just(name), arguments=ARGUMENTS[name]))


def tool(name):
    shape = {argument: {"type": "string", name: argument} for argument in name.split("a")}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": shape}}}


def turn(role):
    return fixed(role=st.just(role), content=TEXT)


CALLS = st.lists(st.sampled_from(list(ARGUMENTS)).flatmap(call), min_size=1, max_size=2)
ANSWER = turn("assistant") | fixed(role=st.just("assistant"), content=TEXT, tool_calls=CALLS)
ROW = st.fixed_dictionaries(
    {
        "prompt": st.lists(turn("user"), min_size=1, max_size=2),
        "chosen": ANSWER.map(lambda answer: [answer]),
        "rejected": ANSWER.map(lambda answer: [answer]),
    },
    optional={
        "tools": st.lists(st.sampled_from(list(ARGUMENTS)), min_size=1, max_size=2, unique=True).map(
            lambda names: list(map(tool, names))
        ),
        "chat_template_kwargs": st.sampled_from([{"enable_thinking": True}, {"effort": "low"}]),
        "margin": st.floats(0, 9, width=32),
        "topic": TEXT,
    },
)
TEXTS = st.fixed_dictionaries(
    {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT},
    optional={"margin": st.floats(0, 9, width=32), "weight": st.integers(1, 9)},
)
SETS = st.lists(ROW, min_size=1, max_size=4) | st.lists(TEXTS, min_size=1, max_size=4)


def full(rows):
    """The rows with every column in each, as tables need."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def as_lines(rows, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def as_cells(rows, path, mark=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=mark, quoting=csv.QUOTE_ALL)
        writer.writerow(full(rows)[0])
        writer.writerows([cell(value) for value in row.values()] for row in full(rows))
    return str(path)


def cell(value):
    return json.dumps(value) if isinstance(value, list | dict) else "" if value is None else value


def as_json(rows, path):
    path.write_text(json.dumps(full(rows), indent=1, ensure_ascii=False), encoding="utf-8")
    return str(path)


def as_parquet(rows, path):
    parquet.write_table(pa.Table.from_pylist(full(rows)), path)
    return str(path)


def as_saved(rows, path):
    datasets.Dataset.from_list(full(rows)).save_to_disk(path)
    return str(path)


def as_json_columns(rows, path):
    """What `datasets` writes for columns of differing types: JSON text of the Arrow type arrow.json."""
    made = datasets.Dataset.from_list(full(rows))
    nested = [name for name in made.column_names if not isinstance(made.features[name], datasets.Value)]
    shapes = {**made.features, **{name: datasets.Json() for name in nested}}
    datasets.Dataset.from_list(full(rows), features=datasets.Features(shapes)).to_parquet(path)
    return str(path)


def as_numpy(value):
    """The value in NumPy's types, as pandas reads a nested column."""
    if isinstance(value, dict):
        return {key: as_numpy(inner) for key, inner in value.items()}
    if isinstance(value, list):
        made = np.empty(len(value), dtype=object)
        made[:] = [as_numpy(inner) for inner in value]
        return made
    kinds = {bool: np.bool_, int: np.int64, float: np.float32, str: np.str_}
    return kinds[type(value)](value) if value is not None else None


FILES = {
    "rows.jsonl": as_lines,
    "lines.json": as_lines,
    "rows.json": as_json,
    "rows.csv": as_cells,
    "rows.tsv": lambda rows, path: as_cells(rows, path, "\t"),
    "rows.parquet": as_parquet,
    "json.parquet": as_json_columns,
    "saved": as_saved,
}
MEMORY = {
    "datasets": lambda rows, folder: datasets.Dataset.from_list(full(rows)),
    "stream": lambda rows, folder: datasets.Dataset.from_list(full(rows)).to_iterable_dataset(),
    "arrow": lambda rows, folder: pa.Table.from_pylist(full(rows)),
    "numpy": lambda rows, folder: [as_numpy(row) for row in rows],
    "frame": lambda rows, folder: pd.DataFrame(rows),
    "records": lambda rows, folder: pd.DataFrame(rows).to_dict("records"),
    "records of a file": lambda rows, folder: pd.read_parquet(as_parquet(rows, folder / "r.parquet")).to_dict(
        "records"
    ),
}


def comparisons(rows, **settings):
    return list(to_comparisons(rows, Data(**settings)))


def of_file(given):
    (source,) = resolve(given)
    return [row for _, row in source.rows()]


PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
"""Without explaining a fault, which takes minutes here."""


def few(test):
    return settings(max_examples=12, phases=PHASES, deadline=None, suppress_health_check=list(HealthCheck))(test)


@pytest.mark.parametrize("name", FILES)
@given(rows=SETS)
@few
def test_every_file_gives_the_comparisons_of_its_rows(tmp_path_factory, name, rows):
    # A line alone is also a document, of another shape.
    rows = rows * 2 if name == "lines.json" else rows
    given = FILES[name](rows, tmp_path_factory.mktemp("rows") / name)
    assert comparisons(of_file(given)) == comparisons(rows)


@pytest.mark.parametrize("name", MEMORY)
@given(rows=SETS)
@few
def test_everything_in_memory_gives_the_comparisons_of_its_rows(tmp_path_factory, name, rows):
    held = MEMORY[name](rows, tmp_path_factory.mktemp("rows"))
    assert comparisons(held) == comparisons(rows)


LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), VALUE, max_size=4))
def test_json_loses_the_nulls_of_objects_and_nothing_else(tmp_path_factory, row):
    expected = {name: without_nulls(value) for name, value in row.items()}
    assert plain_row(row) == expected
    # A row without such nulls is the same object: nothing is copied.
    assert plain_row(expected) is expected
    row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    folder = tmp_path_factory.mktemp("json")
    written = [as_lines([row, row], folder / "a.jsonl"), as_json([row, row], folder / "a.json")]
    for path in written:
        assert of_file(path) == [{name: without_nulls(value) for name, value in row.items()}] * 2


def test_nulls_of_columns_and_lists_stay():
    row = {"a": None, "b": [None, {"c": None, "d": [None]}], "e": {"f": None}}
    assert plain_row(row) == {"a": None, "b": [None, {"d": [None]}], "e": {}}


def test_the_tools_of_one_row_bring_no_null_into_another(tmp_path):
    """Tools and calls of two kinds in turn: a table gives each the other's fields."""
    calls = [{"function": {"name": "f", "arguments": arguments}} for arguments in ({"x": 1}, {"y": "z"})]
    rows = [
        {
            "prompt": [USER],
            "chosen": [{"role": "assistant", "content": "", "tool_calls": [one]}],
            "rejected": [NO],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": one["function"]["arguments"]}}],
            "chat_template_kwargs": arguments,
        }
        for one, arguments in zip(calls, ({"enable_thinking": True}, {"x": "y"}), strict=True)
    ]
    for name in ("rows.parquet", "saved", "json.parquet"):
        found = comparisons(of_file(FILES[name](rows, tmp_path / name)))
        assert [json.loads(one.responses[0].messages[0].extra)["tool_calls"] for one in found] == [[c] for c in calls]
        assert [one.template_args["enable_thinking"] for one in found if "x" not in one.template_args] == [True]
        assert [set(one.template_args) for one in found] == [{"tools", "enable_thinking"}, {"tools", "x"}]
        assert [one.template_args["tools"][0]["function"]["parameters"] for one in found] == [{"x": 1}, {"y": "z"}]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (datetime.datetime(2024, 5, 1), "2024-05-01"),
        (datetime.datetime(2024, 5, 1, 10, 30), "2024-05-01T10:30:00"),
        (datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC), "2024-05-01T00:00:00Z"),
        (datetime.time(10, 30), "10:30:00"),
        (np.datetime64("2024-05-01"), "2024-05-01"),
        (np.datetime64("2024-05-01T10:30:00", "ns"), "2024-05-01T10:30:00"),
        (np.array(["2024-05-01", "NaT"], "datetime64[ns]"), ["2024-05-01", None]),
        (pd.Timestamp("2024-05-01 10:30"), "2024-05-01T10:30:00"),
        (decimal.Decimal("1.50"), 1.5),
        (decimal.Decimal(3), 3),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2]]), [[1, 2]]),
        ((1, (2,)), [1, [2]]),
        (pd.Series([1, 2]), [1, 2]),
    ],
)
def test_values_of_other_libraries_become_those_of_json(value, plain):
    row = plain_row({"a": value, "b": {"c": [value]}})
    assert row == {"a": plain, "b": {"c": [plain]}}
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize("missing", [None, float("nan"), np.float64("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_what_a_frame_has_no_value_for_is_null(missing):
    row = plain_row({"prompt": missing, "chosen": "a"})
    assert row == {"prompt": None, "chosen": "a"}
    assert plain_row({"a": {"b": missing, "c": [missing, 1]}}) == {"a": {"c": [None, 1]}}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"yes", "bytes"),
        (np.bytes_(b"yes"), "bytes"),
        ({1, 2}, "set"),
        (object(), "object"),
        (datetime.timedelta(1), "timedelta"),
        (1j, "complex"),
    ],
)
def test_a_value_that_json_cannot_hold_is_named_where_it_is_read(value, kind):
    good = {"prompt": [USER], "chosen": [YES], "rejected": [NO]}
    assert len(comparisons([{**good, "unread": value, "list": [value]}])) == 1
    assert plain_row({"a": value})["a"].value is value and repr(Foreign(kind, value)) == kind
    broken = {"x": {"y": [value]}}
    for changed in (
        {"chosen": value},
        {"chosen": [{**YES, "content": value}]},
        {"chosen": [{"role": "assistant", "tool_calls": [broken]}]},
        {"prompt": value},
        {"tools": [broken]},
        {"chat_template_kwargs": broken},
        {"margin": value},
    ):
        with pytest.raises(DataError) as caught:
            comparisons([{**good, **changed}])
        assert caught.value.message.startswith("rows, row 1: found ") and kind in caught.value.message
        assert next(iter(changed)).removesuffix("s") in caught.value.message or "response" in caught.value.message


def test_values_nested_too_deeply_stop_only_where_they_are_read():
    deep = value = {}
    for _ in range(3000):
        value["a"] = [{}]
        value = value["a"][0]
    good = {"prompt": [USER], "chosen": [YES], "rejected": [NO]}
    assert len(comparisons([{**good, "unread": deep}])) == 1
    with pytest.raises(DataError, match="nested too deeply"):
        comparisons([{**good, "chat_template_kwargs": deep}])


def test_dates_that_a_reader_of_json_makes_are_text_again(tmp_path):
    call = {"function": {"name": "f", "arguments": {"date": "2024-05-01", "time": "2024-05-01T10:00:00"}}}
    chosen = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    given = as_lines([{"prompt": [USER], "chosen": chosen, "rejected": [NO]}], tmp_path / "a.jsonl")
    made = datasets.load_dataset("json", data_files=given, split="train", cache_dir=str(tmp_path / "cache"))
    assert made[0]["chosen"][0]["tool_calls"][0]["function"]["arguments"]["date"] == datetime.datetime(2024, 5, 1)
    made.save_to_disk(tmp_path / "saved")
    expected = comparisons(of_file(given))
    assert json.loads(expected[0].responses[0].messages[0].extra) == {"tool_calls": [call]}
    assert comparisons(of_file(str(tmp_path / "saved"))) == comparisons(made) == expected


def test_images_and_sounds_are_not_decoded(tmp_path):
    """A path of another machine, broken bytes, and sound without a decoder: nothing reads any of them."""
    shape = {name: datasets.Value("string") for name in ("prompt", "chosen", "rejected")}
    shape |= {"images": datasets.List(datasets.Image()), "sound": datasets.Audio()}
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    row |= {"images": [{"path": f"{tmp_path}/x.png", "bytes": None}, {"path": None, "bytes": b"broken"}]}
    row |= {"sound": {"path": f"{tmp_path}/x.wav", "bytes": None}}
    table = pa.Table.from_pylist([row], schema=datasets.Features(shape).arrow_schema)
    made = datasets.Dataset(table)
    for name in ("x.png", "x.wav"):
        (tmp_path / name).write_bytes(b"broken")
    made.save_to_disk(tmp_path / "saved")
    for name in ("x.png", "x.wav"):
        (tmp_path / name).unlink()
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = [of_file(str(tmp_path / name))[0] for name in ("saved", "a.parquet")]
    rows += [row for held in (made, made.to_iterable_dataset()) for _, row in numbered(held, "rows")]
    for found in rows:
        # `save_to_disk` puts the bytes of a file into the table.
        assert found["sound"] == {"path": f"{tmp_path}/x.wav"} or repr(found["sound"]) == "bytes"
        assert repr(found["images"]) == "a list with bytes"
        (one,) = comparisons([found], ignore=["images", "sound"])
        assert [response.text for response in one.responses] == ["a", "b"]
        with pytest.raises(DataError, match=r"images.* would not be read"):
            comparisons([found])


def test_a_dataset_in_memory_is_read_whatever_its_format():
    shape = {"chosen": datasets.Value("string"), "grid": datasets.Array2D((2, 2), "int8")}
    rows = [{"chosen": str(n), "grid": [[n, 1], [2, 3]]} for n in range(5)]
    made = datasets.Dataset.from_list(rows, features=datasets.Features(shape))
    for held in (made, made.with_format("numpy"), made.select(range(5)), made.to_iterable_dataset()):
        assert [row for _, row in numbered(held, "rows")] == rows
    (first, *_) = (row for _, row in numbered(made.with_format("numpy", columns=["chosen"]), "rows"))
    assert first == {"chosen": "0"}
    turned = made.with_transform(lambda batch: {"chosen": [text * 2 for text in batch["chosen"]]})
    assert [row for _, row in numbered(turned, "rows")] == [{"chosen": row["chosen"] * 2} for row in rows]


def test_large_rows_are_made_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(arrow_rows, "BATCH_BYTES", 100)
    rows = [{"text": "x" * 40, "n": n} for n in range(50)]
    assert [row for _, row in numbered(pa.Table.from_pylist(rows), "rows")] == rows


def test_the_index_of_pandas_is_left_out(tmp_path):
    frame = pd.DataFrame([{"prompt": "q", "chosen": str(n), "rejected": "b"} for n in range(6)]).iloc[::2]
    frame.to_csv(tmp_path / "a.csv")
    frame.to_csv(tmp_path / "a.tsv", sep="\t")
    pd.read_csv(tmp_path / "a.csv", dtype=str).to_csv(tmp_path / "b.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    datasets.Dataset.from_pandas(frame).save_to_disk(tmp_path / "saved")
    expected = [{"prompt": "q", "chosen": str(n), "rejected": "b"} for n in (0, 2, 4)]
    for name in ("a.csv", "a.tsv", "b.csv", "a.parquet", "saved"):
        assert of_file(str(tmp_path / name)) == expected
    (tmp_path / "c.csv").write_text(",chosen,rejected\nx,a,b\n")
    with pytest.raises(DataError, match="line 2: a column without a name and 'x' below"):
        of_file(str(tmp_path / "c.csv"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.csv.gz", "a.jsonl.xz"])
def test_the_mark_at_the_beginning_names_the_encoding(tmp_path, name, encoding):
    rows = [{"chosen": "caf\u00e9 \U0001f600" * 30, "rejected": f"no {n}"} for n in range(50)]
    kind = name.split(".")[1]
    writers = {"jsonl": as_lines, "json": as_json, "csv": FILES["rows.csv"], "tsv": FILES["rows.tsv"]}
    writers[kind](rows, tmp_path / "plain")
    text = (tmp_path / "plain").read_bytes().decode()
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    packers = {"gz": gzip.compress, "xz": lzma.compress}
    packed = packers.get(name.split(".")[-1], bytes)((mark + text).encode(encoding))
    (tmp_path / name).write_bytes(packed)
    assert of_file(str(tmp_path / name)) == rows


def test_a_broken_encoding_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes("{}\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"a\.jsonl begins with null characters, as UTF-16 without"):
        of_file(str(path))
    for end in (b"{", b"\x00\xd8a\x00"):
        path.write_bytes("{}\n".encode("utf-16") + end)
        with pytest.raises(DataError, match=r"a\.jsonl begins like UTF-16, and is not whole"):
            of_file(str(path))


def test_columns_named_as_text_stay_text(tmp_path):
    """Answers that are all numbers or all truth values, under names that only `data.columns` knows."""
    for values in (("2", "3"), ("True", "False"), ("[1]", "{}")):
        (tmp_path / "a.csv").write_text(
            f'problem,good,bad,margin\nWhat is 1 + 1?,"{values[0]}","{values[1]}",1.5\n' * 1
        )
        columns = {"prompt": "problem", "chosen": "good", "rejected": "bad"}
        settings = Data(train=str(tmp_path / "a.csv"), columns=columns, test_share=0.0)
        splits = load_splits(settings.model_copy(update={"valid_share": 0.0}), 0)
        (found,) = splits.train
        assert [one.text for one in found.responses] == list(values)
        assert found.judgments[0].margin == 1.5
    as_cells(
        [{"answer1": "1", "response_10": "2", "output_1": "3", "Response A": "4", "label": "5"}], tmp_path / "b.csv"
    )
    assert list(of_file(str(tmp_path / "b.csv"))[0].values()) == ["1", "2", "3", "4", 5]


def test_turns_of_every_spelling_are_read_in_a_column_named_as_text(tmp_path):
    spellings = [("from", "value"), ("speaker", "text"), ("author", "content"), ("role", "content")]
    for who, what in spellings:
        rows = [{"question": [{who: "user", what: "q"}], "good": "1", "bad": '[{"author": "x"}]'}]
        (source,) = resolve(as_cells(rows, tmp_path / "a.csv"))
        names = text_columns({"prompt": "question", "chosen": "good", "rejected": "bad", "margin": "m", "id": "n"})
        assert names == {"question", "good", "bad"}
        assert [row for _, row in source.rows(names)] == rows


def test_messages_as_python_or_numpy_shows_them_are_read(tmp_path):
    rows = [{"prompt": [USER, YES, USER], "chosen": [{**YES, "content": 'it\'s "x"\n'}], "rejected": [NO]}] * 2
    tools = [{"type": "function", "function": {"name": "f", "strict": None}}]
    pd.DataFrame([{**row, "tools": tools} for row in rows]).to_csv(tmp_path / "a.csv", index=False)
    assert "'role': 'user'" in (tmp_path / "a.csv").read_text()
    found = of_file(str(tmp_path / "a.csv"))
    assert found == [{**row, "tools": [{"type": "function", "function": {"name": "f"}}]} for row in rows]
    # NumPy puts no comma between two objects, and so does `datasets`.
    datasets.Dataset.from_list(rows).to_csv(tmp_path / "b.csv")
    assert "}\n {" in (tmp_path / "b.csv").read_text()
    assert comparisons(of_file(str(tmp_path / "b.csv"))) == comparisons(rows)


def test_messages_as_text_lose_the_nulls_that_other_messages_lose(tmp_path):
    call = {"function": {"name": "f", "arguments": {"x": 1, "y": None}}}
    chosen = [{"role": "assistant", "content": "a", "tool_calls": [call]}]
    row = {"prompt": [USER], "chosen": chosen, "rejected": [NO]}
    text = {name: json.dumps(value) for name, value in row.items()}
    expected = comparisons([row])
    assert "null" not in expected[0].responses[0].messages[0].extra
    assert comparisons([text]) == comparisons(of_file(as_cells([text], tmp_path / "a.csv"))) == expected
    assert comparisons(of_file(as_parquet([text], tmp_path / "a.parquet"))) == expected


def test_code_in_a_cell_is_no_python_value(tmp_path):
    for said in ("['\\d']", "__import__('os')", "[{'a': 1}]", "['a' * 9]", "[{'role': 'user'}"):
        as_cells([{"chosen": said, "rejected": "no"}], tmp_path / "a.csv")
        assert of_file(str(tmp_path / "a.csv")) == [{"chosen": said, "rejected": "no"}]


def test_splits_in_place_of_rows_are_refused():
    made = datasets.DatasetDict({"train": datasets.Dataset.from_list([{"chosen": "a", "rejected": "b"}])})
    for rows in (made, {"chosen": ["a"], "rejected": ["b"]}):
        with pytest.raises(DataError, match="found an object with the keys") as caught:
            comparisons(rows)
        assert "give one split" in caught.value.hint


def test_lines_in_a_json_are_numbered_like_lines(tmp_path):
    as_lines([{"a": 1}, {"a": None}], tmp_path / "a.json")
    (source,) = resolve(str(tmp_path / "a.json"))
    assert list(source.rows()) == [(1, {"a": 1}), (2, {"a": None})]
    datasets.Dataset.from_list([{"a": 1}, {"a": 2}]).to_json(tmp_path / "b.json")
    assert of_file(str(tmp_path / "b.json")) == [{"a": 1}, {"a": 2}]


def test_json_in_a_column_that_cannot_be_parsed_is_named(tmp_path):
    table = pa.table({"a": pa.array(["{}", '{"x": 1, "x": 2}'], pa.json_())})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, row 2, the column a: the key 'x' is there twice"):
        of_file(str(tmp_path / "a.parquet"))


def test_maps_become_objects(tmp_path):
    table = pa.table(
        {"a": pa.array([[("x", [("y", 1)])], None], pa.map_(pa.string(), pa.map_(pa.string(), pa.int8())))}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    assert of_file(str(tmp_path / "a.parquet")) == [{"a": {"x": {"y": 1}}}, {"a": None}]
