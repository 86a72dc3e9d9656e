"""A whole run, from rows in memory to the folder with its report, and what bad input leaves behind."""

import json

import pytest

import bradley
from bradley.config import Config
from bradley.errors import BradleyError, DataError, RunFolderError, UserError
from bradley.model.folder.save_load import load_model
from bradley.runs.claim import make_run_folder
from bradley.training.run import train, with_sanity
from tests.helpers import comparisons
from tests.training.small_runs import SETTINGS, rows


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_pages(monkeypatch):
    """Figures and report left out, which take longer than the run."""
    monkeypatch.setattr("bradley.training.run.write_pages", lambda folder, console: None)


@pytest.fixture
def no_figures(monkeypatch):
    """A report with empty pictures: drawing them takes longer than the run, and `whole` has them drawn."""

    def savefig(_figure, file, **options):
        file.write("<svg/>" if options.get("format") == "svg" else b"")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with figures and report, for tests that only read the folder."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRADLEY_CACHE", str(place / "cache"))
        return bradley.train(SETTINGS, train=rows(40), valid=rows(12, "v"), test=rows(10, "t"), output=place / "run")


@pytest.mark.transformers
def test_rows_in_memory_become_a_run_folder(whole):
    run = whole
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "config.json", "environment.json", "data_report.json", "metrics.jsonl", "timing.jsonl", "checkpoints", "model",
        "eval", "plots", "report.html", "results.json", "examples.json", "metrics.csv", "samples.json",
    }  # fmt: skip
    assert not list(run.folder.rglob(".tmp*"))
    assert run.results["sets"]["valid"]["accuracy"]["n"] == 12 == len(run.rows("valid"))
    assert run.results["sets"]["test"]["accuracy"]["n"] == 10
    assert run.results["headline"] == "test" and "n = 10" in run.summary()
    assert set(run.results["sets"]["valid"]["by_tag"]["set"]) == {"even", "odd"}
    events = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events if e["kind"] == "train"] == [1, 2, 3, 4]
    assert sorted({e["step"] for e in events if e["kind"] == "eval"}) == [0, 2, 4]
    assert {e["set"] for e in events if e["kind"] == "eval"} == {"valid", "train_probe"}  # the test split is read once
    assert Config(**json.loads((run.folder / "config.json").read_text())).train.batch_size == 8


def test_comparisons_in_memory_give_the_same_bytes_twice(tmp_path, no_pages):
    for name in ("a", "b"):
        bradley.train(SETTINGS, train=comparisons(30), valid=comparisons(8, seed=9), output=tmp_path / name)
    for file in ("metrics.jsonl", "model/model.safetensors", "results.json", "data_report.json"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("a", "b"))
        if file == "results.json":
            first, second = (json.dumps({**json.loads(x), "seconds": 0}).encode() for x in (first, second))
        assert first == second, file


def test_the_folder_is_made_only_once_everything_is_checked(tmp_path):
    faults = {
        "too long": {"render": {"max_tokens": 4096}},
        "over budget": {"train": {**SETTINGS["train"], "micro_batch_tokens": 16}},
        "no model": {"model": {"path": "./absent"}},
        "dropped": {"render": {"max_tokens": 8, "over_long": "drop"}},
        "template": {"render": {"template": "absent.jinja"}},
    }
    for name, change in faults.items():
        with pytest.raises(BradleyError) as caught:
            bradley.train({**SETTINGS, **change}, train=rows(20), valid=rows(5, "v"), output=tmp_path / "run")
        assert caught.value.hint and caught.value.exit_code in (2, 3, 4), name
        assert not (tmp_path / "run").exists(), name


def test_an_evaluation_row_that_cannot_be_kept_whole_stops_the_run(tmp_path):
    long = {**rows(1, "v")[0], "chosen": "word " * 400}
    with pytest.raises(DataError, match="evaluation rows are never dropped"):
        bradley.train(SETTINGS, train=rows(20), valid=[long], output=tmp_path / "run")


def test_a_prompt_in_training_and_validation_is_refused(tmp_path):
    with pytest.raises(DataError, match="leaked"):
        bradley.train(SETTINGS, train=rows(20), valid=rows(3), output=tmp_path / "run")


def test_a_used_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="already holds files"):
        bradley.train(SETTINGS, train=rows(20), valid=rows(5, "v"), output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_validation_set_in_memory_is_enough_to_stop_early_by(tmp_path, no_pages):
    settings = {**SETTINGS, "data": {"valid_share": 0.0}}
    stopping = {**settings, "train": {**SETTINGS["train"], "early_stopping": "nll"}}
    held_out = rows(8, prefix="v")
    assert bradley.train(stopping, train=rows(20), valid=held_out, output=tmp_path / "run").results["steps"]
    for name, value in (("early_stopping", "nll"), ("select_by", "nll")):
        wanted = {**settings, "train": {**SETTINGS["train"], name: value}}
        with pytest.raises(bradley.UserError, match=f"train.{name} = nll, but there is no validation set"):
            bradley.train(wanted, train=rows(20), output=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_without_a_validation_set_the_last_step_counts(tmp_path, no_figures):
    settings = {**SETTINGS, "data": {"valid_share": 0.0}}
    run = bradley.train(settings, train=rows(20), output=tmp_path / "probe")
    assert run.results["best"]["step"] == 4 and run.results["headline"] == "train_probe"
    assert "train_probe" in run.summary() and (run.folder / "report.html").exists()
    blind = {**settings, "eval": {"train_probe": 0}}
    run = bradley.train(blind, train=rows(20), output=tmp_path / "blind")
    assert "nothing is known" in run.summary() and run.results["sets"] == {}
    assert load_model(run.model)


def test_an_evaluation_set_of_ties_alone_has_an_nll_and_no_accuracy(tmp_path, no_figures):
    ties = [
        {"prompt": f"v{i}", "completions": [{"content": f"yes {i}", "score": 1}, {"content": f"no {i}", "score": 1}]}
        for i in range(6)
    ]
    settings = {**SETTINGS, "data": {"equal_scores": "tie"}}
    run = bradley.train(settings, train=rows(20), valid=ties, output=tmp_path / "run")
    figures = run.results["sets"]["valid"]
    assert figures["accuracy"]["value"] is None and figures["nll"] > 0
    assert "accuracy     -" in run.summary()


def test_rows_without_a_prompt_are_clusters_of_their_own(tmp_path, no_pages):
    bare = [{"chosen": f"Yes, {i} it is.", "rejected": f"No {i} at all."} for i in range(30)]
    settings = {**SETTINGS, "data": {"valid_share": 0.3, "format": "preference"}}
    run = bradley.train(settings, train=bare, output=tmp_path / "run")
    accuracy = run.results["sets"]["valid"]["accuracy"]
    assert accuracy["clusters"] == accuracy["n"] > 3


def test_the_evaluated_rows_do_not_depend_on_the_limit(tmp_path, no_pages):
    ids = []
    for limit in (128, 24):
        settings = {**SETTINGS, "render": {"max_tokens": limit, "over_long": "truncate_response"}}
        run = bradley.train(settings, train=rows(30), valid=rows(12, "v"), output=tmp_path / str(limit))
        ids.append([row.id for row in run.rows("valid")])
    assert ids[0] == ids[1] and len(ids[0]) == 12


def test_of_two_runs_that_want_one_folder_the_second_is_refused(tmp_path):
    make_run_folder(tmp_path / "run")
    with pytest.raises(RunFolderError, match="taken by another run"):
        make_run_folder(tmp_path / "run")


def test_the_callers_random_state_is_left_alone(tmp_path, no_pages):
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    bradley.train(SETTINGS, train=rows(20), valid=rows(5, "v"), output=tmp_path / "run")
    assert torch.equal(torch.rand(1), expected)


def test_cuda_where_there_is_none_is_said(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UserError, match="no CUDA device"):
        bradley.train({**SETTINGS, "train": {"device": "cuda"}}, train=rows(20), output=tmp_path / "run")


def test_what_the_run_writes_the_report_reads(whole):
    """One schema: every train line and every evaluation of the run is a point of the figures."""
    from bradley.report.plots import gap_points
    from bradley.runs.run import read_run

    run = whole
    read = read_run(run.folder)
    train_events = [e for e in read.events if e["kind"] == "train"]
    assert [e["step"] for e in train_events] == [1, 2, 3, 4]
    assert all(e["train/rm/lr"] > 0 for e in train_events[:-1])
    assert [point.step for point in gap_points(read.events)] == [0, 2, 4]
    page = (run.folder / "report.html").read_text()
    figure = run.results["sets"]["valid"]["accuracy"]
    assert f"{100 * figure['value']:.1f}" in page and "longer wins" in page.lower()
    assert run.results["sets"]["valid"] == read.results["sets"]["valid"]


def test_a_run_gives_its_comparisons_and_its_model(whole, tmp_path):
    texts, rows_of_valid = whole.splits().evals["valid"], whole.rows("valid")
    assert [row.id for row in texts] == [row.id for row in rows_of_valid]
    model = whole.reward_model()
    assert model is whole.reward_model()
    prompt, answers = texts[0].prompt[0].content, [response.messages[0].content for response in texts[0].responses]
    scores = [score for _, score in sorted(model.rank(prompt, answers))]
    assert scores == pytest.approx(rows_of_valid[0].scores, abs=1e-5)
    with pytest.raises(UserError, match="rows of train, valid, test were given in memory"):
        bradley.read_run(whole.folder).splits()


def test_a_run_of_files_reads_its_comparisons_again_while_they_are_the_same(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(40)))
    config = Config.model_validate({**SETTINGS, "data": {"train": str(file), "valid_share": 0.2}})
    splits = bradley.load_splits(config.data, config.seed)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(config.model_dump_json())
    (run / "data_report.json").write_text(json.dumps(splits.report))
    assert list(bradley.Run(run).splits().evals["valid"]) == list(splits.evals["valid"])
    file.write_text(file.read_text().replace("Nobody", "No one"))
    with pytest.raises(DataError, match="have changed since the run"):
        bradley.Run(run).splits()


def test_named_evaluation_sets_are_reported_and_never_select(tmp_path, whole, no_pages):
    extra = tmp_path / "extra.jsonl"
    extra.write_text("".join(json.dumps(row) + "\n" for row in rows(7, "x")))
    settings = {**SETTINGS, "data": {"eval_sets": {"extra": str(extra)}}}
    run = bradley.train(settings, train=rows(40), valid=rows(12, "v"), output=tmp_path / "run")
    assert run.results["sets"]["extra"]["accuracy"]["n"] == 7 == len(run.rows("extra", "last"))
    assert run.results["best"] == whole.results["best"]
    assert run.results["sets"]["valid"] == whole.results["sets"]["valid"]


def test_rankings_ties_and_groups_train(tmp_path, no_pages):
    ranked = [
        {
            "prompt": [{"role": "user", "content": f"Rank {i}."}],
            "completions": [{"content": f"answer {k} to {i}", "score": k % 3} for k in range(4)],
        }
        for i in range(20)
    ]
    settings = {**SETTINGS, "data": {"equal_scores": "tie", "group_by": "prompt"}, "loss": {"weight_by": "pair"}}
    run = bradley.train(settings, train=ranked, valid=rows(12, "v"), output=tmp_path / "run")
    report = json.loads((run.folder / "data_report.json").read_text())["splits"]["train"]
    assert (report["comparisons"], report["judgments"], report["responses"]) == (20, 120, 80)
    assert report["tokens"]["unique_tokens"] < report["tokens"]["full_tokens"]
    event = next(e for e in map(json.loads, (run.folder / "metrics.jsonl").open()) if e["kind"] == "train")
    assert event["train/rm/nll"] == pytest.approx(0.7, abs=0.2)


def test_the_lines_asked_for_by_name_come_with_quiet_too(tmp_path, capsys, no_pages):
    settings = {**SETTINGS, "log": {"every": 2, "trackers": ["rm_diag", "key_value", "tensorboard"]}}
    run = bradley.train(settings, train=rows(20), valid=rows(5, "v"), output=tmp_path / "run", progress="quiet")
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == ""
    assert sum(line.startswith("RM_DIAG {") for line in lines) == 6  # two sets, three evaluations
    assert sum(line.startswith("step=") for line in lines) == 9 and len(lines) == 15
    assert list((run.folder / "tensorboard").glob("events.*"))


def test_trackers_and_steps_that_cannot_be_had_leave_no_folder(tmp_path):
    faults = {
        "wanted any of": {"log": {"trackers": "mlflow"}},
        "stop_after = 9, but the plan has 4 steps": {"train": {**SETTINGS["train"], "stop_after": 9}},
    }
    for message, change in faults.items():
        with pytest.raises(UserError, match=message):
            bradley.train({**SETTINGS, **change}, train=rows(20), valid=rows(5, "v"), output=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_samples_are_written_and_shown_with_the_scores_of_their_rows(tmp_path, capsys, no_pages):
    settings = {**SETTINGS, "log": {"samples": 2, "trackers": "tensorboard"}}
    run = bradley.train(settings, train=rows(30), valid=rows(9, "v"), output=tmp_path / "run", progress="json")
    dumped = json.loads((run.folder / "samples.json").read_text())
    assert {name: len(entries) for name, entries in dumped.items()} == {"train": 2, "valid": 2}
    assert "The number 1 follows." in dumped["train"][0]["chosen"]
    lines = [json.loads(line) for line in (run.folder / "eval" / "samples.jsonl").read_text().splitlines()]
    assert [(line["step"], line["set"]) for line in lines] == [
        (step, name) for step in (0, 2, 4) for name in ("valid", "train_probe")
    ]
    scored = {row.id: row for row in run.rows("valid", "last")}
    for row in lines[-2]["rows"]:
        assert (row["chosen_score"], row["rejected_score"]) == scored[row["id"]].scores
        number = int(row["id"].removeprefix("v"))
        assert row["prompt"].endswith(f"What follows {number}?")
        assert row["chosen"] == f"The number {number + 1} follows."
    said = [json.loads(line).get("text", "") for line in capsys.readouterr().err.splitlines()]
    best = next(line for line in lines if line["set"] == "valid" and line["step"] == run.results["best"]["step"])
    place = next(i for i, text in enumerate(said) if text.startswith("samples      of valid at step"))
    assert [f"{row['chosen_score']:+8.3f}" in said[place + 1 + i] for i, row in enumerate(best["rows"])] == [True] * 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = EventAccumulator(str(run.folder / "tensorboard")).Reload().Tags()["scalars"]
    report = json.loads((run.folder / "data_report.json").read_text())
    assert {f"data/{name}/total_tokens_p95" for name in report["splits"]} <= set(tags)


def test_no_samples_means_none_anywhere(tmp_path, no_pages):
    settings = {**SETTINGS, "log": {"samples": 0}}
    run = bradley.train(settings, train=rows(20), valid=rows(5, "v"), output=tmp_path / "run")
    assert not (run.folder / "samples.json").exists()
    assert (run.folder / "eval" / "samples.jsonl").read_text() == ""


def test_figures_can_be_switched_off_and_a_cpu_has_no_gpu_to_read(tmp_path, capsys):
    settings = {**SETTINGS, "log": {"figures": False, "gpu_seconds": 0.5}}
    run = bradley.train(settings, train=rows(20), valid=rows(5, "v"), output=tmp_path / "run", progress="json")
    assert not (run.folder / "report.html").exists() and not (run.folder / "plots").exists()
    assert "log.gpu_seconds = 0.5 reads nothing: the run is on cpu" in capsys.readouterr().err
    assert "gpu/" not in (run.folder / "timing.jsonl").read_text()
    # An ended run stays as asked for, too.
    bradley.train(settings, train=rows(20), valid=rows(5, "v"), output=run.folder, resume=True)
    assert not (run.folder / "report.html").exists()


def test_sanity_runs_every_stage_on_64_comparisons(tmp_path, no_figures):
    config = Config(**SETTINGS)
    assert with_sanity(config).train.max_steps == 4
    assert with_sanity(Config(**{**SETTINGS, "train": {"stop_after": 50}})).train.stop_after == 0
    run = train(config, output=tmp_path / "run", sanity=True)
    report = json.loads((run.folder / "data_report.json").read_text())["splits"]
    assert report["train"]["comparisons"] == 64
    assert run.results["steps"] == 4 and run.results["seconds"] < 120
    assert run.results["sets"]["valid"]["ceiling"]["value"] < 1
