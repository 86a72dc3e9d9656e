"""Made-up rows in the layouts of public data: read as the truth says, or refused in words that speak of the file."""

import gzip
import json
import lzma
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.data.sources import resolve
from bradley.errors import DataError
from bradley.records import Comparison
from tests.helpers import DATA

FOLDER = DATA / "layouts"
CODE = re.compile(r"\((r\d+[a-z])\)\s*$")
REFUSED = {
    "helpsteer2_ratings.jsonl.gz": "one answer in each row (response",
    "llamafactory_kto.json": "one answer in each row (messages",
    "lm_human_preferences.json": "hold token ids of another tokenizer",
    "prm800k.jsonl": "labels for the steps of one answer",
    "stack_exchange_paired.parquet": "no column says which is better",
    "summarize_axis.parquet": "one answer in each row (summary.text",
    "trl_kto.parquet": "one answer in each row (completion",
    "trl_prm.parquet": "labels for the steps of one answer",
    "verl_rl.parquet": "prompts without answers",
}
"""Files that are refused as they are, and the words of the refusal."""
FILES = (
    sorted(path.name for path in FOLDER.iterdir() if path.suffix != ".md" and "truth" not in path.name)
    if (FOLDER.is_dir())
    else ["the data folder is absent"]
)
BY_HAND = {
    "arena_55k.csv": ("response_a", "response_b"),
    "mt_bench_judgments.parquet": ("conversation_a", "conversation_b"),
    "ppe_human.parquet": ("response_1", "response_2"),
    "offsetbias.json": ("output_1", "output_2"),
    "judgebench.jsonl": ("response_A", "response_B"),
    "prometheus_preference.parquet": ("orig_response_A", "orig_response_B"),
    "unified_feedback.parquet": ("conv_A", "conv_B"),
    "label_studio.json": ("data.answer1", "data.answer2"),
    "argilla_ranking.parquet": ("response1", "response2"),
    "pku_saferlhf_10k.jsonl.xz": ("response_0", "response_1"),
    "cvalues.jsonl": ("pos_resp", "neg_resp"),
    "stack_exchange_paired.parquet": ("response_j", "response_k"),
    "rmb_pairwise.json": ("chosen.answer", "reject.answer"),
    "ms_swift_rejected_messages.jsonl": ("messages", "rejected_messages"),
    "helpsteer3_edit_quality.jsonl.gz": ("good_edited_response", "bad_edited_response"),
    "llamafactory_v1.jsonl": ("chosen_messages", "rejected_messages"),
}
"""The first and the second answer of files with two answers in columns of other names."""


def needed(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@cache
def rows_of(name: str) -> list[dict[str, Any]]:
    path = needed(name)
    if path.suffix == ".xz":
        return [json.loads(line) for line in lzma.decompress(path.read_bytes()).splitlines()]
    (source,) = resolve(str(path))
    return [row for _, row in source.rows()]


@cache
def truths(name: str) -> list[dict[str, Any]]:
    with gzip.open(needed("truth.jsonl.gz"), "rt", encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["file"] == name]


def read(rows: list[dict[str, Any]], **settings: Any) -> tuple[Any, list[Any]]:
    place = RowPlace("rows", "rows", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


def code(comparison: Comparison, place: int) -> str:
    text = comparison.responses[place].messages[-1].content
    found = CODE.search(text)
    assert found, text
    return found[1]


def check(results: list[Any], truth: list[dict[str, Any]]) -> None:
    """Every row with a win is read, says what the truth says, and holds the texts of the truth in their order."""
    by_code = {name: entry for entry in truth for name in entry["responses"]}
    won: dict[int, set[tuple[str, str]]] = {}
    for result in results:
        if not isinstance(result, Comparison):
            assert result.reason == "no_judgment", result
            continue
        codes = [code(result, place) for place in range(len(result.responses))]
        entry = by_code[codes[0]]
        turns = [("user" if turn.role == "text" else turn.role, turn.content) for turn in result.prompt]
        assert [role for role, _ in turns] == [role for role, _ in entry["prompt"]], (turns, entry["prompt"])
        for (_, text), (_, wanted) in zip(turns, entry["prompt"], strict=True):
            assert in_order(text, wanted), (text, wanted)
        for name, response in zip(codes, result.responses, strict=True):
            assert in_order(response.text, entry["responses"][name])
        wins = {(codes[j.better], codes[j.worse]) for j in result.judgments if not j.tie}
        assert wins <= {tuple(pair) for pair in entry["wins"]}, (wins, entry["wins"])
        assert all(j.weight == 1.0 for j in result.judgments)
        won.setdefault(id(entry), set()).update(wins)
    for entry in truth:
        assert won.get(id(entry), set()) == {tuple(pair) for pair in entry["wins"]}


def in_order(text: str, parts: list[str]) -> bool:
    place = 0
    for part in parts:
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


@pytest.mark.parametrize("name", FILES)
def test_every_layout_is_read_as_its_truth_says_or_refused_in_words(name):
    rows = rows_of(name)
    if name in REFUSED:
        with pytest.raises(DataError, match=re.escape(REFUSED[name])) as caught:
            read(rows)
        assert "--data." in caught.value.hint
        return
    reading, results = read(rows)
    check(results, truths(name))
    assert len(results) == len(rows)
    if reading.format == "labelled":
        assert "better <- " in reading.describe()


@pytest.mark.parametrize("name", BY_HAND)
def test_answers_named_by_hand_are_never_misread(name):
    chosen, rejected = BY_HAND[name]
    try:
        _, results = read(rows_of(name), columns={"chosen": chosen, "rejected": rejected})
    except DataError as error:
        assert "--data." in error.hint, error.hint
        assert name not in ("cvalues.jsonl", "rmb_pairwise.json", "stack_exchange_paired.parquet"), error.message
    else:
        check(results, truths(name))
