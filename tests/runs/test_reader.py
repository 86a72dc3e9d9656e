import pytest

from bradley.errors import DataError, UserError
from bradley.runs.run import read_run
from tests.report.runs import make_run


def test_reads_what_was_written(run_folder):
    run = read_run(run_folder)
    assert run.config["seed"] == 7
    assert run.environment["device"] == "cpu"
    assert run.results["best"]["step"] == 500
    assert len([event for event in run.events if event["kind"] == "train"]) == 60
    assert len([event for event in run.events if event["kind"] == "eval"]) == 14
    assert {name: len(rows) for name, rows in run.evals.items()} == {
        "valid-best": 400,
        "train_probe-best": 256,
        "hhh_alignment-best": 120,
    }
    assert (len(run.timing), len(run.distributions), len(run.samples)) == (62, 14, 4)
    assert run.evals["valid-best"][3].judgments[0].better == 0
    margins = [example["chosen_score"] - example["rejected_score"] for example in run.examples]
    assert margins == sorted(margins)


def test_only_the_events_must_be_there(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 2}\n\n{"kind": "train", "step": 1}\n')
    run = read_run(tmp_path)
    assert [event["step"] for event in run.events] == [1, 2]
    assert (run.config, run.results, run.evals, run.examples) == ({}, {}, {}, [])
    assert run.timing == run.distributions == run.samples == []


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_another_folder_is_refused_with_a_hint(tmp_path, name):
    with pytest.raises(UserError, match=r"no metrics\.jsonl") as caught:
        read_run(tmp_path / name)
    assert "bradley train" in caught.value.hint


@pytest.mark.parametrize(
    "line",
    ['{"kind": "train", "st', "[1, 2]", '{"step": 3}', '{"kind": "train"}', '{"kind": "eval", "step": 3}', "\udcff",
     '{"kind": "other", "step": 3}', '{"kind": "train", "step": "3"}', '{"kind": "eval", "step": 3, "set": 1}'],
)  # fmt: skip
def test_a_broken_event_names_file_and_line(tmp_path, line):
    text = '{"kind": "train", "step": 1}\n' + line + "\n"
    (tmp_path / "metrics.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2"):
        read_run(tmp_path)


def test_a_broken_scored_row_names_file_and_line(tmp_path):
    folder = make_run(tmp_path / "run")
    path = folder / "eval" / "valid-best.jsonl"
    lines = path.read_text().splitlines()
    lines[9] = '{"id": "x"}'
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"valid-best\.jsonl, line 10 is broken: .*scores: Field required"):
        read_run(folder)


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_broken_json_file_is_named(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=r"results\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("timing.jsonl", '{"step": 3}', "seconds_since_start: Field required"),
        (
            "timing.jsonl",
            '{"step": 3, "seconds_since_start": "4"}',
            "seconds_since_start: Input should be a valid number",
        ),
        (
            "eval/distributions.jsonl",
            '{"step": 3, "set": "valid", "chosen": {}, "rejected": 1}',
            ".*rejected: Input should be a valid dictionary",
        ),
        ("eval/samples.jsonl", '{"step": 3, "set": "valid", "rows": null}', "rows: Input should be a valid list"),
    ],
)
def test_a_broken_line_of_what_need_not_be_there_is_named_too(tmp_path, name, line, problem):
    (tmp_path / "eval").mkdir()
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / name).write_text(line + "\n")
    with pytest.raises(DataError, match=rf"{name}, line 1 is broken: {problem}"):
        read_run(tmp_path)


def test_half_a_last_line_of_a_run_under_way_is_none_yet(tmp_path):
    whole = '{"kind": "train", "step": 1}\n'
    (tmp_path / "metrics.jsonl").write_text(whole + '{"kind": "train", "st')
    assert [event["step"] for event in read_run(tmp_path).events] == [1]
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "st\n' + whole)
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 1 is broken"):
        read_run(tmp_path)
