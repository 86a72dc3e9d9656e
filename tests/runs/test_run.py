"""A run as an object in a notebook or a prompt: short to look at, every part a name away."""

import json
import re

import pytest

import bradley
from bradley.errors import CheckpointError
from bradley.runs.run import read_run
from tests.report.runs import make_run


@pytest.fixture
def finished(tmp_path):
    """A run folder of a finished run, with a name that a notebook must not read as HTML."""
    folder = make_run(tmp_path / "<b>run")
    results = json.loads((folder / "results.json").read_text()) | {"headline": "valid", "compute": "float32"}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_a_run_is_one_line_and_two_tables(finished):
    run = read_run(finished)
    value = run.results["sets"]["valid"]["accuracy"]["value"]
    assert re.fullmatch(
        rf"<RunFolder .*run: accuracy {100 * value:.1f} % \[.*\], n = \d+ of \d+ prompts  on valid, best step 500>",
        repr(run),
    )
    page = run._repr_html_()
    assert "<b>run" not in page and "&lt;b&gt;run" in page
    assert page.count("<table>") == page.count("</table>") == 2
    for name in run.results["sets"]:
        assert f"<td>{name}</td>" in page
    assert len(repr(run)) < 400 and len(page) < 4000


def test_a_report_is_named_only_where_there_is_one(finished):
    assert "report.html" not in read_run(finished).summary() + read_run(finished)._repr_html_()
    (finished / "report.html").write_text("")
    assert read_run(finished).summary().splitlines()[-1] == f"report       {finished / 'report.html'}"


def test_an_unfinished_run_says_how_far_it_is(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n{"kind": "train", "step": 7}\n')
    run = read_run(tmp_path)
    assert repr(run).endswith(": unfinished at step 7, without results>")
    assert run.summary() == "unfinished   at step 7, without results" and "at step 7" in run._repr_html_()


@pytest.mark.parametrize("text", ["{", "[]", '{"sets": {}}', '{"headline": 3}'])
def test_damage_is_shown_and_not_raised_where_python_only_looks(finished, text):
    run = bradley.Run(finished)
    (finished / "results.json").write_text(text)
    assert "results.json" in repr(run) and "results.json" in run._repr_html_()
    with pytest.raises(bradley.BradleyError, match="results"):
        run.summary()


def test_every_part_is_read_on_first_use_and_once(finished):
    run = bradley.Run(finished)
    assert run.events is run.events and len(run.events) == 74
    (finished / "timing.jsonl").write_text("no JSON\n")
    assert run.config["seed"] == 7
    with pytest.raises(bradley.DataError, match=r"timing\.jsonl, line 1"):
        _ = run.timing


def test_a_part_that_changed_after_the_end_is_refused(finished):
    status = json.loads((finished / "status.json").read_text())
    (finished / "status.json").write_text(json.dumps(status | {"files": {"config.json": "0" * 64}}))
    run = bradley.Run(finished)
    with pytest.raises(CheckpointError, match=r"config\.json is not the file that the run wrote"):
        _ = run.config
