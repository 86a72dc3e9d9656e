"""`bradley evaluate`, `compare`, `calibrate` and `power` as typed, on a trained run and on foreign scores."""

import json
import shutil

import numpy as np
import pytest

import bradley
from bradley.cli.main import run
from bradley.data.scored import read_comparisons
from bradley.runs.run import read_run
from tests.evaluate.tables import swap
from tests.helpers import LLAMA, comparisons, tiny_model, tiny_run, tokenizer_for
from tests.typed import as_json, typed


def pairs(count, seed=0):
    """Rows of two answers, of which the better has other words, with a label in ten turned."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        good, bad = (" ".join(rng.choice(words, size=3 + i % 4)) for words in (["good", "river"], ["bad", "stone"]))
        sides = (bad, good) if i % 10 == 0 else (good, bad)
        answers = [[{"role": "assistant", "content": side}] for side in sides]
        prompt = [{"role": "user", "content": f"Question {seed} {i // 2}, please?"}]
        rows.append(
            {"id": f"r{i}", "prompt": prompt, "chosen": answers[0], "rejected": answers[1], "topic": "ab"[i % 2]}
        )
    return rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of a few steps; tests that change the run take a copy."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    settings = tiny_run(train={"max_steps": 6}, optim={"lr": 1e-2, "warmup": 0}, eval={"every": 6}, log={"samples": 0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        bradley.train(settings, train=pairs(60, 1), valid=pairs(40, 2), output=folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(80)))
    return path


def test_a_run_shows_the_figures_that_training_measured(capsys, trained):
    found = as_json(capsys, "evaluate", trained)["sets"]
    known = read_run(trained).results["sets"]
    assert found.keys() == known.keys() - {"train_probe"}
    for name, one in found.items():
        assert one["summary"] == known[name]


def test_a_model_scores_data_as_the_library_does(capsys, trained, data, tmp_path):
    rows = tmp_path / "rows.jsonl"
    found = as_json(capsys, "evaluate", trained, data, "--rows", rows)["sets"]["pairs"]
    scored = bradley.score_comparisons(trained / "model", read_comparisons(str(data))[0])
    assert found["summary"] == bradley.summarize(scored)
    assert [json.loads(line)["scores"] for line in rows.read_text().splitlines()] == [
        list(row.scores) for row in scored
    ]
    assert as_json(capsys, "evaluate", "--scores", rows, data)["sets"]["rows"]["summary"] == found["summary"]
    assert set(found["slices"]) == {"topic"}
    parquet = tmp_path / "rows.parquet"
    assert typed(capsys, "evaluate", trained, data, "--rows", parquet)[0] == 0
    assert as_json(capsys, "evaluate", "--scores", parquet)["sets"]["rows"]["summary"] == found["summary"]


def test_output_of_score_goes_through_evaluate_without_columns(capsys, trained, data, tmp_path):
    output = tmp_path / "scored.jsonl"
    assert typed(capsys, "score", trained / "model", data, "-o", output, "--quiet")[0] == 0
    by_file = as_json(capsys, "evaluate", "--scores", output)["sets"]["scored"]["figures"]
    by_model = as_json(capsys, "evaluate", trained, data)["sets"]["pairs"]["figures"]
    assert by_file == by_model


def test_a_saved_temperature_is_used_everywhere_and_beta_once(capsys, data, tmp_path, trained):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    code, _, err = typed(capsys, "score", folder / "model", data, "-o", tmp_path / "none.jsonl", "--probabilities")
    assert code == bradley.CheckpointError.exit_code and "bradley calibrate" in err
    found = as_json(capsys, "calibrate", folder, data)
    assert found["saved"] == str(folder / "model")
    output = tmp_path / "scored.jsonl"
    assert typed(capsys, "score", folder / "model", data, "-o", output, "--probabilities", "--quiet")[0] == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    for row in rows:
        better = 1 / (1 + np.exp(-found["scale"] * (row["scores"][0] - row["scores"][1])))
        assert row["probabilities"] == pytest.approx([better, 1 - better])
    model = bradley.RewardModel.from_pretrained(folder / "model")
    a, b = ([*rows[0]["prompt"], *rows[0][side]] for side in ("chosen", "rejected"))
    assert model.probability(a, b) == pytest.approx(rows[0]["probabilities"][0], rel=1e-4)
    assert model.probability(a, b) + model.probability(b, a) == pytest.approx(1)
    evaluated = as_json(capsys, "evaluate", folder, data)
    assert evaluated["scale"] == found["scale"]
    assert evaluated["sets"]["pairs"]["figures"]["nll"]["value"] < found["before"]["nll"]["value"] + 1e-9
    # A comparison measures both with beta: a temperature on one side alone would make a difference of equal models.
    (pair,) = as_json(capsys, "compare", folder, trained, "--data", data)["pairs"]
    assert pair["nll"]["value"] == pytest.approx(0.0, abs=1e-6) and pair["ece"]["value"] == pytest.approx(0.0, abs=1e-6)
    # The run stays whole: its status knows the new card.
    assert read_run(folder).results and typed(capsys, "evaluate", folder)[0] == 0
    assert "not saved: --no-save" in typed(capsys, "calibrate", folder, data, "--no-save")[1]
    code, _, err = typed(capsys, "calibrate", folder, data)
    assert code == bradley.CheckpointError.exit_code and "--replace" in err
    assert as_json(capsys, "calibrate", folder, data, "--replace")["scale"] == found["scale"]
    normal = bradley.RewardModel.from_pretrained(folder / "model", normalize=True)
    assert normal.probability(a, b) == pytest.approx(rows[0]["probabilities"][0], rel=1e-4)


def test_a_temperature_is_not_saved_into_a_damaged_run(capsys, data, tmp_path, trained):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "model" / "bradley.json").write_bytes((folder / "model" / "bradley.json").read_bytes() + b" ")
    before = (folder / "model" / "bradley.json").read_bytes()
    assert typed(capsys, "calibrate", folder, data)[0] == bradley.CheckpointError.exit_code
    assert (folder / "model" / "bradley.json").read_bytes() == before


def test_compare_two_sets_of_scores_and_seeds(capsys, data, tmp_path):
    rng = np.random.default_rng(1)
    for name, shift in (("a0", 0.2), ("a1", 0.2), ("b0", 1.0), ("b1", 1.0)):
        rows = [{"id": f"r{i}", "chosen_score": rng.normal(shift), "rejected_score": rng.normal()} for i in range(80)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    a, b = (",".join(str(tmp_path / f"{name}{seed}.jsonl") for seed in (0, 1)) for name in "ab")
    found = as_json(capsys, "compare", a, b, "--data", data)
    assert found["items"] == 80 and found["pairs"][0]["seeds"]["over_seeds"] is not None
    one = as_json(capsys, "compare", tmp_path / "a0.jsonl", tmp_path / "b0.jsonl", "--data", data)
    (pair,) = one["pairs"]
    assert pair["accuracy"]["clusters"] == 40 and set(pair["by_tag"]) >= {"topic"}
    assert pair["discordant"] > 0 and pair["design_effect"] > 0
    code, out, _ = typed(capsys, "compare", tmp_path / "a0.jsonl", tmp_path / "b0.jsonl", "--data", data)
    (line,) = [line.split("bradley ")[1] for line in out.splitlines() if "bradley power" in line]
    assert typed(capsys, *line.split())[0] == 0
    assert code == 0 and f"{100 * pair['accuracy']['value']:+.1f} points" in out


@pytest.mark.parametrize(
    "first, second, said",
    [
        ({"id": "r0", "chosen_score": 1, "rejected_score": 0}, {"id": "r1"}, "--data DATA names the rows"),
        ({"prompt": "p", "chosen_score": 1, "rejected_score": 0}, {"prompt": "q"}, "--data DATA names the rows"),
        ({"id": "r0", "scores": [1, 0]}, {}, "bradley compare A B --data DATA"),
        ({"id": "r0", "response": "chosen", "score": 1}, {}, "bradley compare A B --data DATA"),
    ],
    ids=["items", "judgments", "a list", "a response"],
)
def test_scores_that_lack_their_rows_ask_for_data(capsys, tmp_path, first, second, said):
    names = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for name, row in zip(names, (first, {**first, **second}), strict=True):
        name.write_text(json.dumps(row) + "\n")
    code, _, err = typed(capsys, "compare", *names)
    said = said.replace("A B", f"{names[0]} {names[1]}")
    assert code == bradley.DataError.exit_code and said in err.partition("hint: ")[2]
    for command in ("evaluate", "calibrate") if not second else ():
        code, _, err = typed(capsys, command, "--scores", names[0])
        assert code == bradley.DataError.exit_code
        assert f"bradley {command} --scores {names[0]} DATA" in " ".join(err.split())


def test_rows_without_ids_are_matched_by_their_texts(capsys, tmp_path):
    rows = [{key: value for key, value in row.items() if key != "id"} for row in pairs(40)]
    draws = np.random.default_rng(3).normal(size=(2, 40, 2))
    names = [tmp_path / name for name in ("data.jsonl", "a.jsonl", "b.jsonl")]
    names[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, scores in zip(names[1:], draws, strict=True):
        lines = [json.dumps({**row, "scores": list(one)}) + "\n" for row, one in zip(rows, scores, strict=True)]
        name.write_text("".join(lines if name.stem == "a" else reversed(lines)))
    right = [np.mean(one[:, 0] > one[:, 1]) for one in draws]
    for data in ([], ["--data", names[0]]):
        found = as_json(capsys, "compare", *names[1:], *data)
        assert found["items"] == 40
        assert found["pairs"][0]["accuracy"]["value"] == pytest.approx(right[1] - right[0])
    alone, joined = (as_json(capsys, "evaluate", "--scores", names[1], *data)["sets"]["a"] for data in ([], names[:1]))
    assert alone["summary"] == joined["summary"] and alone["figures"] == joined["figures"]


def test_a_run_stands_for_its_best_model_in_score(capsys, trained, data, tmp_path):
    outputs = [tmp_path / "run.jsonl", tmp_path / "model.jsonl"]
    code, _, err = typed(capsys, "score", trained, data, "-o", outputs[0])
    assert code == 0 and f"best model, {trained / 'model'}" in " ".join(err.split())
    assert typed(capsys, "score", trained / "model", data, "-o", outputs[1], "--quiet")[0] == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_page_of_runs_says_where_its_rows_are_from(capsys, trained, tmp_path):
    other = tmp_path / "copy"
    shutil.copytree(trained, other)
    code, out, err = typed(capsys, "compare", trained, other, "--page", tmp_path / "page.html")
    assert code == 0 and "scores      identical" in out
    # Each run is named once.
    assert [err.count(f"rows scored by {each}: ") for each in (trained, other)] == [1, 1]
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<dt>data</dt><dd>rows that the runs or files of scores hold</dd>" in text and "identical" in text


def test_a_reward_model_that_trl_wrote_is_evaluated_and_calibrated(capsys, data, tmp_path):
    tokenizer = tokenizer_for(comparisons(20))
    folder = tmp_path / "trl"
    tiny_model(LLAMA, tokenizer).network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    how = ("--template", "raw") if tokenizer.chat_template is None else ()
    found = as_json(capsys, "evaluate", folder, data, *how)["sets"]["pairs"]
    assert found["summary"]["judgments"] == 80
    code, out, err = typed(capsys, "calibrate", folder, data, *how)
    assert ("not saved" in out) if code == 0 else "no temperature fits" in err


def test_power_says_the_number_of_pairs(capsys):
    assert as_json(capsys, "power", "--accuracy", 0.7, "--difference", 0.01)["unpaired"] == 32644
    assert "32,644 pairs" in typed(capsys, "power", "--accuracy", 0.7, "--difference", 0.01)[1]


@pytest.mark.parametrize(
    "args, code, said",
    [
        (["evaluate"], 2, "nothing to evaluate"),
        (["evaluate", "no/such/folder"], bradley.CheckpointError.exit_code, "does not exist"),
        (["evaluate", "MODEL"], 2, "no data are given"),
        (["evaluate", "MODEL", "no.jsonl"], bradley.DataError.exit_code, "no.jsonl does not exist"),
        (["evaluate", "MODEL", "DATA", "--columns", "chosen=a,rejected=b"], 2, "about a file of scores"),
        (["evaluate", "--scores", "DATA"], bradley.DataError.exit_code, "no column of scores"),
        (["evaluate", "--scores", "DATA", "--columns", "chosen"], 2, "NAME=COLUMN"),
        (["evaluate", "--scores", "DATA", "--columns", "choosen=a"], 2, "did you mean"),
        (["evaluate", "MODEL", "DATA", "--rows", "rows.txt"], 2, "kind of file"),
        (["evaluate", "--scores", "DATA", "--device", "cuda"], 2, "--device is about a model"),
        (["evaluate", "MODEL", "DATA", "--rows", "x.jsonl", "--page", "x.jsonl"], 2, "two names"),
        (["calibrate", "--scores", "DATA", "--replace"], 2, "no model to save with"),
        (["calibrate", "MODEL", "DATA", "--set", "valid"], 2, "names a set of a run"),
        (["calibrate", "RUN", "--set", "train_probe"], 2, "train_probe holds training rows"),
        (["evaluate", "RUN", "DATA", "--scores", "DATA"], 2, "are both given"),
        (["calibrate", "MODEL", "--scores", "DATA"], 2, "are both given"),
        (["compare", "DATA"], 2, "needs two"),
        (["compare", "MODEL", "MODEL", "--data", "DATA"], 2, "given twice"),
        (["calibrate", "MODEL", "DATA", "DATA2"], 2, "2 sets"),
        (["power", "--accuracy", "70", "--difference", "1"], 2, "70"),
    ],
)
def test_what_is_typed_wrong_has_one_line_and_a_hint(capsys, trained, data, tmp_path, args, code, said):
    other = tmp_path / "other.jsonl"
    shutil.copyfile(data, other)
    names = {"MODEL": trained / "model", "RUN": trained, "DATA": data, "DATA2": other}
    # A model folder outside of its run.
    if args[-1] == "MODEL":
        shutil.copytree(trained / "model", tmp_path / "alone")
        names["MODEL"] = tmp_path / "alone"
    found, _, err = typed(capsys, *[names.get(arg, arg) for arg in args])
    assert found == code and said in err
    assert "hint: " in err and "Traceback" not in err


def test_two_files_of_one_name_are_two_sets_and_no_file_is_written_over(capsys, trained, data, tmp_path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(shutil.copyfile(data, tmp_path / name / "val.jsonl"))
    rows = tmp_path / "rows.jsonl"
    assert list(as_json(capsys, "evaluate", trained, *files, "--rows", rows)["sets"]) == ["a-val", "b-val"]
    written = [tmp_path / f"rows-{name}-val.jsonl" for name in "ab"]
    assert [path.read_text().count("\n") for path in written] == [80, 80]
    written[1].write_text("kept")
    written[0].unlink()
    code, _, err = typed(capsys, "evaluate", trained, *files, "--rows", rows)
    assert code == 2 and "exists" in err and written[1].read_text() == "kept" and not written[0].exists()


def test_one_prompt_is_shown_without_an_interval(capsys, tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"id": "0", "prompt_id": "0", "score_chosen": 2, "score_rejected": 1}) + "\n")
    code, out, _ = typed(capsys, "evaluate", "--scores", path)
    assert code == 0 and "[unknown]" in out


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """A copy of the run whose model has a temperature, fitted on the set `valid` of the run."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained, folder)
    assert run(["calibrate", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_that_an_evaluation_wrote_give_every_figure_again(capsys, calibrated, data, tmp_path, kind):
    rows = tmp_path / f"pairs.{kind}"
    before = as_json(capsys, "evaluate", calibrated, data, "--rows", rows)
    assert before["scale"] != before["beta"]
    again = as_json(capsys, "evaluate", "--scores", rows, data)
    assert {key: again[key] for key in ("beta", "scale")} == {key: before[key] for key in ("beta", "scale")}
    same, known = again["sets"]["pairs"], before["sets"]["pairs"]
    assert same == known
    # In Python too, without a word about the factor.
    read = bradley.read_scores(str(rows), str(data))
    found = bradley.evaluation(read.rows, read.comparisons)
    assert {key: known[key] for key in found} == found
    comparisons = read_comparisons(str(data))[0]
    direct = bradley.evaluation(bradley.score_comparisons(calibrated / "model", comparisons), comparisons)
    assert direct["figures"] == known["figures"] and direct["calibration"] == known["calibration"]


def test_rows_of_words_are_read_back_as_words(capsys, data, tmp_path):
    scores, rows = tmp_path / "s.jsonl", tmp_path / "rows.jsonl"
    lines = [{**row, "chosen_score": i % 3, "rejected_score": 1.0} for i, row in enumerate(pairs(80))]
    scores.write_text("".join(json.dumps(line) + "\n" for line in lines))
    known = as_json(capsys, "evaluate", "--scores", scores, "--beta", 2, "--rows", rows)
    again = as_json(capsys, "evaluate", "--scores", rows)
    assert again["beta"] == known["beta"] == 2.0
    one, other = known["sets"]["s"], again["sets"]["rows"]
    assert one["lengths"] == other["lengths"] == "words" and one["figures"] == other["figures"]


def test_compare_takes_the_beta_of_rows_from_the_file(capsys, tmp_path, data):
    lines = [{"id": row["id"], "chosen_score": i % 3, "rejected_score": 1.0} for i, row in enumerate(pairs(80))]
    plain, rows, other = (tmp_path / name for name in ("s.jsonl", "rows.jsonl", "other.jsonl"))
    plain.write_text("".join(json.dumps(line) + "\n" for line in lines))
    other.write_text("".join(json.dumps({**line, "chosen_score": 0.5}) + "\n" for line in lines))
    known = as_json(capsys, "evaluate", "--scores", plain, data, "--beta", 3, "--rows", rows)
    nll = as_json(capsys, "evaluate", "--scores", other, data)["sets"]["other"]["figures"]["nll"]["value"]
    pair = as_json(capsys, "compare", other, rows, "--data", data)["pairs"][0]
    assert pair["nll"]["value"] == pytest.approx(known["sets"]["s"]["figures"]["nll"]["value"] - nll)


def test_figures_on_the_set_of_the_temperature_are_marked(capsys, calibrated, data, tmp_path):
    page = tmp_path / "page.html"
    found = as_json(capsys, "evaluate", calibrated, "--page", page)["sets"]
    assert found["valid"]["calibration"]["fitted_here"]
    assert any("fitted on these rows" in line for line in found["valid"]["warnings"])
    assert "fitted on these rows" in page.read_text()
    assert "fitted on these rows" in typed(capsys, "evaluate", calibrated)[1]
    # The same rows under another name are the same data; other rows are not.
    renamed = tmp_path / "renamed.jsonl"
    renamed.write_text("".join(json.dumps({**row, "id": f"x{i}"}) + "\n" for i, row in enumerate(pairs(40, 2))))
    found = as_json(capsys, "evaluate", calibrated, renamed, data)["sets"]
    assert found["renamed"]["calibration"]["fitted_here"] and not found["pairs"]["calibration"]["fitted_here"]
    # The mark stays with the rows, whoever evaluates them.
    rows = tmp_path / "rows.jsonl"
    typed(capsys, "evaluate", calibrated, "--rows", rows)
    again = as_json(capsys, "evaluate", "--scores", rows)["sets"]["rows"]
    assert again["calibration"]["fitted_here"] and any("fitted on these rows" in line for line in again["warnings"])
    kept = bradley.read_run(calibrated).rows("valid")
    assert bradley.evaluation(kept, draws=20)["calibration"]["fitted_here"]
    assert bradley.evaluation([swap(row) for row in kept], draws=20)["calibration"]["fitted_here"]
    assert not bradley.evaluation(kept, draws=20, scale=0.5)["calibration"]["fitted_here"]
    # With a beta of the user the temperature plays no part.
    assert not as_json(capsys, "evaluate", calibrated, "--beta", 1)["sets"]["valid"]["calibration"]["fitted_here"]


@pytest.mark.parametrize("with_data", [False, True])
def test_tokens_and_cuts_that_score_wrote_are_used(capsys, trained, data, tmp_path, with_data):
    out = tmp_path / "scored.jsonl"
    assert typed(capsys, "score", trained / "model", data, "-o", out)[0] == 0
    known = as_json(capsys, "evaluate", trained, data)["sets"]["pairs"]
    given = ["evaluate", "--scores", out, *([data] if with_data else [])]
    found = as_json(capsys, *given)["sets"]["scored"]
    assert found["lengths"] == "tokens of prompt and response"
    assert found["summary"]["above_length"] == known["summary"]["above_length"]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    out.write_text("".join(json.dumps({**row, "truncated": [i < 3, False]}) + "\n" for i, row in enumerate(rows)))
    found = as_json(capsys, *given)["sets"]["scored"]
    assert found["summary"]["truncated"] == 3 and found["lengths"] == "words"
    assert any("3 truncated comparisons" in line for line in found["warnings"])
