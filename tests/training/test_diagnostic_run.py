"""A run with a diagnostic: the verdict in results, summary, page and the comparisons read again from the folder."""

import json

import pytest

import bradley
from bradley.report.page import write_report
from bradley.runs.layout import REPORT
from tests.helpers import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps on responses of like length."""
    settings = tiny_run(
        data={
            "synthetic": {"comparisons": 120},
            "valid_share": 0.3,
            "diagnostic": "length_matched",
            "diagnostic_threshold": 3,
        }
    )
    return bradley.train(bradley.Config(**settings), output=tmp_path_factory.mktemp("runs") / "matched")


def test_verdict_stands_in_results_summary_and_page(run) -> None:
    found = json.loads((run.folder / "results.json").read_text())["diagnostic"]
    last = run.results["last"]["valid"]["accuracy"]
    assert (found["name"], found["set"]) == ("length_matched", "valid, last evaluation")
    assert (found["value"], found["n"]) == (last["value"], last["n"])
    assert f"diagnostic   length_matched on valid, last evaluation: {found['text']}" in run.summary()
    write_report(run.folder)
    page = (run.folder / REPORT).read_text()
    assert "<h2>Diagnostic</h2>" in page and found["text"] in page


def test_comparisons_read_again_are_those_trained_on(run) -> None:
    counted = run.data_report["splits"]
    again = bradley.read_run(run.folder).splits()
    for name, rows in again.by_name.items():
        assert len(rows) == counted[name]["comparisons"] < counted[name]["diagnostic"]["of"]
    assert {row.id for row in again.evals["valid"]} == {row.id for row in run.rows("valid")}
