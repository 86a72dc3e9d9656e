"""Faults of rows in words, by whole commands: every fault counted at once, and hints that lead to a right reading."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Commands, checked
from .rows import CHAT, PAIR, TOKENIZER, numbered, printed, show, tokenizer, turn, write

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]


def some(places: set[int], bad: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Make pairs of messages of which some are bad."""
    rows = []
    for n in range(count):
        row = {"prompt": [turn(f"Which? {n}", "user")], "chosen": [turn("Seven.")], "rejected": [turn(f"Nine {n}.")]}
        rows.append({**row, **bad} if n in places else row)
    return rows


BAD: dict[str, dict[str, Any]] = {
    "null": {"chosen": None},
    "a last turn of the user": {"chosen": [turn("Seven."), turn("Why?", "user")]},
    "a system turn in the middle": {
        "prompt": [turn("Which?", "user"), turn("Be kind.", "system"), turn("So?", "user")]
    },
    "an unknown role": {"prompt": [turn("Which?", "narrator")]},
    "no field": {"rejected": [{"role": "assistant"}]},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_all_faulty_rows_are_counted_and_may_be_left_out(reader: Commands, bad: dict[str, Any]) -> None:
    path = write("a.jsonl", some({20, 90, 150}, bad, 200))
    error = reader.refused(3, "data", path, says="row 21")
    assert "3 of 200 rows" in error and "151" in error
    shown = show(reader, path, "--data.faulty", "drop")
    assert shown.train["comparisons"] == 197


def test_broken_lines_are_counted(reader: Commands) -> None:
    path = write("a.jsonl", some(set(), {}, 60))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:20], '{"prompt": "cut\n', *lines[20:40], '{"prompt": "cut\n', *lines[40:]]))
    error = reader.refused(3, "data", path, says="21")
    assert "2 of 62 rows" in error and "42" in error
    assert show(reader, path, "--data.faulty", "drop").train["comparisons"] == 60


def test_all_rows_that_the_template_refuses_are_counted(reader: Commands) -> None:
    tokenizer("{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}" + CHAT)
    asked = {"prompt": [turn("Be kind.", "system"), turn("Which?", "user")]}
    path = write("a.jsonl", some({0, 30}, asked, 60))
    assert "2 of 60 training comparisons cannot be used" in printed(reader, path, *TOKENIZER)
    assert "2 train comparisons refused, 2 dropped" in printed(reader, path, *TOKENIZER, "--render.refused", "drop")


SHAPES: dict[str, dict[str, Any]] = {
    "parts that are no text": {"chosen": [turn([{"type": "image", "image": "x.png"}])]},  # type: ignore[arg-type]
    "numbers": {"chosen": 4, "rejected": 5},
    "lists of numbers": {"chosen": [4], "rejected": [5]},
}


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
def test_a_fault_of_every_row_is_one_of_the_file(reader: Commands, fields: dict[str, Any]) -> None:
    path = write("a.jsonl", numbered({**PAIR, "prompt": "Which? {n}", **fields}, 8))
    ended = reader("data", path)
    assert "8 of 8 rows" in checked(ended, 3)
    assert "remove" not in ended.lines("hint")[0]


SPELLED: dict[str, Callable[[str], Any]] = {
    "from and value": lambda text: [{"from": "gpt", "value": text}],
    "one object": lambda text: turn(text),
    "parts of text": lambda text: [turn([{"type": "text", "text": text}])],  # type: ignore[arg-type]
}


@pytest.mark.parametrize("spell", SPELLED.values(), ids=SPELLED)
def test_other_spellings_of_messages_are_read(reader: Commands, spell: Callable[[str], Any]) -> None:
    rows = [{"prompt": f"Which? {n}", "chosen": spell("Seven."), "rejected": spell("Nine.")} for n in range(8)]
    shown = show(reader, write("a.jsonl", rows))
    assert shown.ended.code == 0, shown.ended
    assert shown.sides[0] == ("user: Which? 0\nassistant: Seven.", "user: Which? 0\nassistant: Nine.")


def test_one_prompt_in_all_rows_is_told(reader: Commands) -> None:
    rows = [{**PAIR, "chosen": f"Seven {n}.", "rejected": f"Nine {n}."} for n in range(20)]
    config = reader.settings(data__train=str(write("a.jsonl", rows)), data__synthetic__comparisons=None)
    ended = reader("train", config, "--output", "run", "--quiet")
    assert "single prompt" in checked(ended, 3)
    (hint,) = ended.lines("hint")
    assert "raise" not in hint and "--data.valid" in hint


def test_a_date_without_quotes_is_a_text(reader: Commands) -> None:
    Path("2024-07-26").mkdir()
    write("2024-07-26/a.jsonl", numbered({**PAIR, "prompt": "Which? {n}"}, 40))
    config = reader.settings(data__train="DATE", data__synthetic__comparisons=None)
    config.write_text(config.read_text().replace('"DATE"', "2024-07-26"))
    ended = reader("plan", config, "--json")
    assert ended.code == 0, ended


def judged(n: int, scores: tuple[int, int]) -> dict[str, Any]:
    """Make a row of two rated answers."""
    texts = zip(("Seven.", "Nine."), scores, strict=True)
    return {"prompt": f"Which? {n}", "completions": [{"content": text, "score": score} for text, score in texts]}


def test_ties_are_no_rows_that_cannot_be_used(reader: Commands) -> None:
    path = write("a.jsonl", [judged(n, (1, 1 + n % 2)) for n in range(40)])
    screen = printed(reader, path)
    assert "training stops here" not in screen and "left out 20 no_judgment" in screen
    assert "--data.equal_scores tie" in screen
    assert show(reader, path, "--data.equal_scores", "tie").train["comparisons"] == 40


LONG = [{**PAIR, "prompt": f"Which? {n}", "chosen": "Seven. " * (400 if n % 5 == 0 else 1)} for n in range(40)]


def test_pairs_left_out_on_request_are_no_rows_that_cannot_be_used(reader: Commands) -> None:
    held = {"data__valid": str(write("v.jsonl", LONG[1:5])), "data__valid_share": None}
    source = {"data__train": str(write("a.jsonl", LONG)), "data__synthetic__comparisons": None}
    config = reader.settings(**source, **held, data__leaked="drop", render__over_long="drop")
    ended = reader("train", config, "--output", "run", "--quiet")
    assert ended.code == 0, ended


def test_the_preview_applies_the_limits(reader: Commands) -> None:
    path = write("a.jsonl", LONG)
    options = ["--model.tokenizer", "train", "--model.vocab_size", "320", "--render.max_tokens", "100"]
    assert "training stops here: rendering would drop 8 of 40" in printed(reader, path, *options)
    assert "8 train comparisons over_long, 8 dropped" in printed(reader, path, *options, "--render.over_long", "drop")


RATED: dict[str, Callable[[int], dict[str, Any]]] = {
    "shp": lambda n: {
        "history": f"Which? {n}", "human_ref_A": f"Seven {n}.", "human_ref_B": f"Nine {n}.", "labels": n % 2,
        "score_A": 3 + 9 * (n % 2), "score_B": 12 - 9 * (n % 2),
    },
    "ultrafeedback": lambda n: {
        "instruction": f"Which? {n}",
        "completions": [{"response": "Seven.", "overall_score": 1}, {"response": "Nine.", "overall_score": 2}],
    },
    "ranked": lambda n: judged(n, (1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("make", RATED.values(), ids=RATED)
def test_labels_made_of_scores_have_no_ceiling(reader: Commands, make: Callable[[int], dict[str, Any]]) -> None:
    path = write("a.jsonl", [make(n) for n in range(60)])
    config = reader.settings(data__train=str(path), data__synthetic__comparisons=None)
    ended = reader("train", config, "--output", "run", "--quiet")
    assert ended.code == 0, ended
    assert "accuracy" in ended.out and "ceiling" not in ended.out


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME"])
def test_a_cache_that_cannot_be_written_is_called_one(
    reader: Commands, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("BRADLEY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "/proc/nope")
    ended = reader.train("run")
    error = checked(ended, ended.code, says="/proc/nope")
    assert ended.code and "cache" in error.partition("/proc")[0]
    assert "BRADLEY_CACHE" in ended.lines("hint")[0]


def test_an_empty_split_has_the_reason_in_the_error(reader: Commands) -> None:
    path = write("a.jsonl", [{**PAIR, "prompt": f"Which? {n}", "rejected": ""} for n in range(40)])
    reader.refused(3, "data", path, "--data.empty", "drop", says="none is left (empty 40)")


def test_the_preview_counts_token_ids_as_tokens(reader: Commands) -> None:
    rows = [{"chosen_ids": [11, 12, 13, 14 + n], "rejected_ids": [11, 12, 15]} for n in range(8)]
    screen = printed(reader, write("a.jsonl", rows))
    assert "words" not in screen and "response, tokens" in screen
    assert json.loads(reader("data", "a.jsonl", "--json").out)["report"]["splits"]["train"]["comparisons"] == 8
