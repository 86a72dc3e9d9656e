"""Where a model comes from: the facts of its card against the run's own files, and that keeping them costs nothing."""

import dataclasses
import json

import pytest
import torch
import transformers

import bradley
from bradley.config import Config
from bradley.model.folder.card import read_card
from bradley.model.folder.parity import draw
from bradley.training.checkpoints.identity import Provenance, differences, settings_that_count, trained_on
from bradley.training.checkpoints.store import Checkpoints
from bradley.training.loop import fit
from bradley.verify.rescore import rescore
from tests.helpers import LLAMA, comparisons, store_for, tiny_run, tokenizer_for
from tests.training.jobs import VALID, config, job

pytestmark = pytest.mark.transformers

SETTINGS = tiny_run(train={"max_steps": 3}, eval={"every": 3, "train_probe": 4})


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bradley.training.run.write_pages", lambda folder, console: None)


def test_a_run_leaves_a_model_that_says_where_it_comes_from_and_proves_itself(tmp_path):
    rows = [*comparisons(20), comparisons(1)[0]]
    long = dataclasses.replace(comparisons(21)[20], responses=(comparisons(1)[0].responses[0],) * 2)
    run = bradley.train(
        {**SETTINGS, "data": {"max_rejected_share": 0.5}},
        train=[*rows, long],
        valid=comparisons(8, seed=9),
        output=tmp_path / "run",
    )
    card = read_card(run.model)
    report = json.loads((run.folder / "data_report.json").read_text())["splits"]
    assert card["config"] == json.loads((run.folder / "config.json").read_text())
    assert card["versions"]["torch"] == torch.__version__ and card["versions"]["bradley"] == bradley.__version__
    assert card["versions"]["transformers"] == transformers.__version__
    assert set(card["data"]["splits"]) == {name for name in report if "rows" in report[name]}
    train = card["data"]["splits"]["train"]
    assert train["left_out"] == {"identical": 1, "duplicate": 1} and train["rows"] == 22
    assert (
        train["comparisons"] == report["train"]["comparisons"] == 20 == train["rows"] - sum(train["left_out"].values())
    )
    assert card["step"] == run.results["best"]["step"]
    best, shown = card["evaluation"]["valid"], run.results["sets"]["valid"]
    assert (best["accuracy"], best["low"], best["high"]) == tuple(
        shown["accuracy"][k] for k in ("value", "low", "high")
    )
    assert best["nll"] == shown["nll"]
    texts = {row.prompt[0].content for row in comparisons(8, seed=9)}
    assert {row["messages"][0]["content"] for row in card["parity"]["rows"]} <= texts  # of the validation set
    assert all(check.passed for check in rescore(run.model))


def test_an_evaluation_set_may_be_called_like_a_field_of_the_card(tmp_path):
    rows = comparisons(12)
    settings = {**SETTINGS, "data": {"valid_share": 0}}
    run = bradley.train(settings, train=rows, eval_sets={"render": comparisons(4, seed=5)}, output=tmp_path / "run")
    card = read_card(run.model)
    assert card["render"]["max_tokens"] == 128 and card["evaluation"]["render"]["judgments"] == 4
    assert {row["messages"][0]["content"] for row in card["parity"]["rows"]} <= {r.prompt[0].content for r in rows}


@pytest.mark.parametrize("dropout", [False, True])
def test_scoring_the_sample_changes_nothing_of_the_training(tmp_path, dropout):
    written = []
    for name in ("without", "with"):
        made = job(tmp_path / name, config(model={"dropout": dropout}), {**LLAMA, "attention_dropout": 0.2})
        if name == "with":
            sample = draw(VALID, made.renderer, 0)
            made.checkpoints = Checkpoints(made.folder / "checkpoints", Provenance({"who": "me"}, sample))
        fit(made)
        written.append((made.folder / "metrics.jsonl").read_bytes())
    assert written[0] == written[1]
    last = read_card(made.checkpoints.path(made.checkpoints.index["last"]["step"]))
    assert last["who"] == "me" and last["step"] == 6 and len(last["parity"]["rows"]) == 8


def test_the_data_hash_names_tokens_and_judgments():
    rows = comparisons(6)
    tokenizer = tokenizer_for(rows)
    plain = trained_on(store_for(rows, tokenizer))
    assert trained_on(store_for([dataclasses.replace(r, id=f"other {r.id}") for r in rows], tokenizer)) == plain
    others = [rows[::-1], rows[:-1], [rows[0].flip(), *rows[1:]], [rows[0].swap(), *rows[1:]]]
    hashes = {plain, *(trained_on(store_for(other, tokenizer)) for other in others)}
    softer = dataclasses.replace(rows[0], judgments=(dataclasses.replace(rows[0].judgments[0], probability=0.75),))
    hashes.add(trained_on(store_for([softer, *rows[1:]], tokenizer)))
    hashes.add(trained_on(store_for(rows, tokenizer, template="raw")))
    assert len(hashes) == 7
    three = comparisons(1, responses=3)[0]
    one, other = (dataclasses.replace(three, judgments=(judgment,)) for judgment in three.judgments)
    assert trained_on(store_for([one], tokenizer)) != trained_on(store_for([other], tokenizer))


def test_a_record_without_a_later_setting_had_its_default():
    config = Config(model={"config": {"model_type": "llama"}, "tokenizer": "train"})
    now = {"config": dict(settings_that_count(config))}
    before = {"config": {name: value for name, value in now["config"].items() if name != "render.refused"}}
    assert differences(before, now) == {}
    now["config"]["render.refused"] = "drop"
    assert differences(before, now) == {"render.refused": ["error", "drop"]}
    # What stops a run changes no number of the run.
    assert not any(name.startswith("render.max_unread") for name in now["config"])
