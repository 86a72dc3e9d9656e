"""Layouts of public data, by `bradley data`: the better answer is the one that the truth names, or the load stops."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bradley import Data, load_splits
from tests.helpers import DATA

from .conftest import Commands
from .rows import FULL, OWN, numbered, show, tokenizer, with_call, write

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]
FOLDER = DATA / "layouts"
FILES = sorted(path.name for path in FOLDER.glob("*") if path.suffix != ".md" and "truth" not in path.name)
CODE = re.compile(r"\((r\d+[a-z])\)\s*$")
"""The code at the end of each answer."""


def wins(name: str) -> set[tuple[str, str]]:
    """Return the codes of the better and the worse answer, by the truth of a file."""
    with gzip.open(FOLDER / "truth.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {(better, worse) for row in rows if row["file"] == name for better, worse in row["wins"]}


@pytest.mark.parametrize("name", FILES or ["the data folder is absent"])
def test_a_public_layout_is_read_rightly_or_refused(reader: Commands, name: str) -> None:
    if not FILES:
        pytest.skip(f"{FOLDER} is not there")
    shown = show(reader, FOLDER / name)
    if shown.ended.code:
        assert shown.ended.code == 3 and "--data." in shown.ended.lines("hint")[0]
        assert "remove" not in shown.ended.lines("hint")[0] and "known formats" not in shown.ended.err
        return
    told = wins(name)
    for sides in shown.sides:
        found = [CODE.search(text) for text in sides]
        assert all(found), sides
        assert tuple(code[1] for code in found if code) in told


LABELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "letters": ("a", "b", {}),
    "names of columns": ("response_a", "response_b", {}),
    "numbers": (0, 1, {}),
    "names of models": ("gpt-4", "llama", {"model_a": "gpt-4", "model_b": "llama"}),
}
"""Label of the first answer and of the second, and columns beside them."""


@pytest.mark.parametrize(("first", "second", "more"), LABELS.values(), ids=LABELS)
def test_answers_named_by_hand_never_hide_the_label(reader: Commands, first: Any, second: Any, more: Any) -> None:
    sides = {"response_a": "Put it on a shelf, {n}.", "response_b": "Nobody can really say, {n}."}
    rows = numbered({"prompt": "Where? {n}", **sides, **more}, 8)
    for place, row in enumerate(rows):
        row["winner"] = second if place % 3 else first
    options = ["--data.columns.chosen", "response_a", "--data.columns.rejected", "response_b"]
    shown = show(reader, write("a.jsonl", rows), *options)
    if shown.ended.code:
        assert shown.ended.code == 3 and "winner" in shown.ended.lines("error")[0]
    for place, (chosen, rejected) in enumerate(shown.sides):
        better, worse = ("Nobody", "shelf") if place % 3 else ("shelf", "Nobody")
        assert better in chosen and worse in rejected


@pytest.mark.parametrize("key", ["annotator", "worker_id", ""])
def test_rows_of_several_judges_are_votes(reader: Commands, key: str) -> None:
    answers = ("Put it on a shelf.", "Nobody can really say.")
    rows = [
        {**row, "chosen": answers[choice], "rejected": answers[1 - choice], **({key: f"judge {place}"} if key else {})}
        for row in numbered({"prompt": "Where? {n}"}, 8)
        for place, choice in enumerate((0, 0, 1))
    ]
    splits = load_splits(Data(train=str(write("a.jsonl", rows)), valid_share=0.0), 0)
    told = [judgment for comparison in splits.train for judgment in comparison.judgments]
    assert len(splits.train) == len(told) == 8
    assert {(judgment.better, judgment.weight) for judgment in told} == {(0, 1.0)}
    assert all(judgment.probability == pytest.approx(2 / 3) for judgment in told)


def test_a_model_of_conversations_with_calls_alone_can_be_exported(reader: Commands) -> None:
    tokenizer(FULL)
    source: dict[str, Any] = {"data__train": str(write("a.jsonl", [with_call(n) for n in range(40)])), **OWN}
    config = reader.settings(**source, model__tokenizer="./tok", render__max_tokens=400)
    ended = reader("train", config, "--output", "run")
    assert ended.code == 0, ended
    ended = reader("export", "run", "exported")
    assert ended.code == 0, ended
    assert Path("exported/config.json").is_file()
