"""What `bradley plan` says against the run that follows it."""

import json

import pytest

from bradley.cli.main import run
from bradley.config import Config
from bradley.estimate.schedule import estimate_run, rough_duration, show
from bradley.training.run import train
from tests.helpers import LLAMA, needs_data

SETTINGS = {
    "data": {"synthetic": {"comparisons": 60}, "valid_share": 0.2},
    "render": {"max_tokens": 96},
    "model": {"config": LLAMA, "tokenizer": "train"},
    "train": {"batch_size": 8, "epochs": 2, "micro_batch_tokens": 512},
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))


def test_it_is_the_run_that_follows(tmp_path, monkeypatch):
    monkeypatch.setattr("bradley.training.run.write_pages", lambda *_: None)  # figures take long, and are not asked for
    found = estimate_run(Config(**SETTINGS))
    finished = train(Config(**SETTINGS), output=tmp_path / "run")
    assert found["steps"] == finished.results["steps"]
    rows = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert found["judgments"] * 2 == rows[-1]["episode"]
    assert found["schedule"]["comparisons"] == 2 * found["comparisons"]
    assert found["schedule"]["tokens"] == 2 * found["tokens"]["once"]  # segments pad nothing
    assert found["schedule"]["largest"] <= 512
    assert found["promised_speed_up"] == pytest.approx(found["tokens"]["padded"] / found["tokens"]["once"])
    assert found["seconds"]["train"] > 0 and found["seconds"]["evaluate"] > 0


def test_padded_rows_count_as_they_are_run():
    found = estimate_run(Config(**{**SETTINGS, "model": {**SETTINGS["model"], "engine": "plain"}}), timing=False)
    assert found["schedule"]["tokens"] > 2 * found["tokens"]["responses"]
    assert found["seconds"] is None
    assert "not estimated" in show(found)


@pytest.mark.parametrize(
    "file", ["oasst1_zh/pairs.jsonl.gz", pytest.param("qa_feedback_dev/pairs.jsonl.gz", marks=pytest.mark.nightly)]
)
def test_grouping_saves_what_it_says(file):
    data = {"train": str(needs_data(file)), "limit": 100, "valid_share": 0.0}
    model = {"config": {**LLAMA, "max_position_embeddings": 4096}, "tokenizer": "train", "vocab_size": 2000}
    base = {
        **SETTINGS,
        "eval": {"train_probe": 0},
        "data": data,
        "model": model,
        "render": {"max_tokens": 4096},
        "train": {},
    }
    ungrouped = Config(**base)
    grouped = Config(**{**base, "data": {**data, "group_by": "prompt"}})
    said, came = estimate_run(ungrouped, timing=False)["grouping"], estimate_run(grouped, timing=False)
    assert said["group_by"] == "prompt"
    assert (said["tokens"], said["comparisons"]) == (came["tokens"]["once"], came["comparisons"])
    back = came["grouping"]
    assert back["tokens_now"] == said["tokens"] and back["tokens"] == said["tokens_now"]
    assert back["group_by"] == "none"
    assert back["tokens"] / back["judgments"] > back["tokens_now"] / came["judgments"]


def test_what_grouping_saves_is_counted_as_the_engine_runs_it(tmp_path):
    row = {"prompt": "why " * 20, "rejected": "no"}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({**row, "chosen": f"because of {k}"}) + "\n" for k in range(6)))
    data, found = {"train": str(file), "valid_share": 0.0}, {}
    for engine in ("segments", "plain"):
        model = {**SETTINGS["model"], "engine": engine}
        changed = {**SETTINGS, "data": data, "model": model, "eval": {"train_probe": 0}}
        found[engine] = estimate_run(Config(**changed), timing=False)["grouping"]
    saved = {engine: 1 - row["tokens"] / row["tokens_now"] for engine, row in found.items()}
    assert 0 < saved["plain"] < saved["segments"]


def test_a_run_that_stops_early_is_forecast_until_there():
    whole = estimate_run(Config(**SETTINGS), timing=False)
    short = estimate_run(Config(**{**SETTINGS, "train": {**SETTINGS["train"], "stop_after": 3}}), timing=False)
    assert (short["steps"], short["schedule"]["comparisons"]) == (3, 24) and whole["steps"] > 3


def test_the_command_prints_lines_or_one_object(tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text('[data]\nvalid_share = 0.2\n[model]\ntokenizer = "train"\n[model.config]\nmodel_type = "llama"\n')
    small = [f"--model.config.{name}={value}" for name, value in LLAMA.items() if name != "model_type"]
    args = ["plan", str(file), "--render.max_tokens", "96", "--data.synthetic.comparisons", "60", "--no-timing"]
    assert run([*args, *small]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()][:3] == ["data", "engine", "steps"]
    assert run([*args, *small, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == 47


def test_durations_are_in_the_unit_that_suits():
    assert [rough_duration(s) for s in (0.6, 89, 91, 5300, 5400, 90_000)] == [
        "1 s",
        "89 s",
        "2 min",
        "88 min",
        "1.5 h",
        "25.0 h",
    ]
