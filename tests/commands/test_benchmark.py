"""`bradley benchmark` on a small run that has a benchmark among its evaluation sets."""

import json
from pathlib import Path

import pytest

import bradley
from bradley.cli.main import run
from bradley.evaluate.benchmarks import SUITES
from tests.data import benchmark_files as files
from tests.evaluate.tables import scored
from tests.helpers import counting_rows, tiny_run

PLANTED = {"prompt": " Ask 1? ", "chosen": "It is.", "rejected": "No idea."}
"""A training row with the prompt of a row of RewardBench, outer blanks aside."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return files.write_all(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, given):
    """A run trained on a file with a planted prompt, evaluated on RM-Bench."""
    folder = tmp_path_factory.mktemp("runs")
    train = files.write(folder / "train.jsonl", [*counting_rows(60), PLANTED])
    data = {"train": str(train), "valid_share": 0.2, "eval_sets": {"styles": given["rm-bench"]}}
    settings = tiny_run(data=data, train={"batch_size": 4}, log={"samples": 0})
    with pytest.MonkeyPatch.context() as patch:
        # Figures take most of the time of such a run, and are another test's subject.
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        return bradley.train(settings, output=folder / "run", progress="quiet")


def option(source):
    return ["--suite", source.removeprefix("benchmark:")]


def called(capsys, *args):
    """Exit code, stdout and stderr of the command."""
    code = run(["benchmark", *map(str, args)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def notes(results, name):
    (found,) = [result["notes"] for result in results["benchmarks"] if result["benchmark"] == name]
    return " | ".join(found)


def test_every_suite_is_scored_written_and_read_again_to_the_same_figures(capsys, tmp_path, trained, given):
    rows = tmp_path / "rows.jsonl"
    suites = [word for source in given.values() for word in option(source)]
    code, out, err = called(capsys, trained.folder, *suites, "--rows", rows, "--json", "--device", "cpu")
    assert code == 0, err
    results = json.loads(out)
    assert [result["benchmark"] for result in results["benchmarks"]] == list(given)
    assert set(given) == set(SUITES)
    # The planted prompt is found in the run's own training data, and named by its row.
    assert "1 of 3 prompts are in the training data" in notes(results, "rewardbench")
    assert notes(results, "rewardbench").endswith("rows 1")
    assert "none of 10 prompts is in the training data" in notes(results, "rm-bench")
    code, out, err = called(capsys, "--scores", rows, "--json", "--training", trained.folder)
    assert code == 0, err
    assert json.loads(out)["benchmarks"] == results["benchmarks"]


def test_scores_of_another_tool_are_matched_by_id(capsys, tmp_path, trained, given):
    rows = tmp_path / "rows.jsonl"
    code, out, _ = called(capsys, trained.model, *option(given["hhh"]), "--rows", rows, "--json")
    assert code == 0
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    foreign = files.write(tmp_path / "foreign.jsonl", [{"key": row["id"], "s": row["scores"]} for row in lines[::-1]])
    how = ("--columns", "id=key,scores=s")
    code, matched, err = called(capsys, "--scores", foreign, *option(given["hhh"]), *how, "--json")
    assert code == 0, err
    (wanted,), (found,) = (json.loads(each)["benchmarks"] for each in (out, matched))
    assert found["figures"] == wanted["figures"]
    two = [*option(given["hhh"]), *option(given["rewardbench"])]
    assert "one --suite at a time" in called(capsys, "--scores", foreign, *two, *how)[2]


def test_the_table_names_scheme_interval_and_missing_rows(capsys, trained, given):
    code, out, _ = called(capsys, trained.model, *option(given["hhh"]))
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"model: {trained.model}  (")
    assert "HHH" in lines
    (overall,) = [line for line in lines if line.startswith("Overall   published")]
    assert overall.split()[-2:] == ["8", "1"]
    assert "* fewer than 30 prompts: the interval is rough" in lines
    assert "note: harmless: 2 rows, published 58" in lines


def test_training_data_may_be_a_file(capsys, tmp_path, trained, given):
    file = files.write(tmp_path / "more.jsonl", [*counting_rows(5), PLANTED])
    code, out, _ = called(
        capsys, trained.folder, *option(given["rewardbench"]), "--training", file, "--json", "--device", "cpu"
    )
    assert code == 0
    assert f"1 of 3 prompts are in the training data of {file}: rows 1" in notes(json.loads(out), "rewardbench")


def test_training_data_that_cannot_be_read_again_are_said(capsys, trained, given):
    train = Path(trained.config["data"]["train"])
    train.rename(train.with_suffix(".away"))
    try:
        code, out, _ = called(capsys, trained.folder, *option(given["hhh"]), "--json", "--device", "cpu")
        asked = called(capsys, trained.folder, *option(given["hhh"]), "--training", trained.folder, "--device", "cpu")
    finally:
        train.with_suffix(".away").rename(train)
    assert code == 0
    assert "no prompt is compared with the training data" in notes(json.loads(out), "hhh")
    # Data that were asked for by name are an error.
    assert (asked[0], "does not exist" in asked[2]) == (3, True)


def test_a_run_logs_the_figures_of_a_benchmark_among_its_sets(trained):
    found = trained.results["sets"]["styles"]["benchmark"]
    assert found == SUITES["rm-bench"].aggregate(trained.rows("styles"))
    events = [event for event in trained.events if event.get("set") == "styles" and event["kind"] == "eval"]
    assert all(0.0 <= event["eval/styles/rm/benchmark_rm_bench"] <= 1.0 for event in events)
    assert {"eval/styles/rm/benchmark_hard", "eval/styles/rm/benchmark_safety_low"} <= events[0].keys()
    valid = next(event for event in trained.events if event.get("set") == "valid")
    assert not any("benchmark" in key for key in valid)
    assert "benchmark" not in trained.results["sets"]["valid"]


def test_rows_that_cannot_be_read_are_counted(capsys, tmp_path, trained):
    path = files.write(tmp_path / "x.jsonl", [{**files.rewardbench(5), "chosen": "a\0b"}, files.rewardbench(6)])
    code, out, _ = called(capsys, trained.folder, "--suite", f"rewardbench={path}", "--json", "--device", "cpu")
    assert code == 0
    assert "1 rows are left out: 1 bad_characters" in notes(json.loads(out), "rewardbench")


@pytest.mark.parametrize("policy", ["truncate_prompt", "error"])
def test_a_response_that_is_too_long_stops_the_command_with_an_option_to_add(capsys, tmp_path, trained, policy):
    path = files.write(tmp_path / "x.jsonl", [{**files.rewardbench(5), "chosen": "many words " * 200}])
    args = [trained.folder, "--suite", f"rewardbench={path}", "--device", "cpu", "--over-long"]
    code, out, err = called(capsys, *args, policy)
    assert (code, out) == (3, "")
    assert "hint: add --over-long truncate_response" in err
    code, out, _ = called(capsys, *args, "truncate_response")
    assert code == 0
    assert "note: 1 of 1 rows have a truncated response" in out


@pytest.mark.parametrize(
    ("args", "code", "message", "hint"),
    [
        ([], 2, "no MODEL and no --scores", "bradley benchmark MODEL --suite NAME=PATH"),
        (["x"], 2, "no --suite", "add --suite NAME=PATH"),
        (["x", "--suite", "hhhh=y"], 2, "hhhh is no known benchmark", "did you mean benchmark:hhh=PATH?"),
        (["x", "--suite", "hhh"], 2, "names no file of hhh", "write benchmark:hhh=PATH"),
        (["x", "--suite", "hhh=nowhere"], 3, "does not exist", "see what is there"),
        (["x", "--scores", "y"], 2, "--scores takes the place of MODEL", "leave out either"),
        (["x", "--suite", "hhh=y", "--rows", "."], 6, "--rows .: the file is there", "give another name"),
        (["--scores", "nowhere.jsonl"], 3, "nowhere.jsonl", ""),
        (["--scores", "foreign.jsonl"], 2, "no rows that --rows has written", "add --suite NAME=PATH"),
        (["--scores", "foreign.csv"], 2, "no rows that --rows has written", "add --suite NAME=PATH"),
        (["--scores", "cut.jsonl"], 3, "cut.jsonl, line 2", "delete this line"),
    ],
)
def test_mistakes_are_said_before_a_model_is_loaded(capsys, tmp_path, monkeypatch, args, code, message, hint):
    monkeypatch.chdir(tmp_path)
    row = json.dumps(scored("a", (1.0, 0.0)).to_json())
    for name, text in (("foreign.jsonl", '{"id": "a", "score": 1}'), ("foreign.csv", "id,score"), ("cut.jsonl", row)):
        (tmp_path / name).write_text(f"{text}\n{text[:-3]}\n")
    found, _, err = called(capsys, *args)
    assert found == code
    assert message in err
    assert hint in err


def test_scored_rows_of_no_benchmark_are_refused(capsys, tmp_path, trained):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in trained.rows("valid")))
    code, _, err = called(capsys, "--scores", path)
    assert code == 2
    assert "has no benchmark in its tags" in err
