"""Rows to score, by whole commands and the public class: nothing unread goes unsaid, no fault costs another score."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bradley import RewardModel, UserError, train

from .conftest import Commands
from .rows import numbered, write

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]


def scored(bradley: Commands, rows: list[dict[str, Any]], *options: object) -> list[dict[str, Any]]:
    """Score rows, all of which must be accepted."""
    source = write("in.jsonl", rows)
    ended = bradley("score", "--quiet", bradley.ref / "model", source, "-o", "out.jsonl", "--restart", *options)
    assert ended.code == 0, ended
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


PARTS: dict[str, dict[str, Any]] = {
    "system": {"system": "Be a pirate."},
    "input": {"input": "The number is 1."},
    "history": {"history": [["Who are you?", "A model."]]},
    "context": {"context": "The sky is blue."},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("answers", [{"response": "Seven."}, {"responses": ["Seven.", "Nine."]}], ids=" ".join)
def test_a_part_of_the_prompt_counts_or_stops(bradley: Commands, part: dict[str, Any], answers: dict[str, Any]) -> None:
    row = {"prompt": "Which number is it?", **answers}
    source = write("in.jsonl", [{**row, **part}, {**row, **part}])
    ended = bradley("score", "--quiet", bradley.ref / "model", source, "-o", "out.jsonl")
    if ended.code:
        assert ended.code == 3 and next(iter(part)) in ended.lines("error")[0]
        return
    with_part = json.loads(Path("out.jsonl").read_text().splitlines()[0])
    (without,) = scored(bradley, [row])
    assert with_part["tokens"] != without["tokens"]


@pytest.mark.parametrize(
    ("name", "last"),
    [("error", {"response": None}), ("scores", {"responses": ["yes", "no"]}), ("truncated", {}), ("tokens", {})],
)
def test_a_field_that_scores_would_take_stops_before_the_first_row(bradley: Commands, name: str, last: Any) -> None:
    rows = [{"prompt": f"Which? {n}", "response": "Yes."} for n in range(20)]
    rows[-1] = {"prompt": "Which?", **(last or {"response": "Yes."}), name: None}
    if name != "truncated":
        rows = [{**row, name: None} for row in rows] if name == "error" else rows
    source = write("in.jsonl", rows)
    ended = bradley("score", bradley.ref / "model", source, "-o", "out.jsonl", "--part-rows", 5)
    assert ended.code == 3 and f"field {name}" in ended.lines("error")[0] and "--prefix" in ended.lines("hint")[0]
    assert not [path.name for path in bradley.folder.iterdir() if path.name.startswith("out.jsonl")]


def test_a_null_costs_only_its_own_score(bradley: Commands) -> None:
    (row,) = scored(bradley, [{"prompt": "Which?", "responses": ["Seven.", None, "Nine."]}])
    (whole,) = scored(bradley, [{"prompt": "Which?", "responses": ["Seven.", "Nine."]}])
    assert row["scores"][1] is None and "null" in row["error"]
    assert row["scores"][::2] == pytest.approx(whole["scores"], abs=1e-5)


def test_a_run_folder_is_answered_with_its_model(bradley: Commands) -> None:
    source = write("in.jsonl", numbered({"prompt": "Which? {n}", "response": "Yes."}, 4))
    ended = bradley("score", "--quiet", bradley.ref, source, "-o", "out.jsonl")
    assert ended.code == 4
    (hint,) = ended.lines("hint")
    assert hint == f"hint: give {bradley.ref}/model"


def test_a_text_is_no_list_of_responses(bradley: Commands) -> None:
    model = RewardModel.from_pretrained(bradley.ref / "model")
    with pytest.raises(UserError, match="45"):
        model.rank("Which number?", "45")
    assert [place for place, _ in model.rank("Which number?", ["45"])] == [0]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_notebook_without_gradients_trains_all_the_same(bradley: Commands, mode: Any) -> None:
    rows = numbered({"prompt": "Which? {n}", "chosen": "Seven {n}.", "rejected": "Nine {n}."}, 40)
    config = bradley.settings(data__train=None, data__synthetic__comparisons=None)
    with mode():
        run = train(config, train=rows, output="run")
        assert not torch.is_grad_enabled()
    assert (run.folder / "model/bradley.json").exists()
