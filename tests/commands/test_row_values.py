"""One normal form for rows, by whole commands: a set reads the same from every container, whatever libraries wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bradley import Data, load_splits, to_comparisons

from .conftest import Commands
from .rows import FULL, PAIR, TOKENIZER, call, numbered, printed, show, tokenizer, tool, turn, with_call, write

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]
Rows = list[dict[str, Any]]
ROWS = numbered({**PAIR, "prompt": "Which? {n}"}, 8)


def to_parquet(rows: Rows) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), "a.parquet")
    return "a.parquet"


def to_saved(rows: Rows) -> str:
    from datasets import Dataset

    Dataset.from_list(rows).save_to_disk("saved")
    return "saved"


def to_json_columns(rows: Rows) -> str:
    """Write every nested value as JSON of Arrow, as `datasets` does for values of several shapes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        nested = not isinstance(values[0], str)
        columns[name] = pa.array([json.dumps(value) for value in values], pa.json_()) if nested else pa.array(values)
    pq.write_table(pa.table(columns), "json.parquet")
    return "json.parquet"


def to_lists_of_json(rows: Rows) -> str:
    """Write every list as a list of JSON values of Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name in rows[0]:
        texts = [[json.dumps(value) for value in row[name]] for row in rows]
        sizes = np.cumsum([0, *map(len, texts)])
        inner = pa.array([text for row in texts for text in row], pa.json_())
        columns[name] = pa.ListArray.from_arrays(pa.array(sizes, pa.int32()), inner)
    pq.write_table(pa.table(columns), "lists.parquet")
    return "lists.parquet"


CONTAINERS: dict[str, Callable[[Rows], str]] = {
    "Parquet": to_parquet,
    "saved": to_saved,
    "JSON columns": to_json_columns,
    "lists of JSON": to_lists_of_json,
}
TWO_TOOLS = [
    with_call(0),
    {
        **with_call(1),
        "chosen": [turn("", tool_calls=[call("stocks", metal="gold", days=3)])],
        "tools": [tool("stocks", metal={"type": "string"}, days={"type": "integer"})],
    },
] * 2


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_tools_and_calls_read_the_same_from_every_container(reader: Commands, container: Callable[..., str]) -> None:
    tokenizer(FULL)
    wanted = show(reader, write("a.jsonl", TWO_TOOLS), *TOKENIZER, "--data.duplicate", "keep")
    found = show(reader, container(TWO_TOOLS), *TOKENIZER, "--data.duplicate", "keep")
    assert "null" not in "".join(wanted.texts()) and '"days"' in wanted.sides[1][0]
    assert found.ended.code == 0, found.ended
    assert found.sides == wanted.sides


ARGUMENTS = [{"mood": "calm"}, {"x": "y"}] * 4


@pytest.mark.parametrize("container", [to_parquet, to_saved])
def test_an_argument_of_other_rows_leaves_the_setting_alone(reader: Commands, container: Callable[..., str]) -> None:
    tokenizer(FULL + "{% if x is defined %}[x {{ x }}]{% endif %}")
    rows = [{**with_call(n), "chat_template_kwargs": arguments} for n, arguments in enumerate(ARGUMENTS)]
    options = [*TOKENIZER, "--render.template_kwargs", '{"mood": "angry"}']
    shown = show(reader, container(rows), *options)
    moods = [
        text.count(f"[mood {mood}]") for text, mood in zip(shown.texts(), ["calm"] * 2 + ["angry"] * 2, strict=False)
    ]
    assert moods == [1, 1, 1, 1], shown
    assert shown.sides == show(reader, write("a.jsonl", rows), *options).sides


DATED = [
    {**with_call(n), "chosen": [turn("", tool_calls=[call(date="2024-05-01", time=f"2024-05-01T10:00:0{n}")])]}
    for n in range(8)
]


def from_json_of_datasets(path: Path) -> str:
    from datasets import load_dataset

    made = load_dataset("json", data_files=str(path), split="train", cache_dir="datasets")
    made.save_to_disk("saved")
    return "saved"


def from_json_of_arrow(path: Path) -> str:
    import pyarrow.json
    import pyarrow.parquet as pq

    pq.write_table(pyarrow.json.read_json(path), "a.parquet")
    return "a.parquet"


READERS = {"datasets": from_json_of_datasets, "pyarrow": from_json_of_arrow}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_dates_that_another_reader_makes_are_text_again(reader: Commands, read: Callable[[Path], str]) -> None:
    tokenizer(FULL)
    path = write("a.jsonl", DATED)
    shown = show(reader, read(path), *TOKENIZER)
    assert shown.ended.code == 0, shown.ended
    assert '"date": "2024-05-01", "time": "2024-05-01T10:00:01"' in shown.sides[1][0].replace(
        "T10:00:01.000000", "T10:00:01"
    )
    assert shown.sides == show(reader, path, *TOKENIZER).sides


def test_rows_with_dates_are_scored(bradley: Commands) -> None:
    rows = [{"prompt": row["prompt"], "response": row["chosen"]} for row in DATED]
    source = from_json_of_arrow(write("in.jsonl", rows))
    ended = bradley("score", "--quiet", bradley.ref / "model", source, "-o", "out.jsonl")
    assert ended.code == 0, ended
    scored = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert len(scored) == 8 and all(isinstance(row["score"], float) for row in scored)


MEDIA: dict[str, dict[str, Any]] = {
    "a sound": {"path": None, "bytes": b"broken"},
    "a picture": {"path": None, "bytes": b"broken"},
    "a sound of another machine": {"path": "/nowhere/x.wav", "bytes": None},
    "a picture of another machine": {"path": "/nowhere/x.png", "bytes": None},
}


def media(kind: str) -> Any:
    """Make a dataset with a column `media` of sounds or pictures."""
    import datasets
    import pyarrow as pa

    feature = datasets.Audio() if "sound" in kind else datasets.Image()
    shape = {"media": feature} | {key: datasets.Value("string") for key in PAIR}
    rows = [{**row, "media": MEDIA[kind]} for row in ROWS]
    return datasets.Dataset(pa.Table.from_pylist(rows, schema=datasets.Features(shape).arrow_schema))


@pytest.mark.parametrize("kind", ["a sound", "a picture"])
def test_sounds_and_pictures_are_not_decoded(reader: Commands, kind: str) -> None:
    media(kind).save_to_disk("saved")
    screen = printed(reader, "saved")
    assert "train: 8 comparisons" in screen and "not read: media" in screen


@pytest.mark.parametrize("kind", MEDIA)
def test_sounds_and_pictures_in_memory_are_not_decoded(kind: str) -> None:
    splits = load_splits(Data(valid_share=0.0), 0, train=media(kind))
    assert [comparison.prompt[0].content for comparison in splits.train] == [row["prompt"] for row in ROWS]


ARRAYS = {
    "answers": [{"prompt": "Which?", "chosen": [turn(f"Yes {n}.")], "rejected": [turn("No.")]} for n in range(8)],
    "prompt": [{**PAIR, "prompt": [turn("Which?", "user")], "chosen": f"Yes {n}."} for n in range(8)],
    "tools and calls": [with_call(n) for n in range(8)],
}
"""Rows of which a data frame makes arrays."""


@pytest.mark.parametrize("rows", ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_pandas_are_lists(reader: Commands, rows: Rows) -> None:
    import pandas

    found = pandas.read_parquet(to_parquet(rows)).to_dict("records")
    assert any(isinstance(value, np.ndarray) for value in found[0].values())
    assert list(to_comparisons(found)) == list(to_comparisons(rows))


NUMBERS: dict[str, Any] = {"float32": np.float32, "int64": np.int64, "int8": np.int8, "0-d": np.array}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
def test_margins_and_labels_of_numpy_are_numbers(number: Any) -> None:
    (found,) = to_comparisons([{**PAIR, "margin": number(2)}])
    assert found.judgments[0].margin == 2.0
    scores = {"score_A": number(1), "score_B": number(3), "labels": 0}
    (found,) = to_comparisons([{"history": "q", "human_ref_A": "a", "human_ref_B": "b", **scores}])
    assert found.responses[found.judgments[0].better].text == "b"


COLUMNS = ["--data.columns.prompt", "problem", "--data.columns.chosen", "good", "--data.columns.rejected", "bad"]


@pytest.mark.parametrize(("good", "bad"), [("2", "3"), ("True", "False"), ("1.50", "1e3"), ("[1]", "{}")])
def test_named_columns_of_a_csv_stay_text(reader: Commands, good: str, bad: str) -> None:
    rows = "".join(f'What is 1 + {n}?,"{good}","{bad}"\n' for n in range(8))
    Path("a.csv").write_text(f"problem,good,bad\n{rows}")
    shown = show(reader, "a.csv", *COLUMNS)
    assert shown.ended.code == 0, shown.ended
    assert shown.sides[0] == (f"text: What is 1 + 0?\ntext: {good}", f"text: What is 1 + 0?\ntext: {bad}")


@pytest.mark.parametrize("answers", [("It is four, I think.", "Nobody can really say."), ("4", "5"), ("yes", "no")])
def test_columns_in_capitals_are_read(reader: Commands, answers: tuple[str, str]) -> None:
    Path("a.csv").write_text(
        "Prompt,Chosen,Rejected\n" + "".join(f'What is {n}?,"{answers[0]}","{answers[1]}"\n' for n in range(8))
    )
    shown = show(reader, "a.csv")
    assert shown.ended.code == 0, shown.ended
    assert shown.sides[0] == tuple(f"text: What is 0?\ntext: {answer}" for answer in answers)


@pytest.mark.parametrize("library", ["json", "datasets", "pandas"])
def test_lines_in_a_json_are_read(reader: Commands, library: str) -> None:
    if library == "datasets":
        from datasets import Dataset

        Dataset.from_list(ROWS).to_json("a.json")
    elif library == "pandas":
        import pandas

        pandas.DataFrame(ROWS).to_json("a.json", orient="records", lines=True)
    else:
        write("a.json", ROWS)
    shown = show(reader, "a.json")
    assert shown.ended.code == 0, shown.ended
    assert shown.train["comparisons"] == 8 and "Which? 1" in shown.sides[0][0]
